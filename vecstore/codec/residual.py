"""Residual quantization: the sum of M centroids, each of what those before it leave.

Chen, Guan and Wang, "Approximate nearest neighbor search by residual vector quantization",
Sensors 2010; codes are found by beam search (Babenko and Lempitsky, CVPR 2014).

    a code:  M bytes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codec.base import Parts, normalized
from vecstore.codec.product import lengths
from vecstore.codec.table import TablePrepared, interleaved, prepared, taken
from vecstore.codec.training import half_squares
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Metric, Uint8

# Sums that a row keeps from one centroid to the next.
_BEAM = 5
# Rows that are encoded together: their sums and products stay in cache.
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualCodec:
    """M indices of 8 bits. Attributes: see `Codec`.

    books: float32 [M, D, 256], centroids as columns.
    """

    spec: str
    dim: int
    metric: Metric
    books: Float32

    @property
    def code_bytes(self) -> int:
        return len(self.books)

    def encode(self, vectors: Float32) -> Uint8:
        starts = range(0, len(vectors), _BATCH)
        batches = [self._searched(vectors[start : start + _BATCH]) for start in starts]
        return np.concatenate([np.empty((0, self.code_bytes), dtype=np.uint8), *batches])

    def _searched(self, vectors: Float32) -> Uint8:
        """Beam search: of all sums with one more centroid, keep those nearest to the row."""
        count = len(vectors)
        left = vectors[:, None]  # [N, beam, D]
        gained = np.zeros((count, 1), dtype=np.float32)  # how much nearer than zero, halved
        codes = np.empty((count, 1, 0), dtype=np.uint8)
        every = np.arange(count)[:, None]
        for book in self.books:
            flat = np.ascontiguousarray(left.reshape(-1, self.dim))
            products = _kernels.products(flat, book[None])[:, 0] - half_squares(book[None])
            total = (gained[:, :, None] + products.reshape(count, -1, 256)).reshape(count, -1)
            kept = np.argpartition(-total, _BEAM, axis=1)[:, :_BEAM]
            before, index = kept // 256, (kept % 256).astype(np.uint8)
            gained = total[every, kept]
            codes = np.concatenate([codes[every, before], index[:, :, None]], axis=2)
            left = left[every, before] - book.T[index]
        found: Uint8 = codes[every[:, 0], gained.argmax(axis=1)]
        return found

    def decode(self, codes: Uint8) -> Float32:
        found = self._sums(codes)
        return normalized(found) if self.metric == "cosine" else found

    def _sums(self, codes: Uint8) -> Float32:
        found = np.zeros((len(codes), self.dim), dtype=np.float32)
        for book, index in zip(self.books, codes.T, strict=True):
            found += book.T[index]
        return found

    def pack(self, codes: Uint8) -> Parts:
        parts: dict[str, Array] = {"codes": interleaved(codes, 8)}
        if self.metric == "dot":
            return parts
        sums = self._sums(codes)
        return parts | lengths(np.einsum("nd,nd->n", sums, sums, dtype=np.float64), self.metric)

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        return taken(parts["codes"], rows, self.code_bytes)

    def prepare(self, queries: Float32) -> TablePrepared:
        return prepared(queries, None, self.books)
