"""Product quantization: a rotation, then the nearest of K centroids for each of M parts.

Jégou, Douze and Schmid, PAMI 2011. The rotation of `pq` balances principal directions, that of
`opq` is learned together with the codebooks. With K = 16 two indices share a byte.

    a code:  M bytes | x4: M / 2 bytes, the first of two subquantizers in the low half
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codec.base import Parts, normalized
from vecstore.codec.bits import pack_bits, unpack_bits
from vecstore.codec.table import TablePrepared, interleaved, prepared, taken
from vecstore.codec.training import assign, decoded, rotated
from vecstore.types import Array, Float32, Int64, Metric, Uint8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProductCodec:
    """M indices of 8 or 4 bits. Attributes: see `Codec`.

    books: float32 [M, D / M, K], centroids as columns.
    rotation: float32 [D, D], orthogonal; None leaves vectors as they are.
    potential: float32 [M, K], taken off the distances where centroids are used alike.
    """

    spec: str
    dim: int
    metric: Metric
    books: Float32
    rotation: Float32 | None = None
    potential: Float32 | None = None

    @property
    def bits(self) -> int:
        """Of an index."""
        return 8 if self.books.shape[2] == 256 else 4

    @property
    def code_bytes(self) -> int:
        return len(self.books) * self.bits // 8

    def encode(self, vectors: Float32) -> Uint8:
        codes = assign(self._turned(vectors), self.books, self.potential)
        return codes if self.bits == 8 else pack_bits(codes, 4)

    def _turned(self, vectors: Float32) -> Float32:
        if self.rotation is None:
            return np.ascontiguousarray(vectors)
        return rotated(vectors, self.rotation)

    def decode(self, codes: Uint8) -> Float32:
        found = decoded(self._indices(codes), self.books)
        if self.rotation is not None:
            found = rotated(found, np.ascontiguousarray(self.rotation.T))
        return normalized(found) if self.metric == "cosine" else found

    def _indices(self, codes: Uint8) -> Uint8:
        return codes if self.bits == 8 else unpack_bits(codes, 4)

    def pack(self, codes: Uint8) -> Parts:
        parts: dict[str, Array] = {"codes": interleaved(codes, self.bits)}
        if self.metric == "dot":
            return parts
        own = (self.books.astype(np.float64) ** 2).sum(axis=1)
        norm = own[np.arange(len(own)), self._indices(codes)].sum(axis=1)
        return parts | lengths(norm, self.metric)

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        return taken(parts["codes"], rows, self.code_bytes)

    def prepare(self, queries: Float32) -> TablePrepared:
        return prepared(queries, self.rotation, self.books)


def lengths(norm: Array, metric: Metric) -> dict[str, Array]:
    """What decoded rows of squared lengths [N] are scored with, beside their codes.

    The length itself for l2. For cosine what brings them to unit length: centroids are means, so
    rows that they describe badly are too short, and would be found too seldom.
    """
    if metric == "l2":
        return {"norm": norm.astype(np.float32)}
    length = np.sqrt(norm)
    return {"scale": (1 / np.where(length > 0, length, 1)).astype(np.float32)}
