"""The signs of rotated vectors, compared with those of the query: the fewest bytes to read.

The share h / P of the bits that differ estimates the angle of two vectors, divided by pi, as each
rotated dimension is a random hyperplane between them or not (Charikar, STOC 2002); its cosine is
what is scored. Under an inner product or l2 it is multiplied with both lengths, so these scores are
as rough: only the direction is estimated, the length of a row is kept.

    a code:  P / 8 bytes, low bit first, 1 where >= 0 | dot, l2: length float32
             (P: rotated dimensions, a multiple of 64)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vecstore.codec.base import ListRows, Parts, normalized
from vecstore.codec.bits import unpack_bits
from vecstore.codec.rotation import padded_dim, rotate, unrotate
from vecstore.codec.tokens import RowTokens
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Metric, Uint8, Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class SignCodec:
    """One bit a dimension, of vectors and queries. Attributes: see `Codec`."""

    dim: int
    metric: Metric

    @property
    def spec(self) -> str:
        return "sign"

    @property
    def width(self) -> int:
        """Bytes of a row's signs."""
        return padded_dim(self.dim) // 8

    @property
    def code_bytes(self) -> int:
        return self.width + (0 if self.metric == "cosine" else 4)

    def encode(self, vectors: Float32) -> Uint8:
        signs = signs_of_rotated(rotate(vectors))
        if self.metric == "cosine":
            return signs
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype("<f4")
        return np.concatenate([signs, lengths.view(np.uint8)], axis=1)

    def decode(self, codes: Uint8) -> Float32:
        """Vectors of the same signs, at the length of x."""
        signs = unpack_bits(codes[:, : self.width], 1).astype(np.float32)
        directions = normalized(unrotate(2 * signs - 1, self.dim))
        if self.metric == "cosine":
            return directions
        return directions * self.pack(codes)["scale"][:, None]

    def pack(self, codes: Uint8) -> Parts:
        parts: dict[str, Array] = {"codes": np.ascontiguousarray(codes[:, : self.width])}
        if self.metric != "cosine":
            parts["scale"] = np.ascontiguousarray(codes[:, self.width :]).view("<f4")[:, 0]
        return parts

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        taken: Uint8 = parts["codes"][rows]
        if self.metric == "cosine":
            return taken
        return np.concatenate([taken, parts["scale"][rows][:, None].view(np.uint8)], axis=1)

    def prepare(self, queries: Float32) -> SignPrepared:
        lengths = np.linalg.norm(queries, axis=1).astype(np.float32)
        return SignPrepared(signs_of_rotated(rotate(queries)), lengths, self.metric == "l2")

    def prepare_tokens(self, queries: Sequence[Float32]) -> RowTokens:
        return RowTokens([self.prepare(query).scorer for query in queries])


class SignPrepared(NamedTuple):
    """Queries as signs.

    Attributes:
        signs: uint8 [Q, P / 8].
        lengths: float32 [Q].
        l2: whether scores are negated squared distances.
    """

    signs: Uint8
    lengths: Float32
    l2: bool

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        table = _cosines(8 * self.signs.shape[1])
        scale = parts.get("scale")
        return _kernels.signs(parts["codes"], self.signs, self.lengths, table, scale, self.l2)

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan(span[0], span[1], allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan_lists(lists[0], lists[1], probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        part = slice(query, query + 1)
        alone = SignPrepared(self.signs[part], self.lengths[part], self.l2)
        return alone.scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        return None

    def reading(self, parts: Parts) -> _kernels.Reading:
        return _kernels.Reading(self.scorer(parts), None, None)


def signs_of_rotated(rotated: Float32) -> Uint8:
    """Signs [N, P / 8] of rotated vectors [N, P]: 1 where >= 0, low bit first."""
    return np.packbits(rotated >= 0, axis=1, bitorder="little")


@lru_cache(maxsize=64)
def _cosines(bits: int) -> Float32:
    """What 0 .. bits differing bits of so many say of the cosine: float32 [bits + 1]."""
    table: Float32 = np.cos(np.arange(bits + 1) * (np.pi / bits)).astype(np.float32)
    table.flags.writeable = False
    return table
