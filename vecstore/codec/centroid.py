"""Tokens as the nearest of K centroids and, on top of it, a digit for each dimension.

The layout of PLAID (Santhanam et al., CIKM 2022, section 3.1), in integers: centroids and levels
are of one byte and one scale, so that products with an integer query are exact.

    a code:  id u16 (ids256: u8) | B bytes of digits | inverse u8
             ids and ids256: the id alone

    byte b   the digits of dimensions b, b + B, b + 2 B ..., the lowest first: of 1 bit (res1), 2
             (res2) or 4 (res4); ternary: ceil(256 v / 243), where v has five digits of radix 3,
             the highest first

A token is inverses[inverse] * scale * (centroid + levels[digits]), at the length it was given with:
centroids are means, and shorter than their tokens.

Shapes  N tokens, n vectors of a query, D dimensions, K centroids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from vecstore.codec.affine import ONE_DIGIT_MAX, to_integers
from vecstore.codec.base import Parts, Prepared, PreparedTokens, normalized
from vecstore.codec.digits import DIGITS, RADIXES, packed, unpacked
from vecstore.errors import SchemaError
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int8, Int16, Int32, Int64, Metric, Uint8, Uint64

ZERO = 128  # what octets count from
REACH = 127
# Steps of a whole number at which it is told which level is nearest.
FINE = 16
# Tokens that are encoded together: what is made of them stays in cache.
_BATCH = 1024


def integers_of(vectors: Float32, scale: float) -> Int8:
    """Vectors [N, D] in units of the scale, as whole numbers from -127 to 127."""
    rounded: Int8 = np.clip(np.rint(vectors / np.float32(scale)), -REACH, REACH).astype(np.int8)
    return rounded


def bias_of(centroids: Uint8) -> Int32:
    """What makes the largest product that of the nearest centroid: -|c|^2 / 2, as integers [K]."""
    own = centroids.astype(np.int32) - ZERO
    found: Int32 = -(np.einsum("kd,kd->k", own, own) // 2).astype(np.int32)
    return found


def at_unit_length(centroids: Uint8) -> tuple[Uint8, float]:
    """The directions of centroids [K, D] as octets again, and their scale."""
    directions = normalized(centroids.astype(np.float32) - ZERO)
    scale = float(np.abs(directions).max()) / REACH or 1.0
    return (integers_of(directions, scale).astype(np.int16) + ZERO).astype(np.uint8), scale


def differences(vectors: Float32, centroids: Uint8, scale: float) -> Int16:
    """How far vectors [N, D] lie from octets [N, D], in steps from -255 on: `nearest_levels`."""
    left = vectors * np.float32(FINE / scale)
    left -= centroids * np.float32(FINE)
    left += FINE * (ZERO + 255)
    found: Int16 = np.clip(np.rint(left), 0, 2 * 255 * FINE).astype(np.int16)
    return found


def nearest_levels(levels: Int8) -> Uint8:
    """The digit of the level nearest to each difference: [2 * 255 * FINE + 1]."""
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    steps = np.arange(2 * 255 * FINE + 1) / FINE - 255
    found: Uint8 = np.searchsorted(middles, steps).astype(np.uint8)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class CentroidCodec:
    """An id of a centroid and, but for `ids` and `ids256`, a digit for each dimension.

    Attributes: see `Codec`.
        centroids: uint8 [K, D], 128 more than integers.
        scale: of the integers.
        left: `left_of` what it was trained on.
        levels: int8 [16], what each digit adds, in ascending order, as many as there are; None for
            `ids` and `ids256`.
        inverses: float32 [256], in ascending order from 0; None likewise.
    """

    spec: str
    dim: int
    metric: Metric
    centroids: Uint8
    scale: float
    left: float = 0.0
    levels: Int8 | None = None
    inverses: Float32 | None = None

    @cached_property
    def _bias(self) -> Int32:
        return bias_of(self.centroids)

    @cached_property
    def _nearest(self) -> Uint8:
        assert self.levels is not None
        return nearest_levels(self.levels[: self.radix])

    @cached_property
    def _scored(self) -> tuple[Uint8, float]:
        """What ids stand for in scores: of unit length for cosine, as decoded tokens are."""
        if self.metric == "cosine":
            return at_unit_length(self.centroids)
        return self.centroids, self.scale

    @property
    def radix(self) -> int:
        return RADIXES[self.spec]

    @property
    def _id_bytes(self) -> int:
        return 1 if self.spec == "ids256" else 2

    @property
    def code_bytes(self) -> int:
        if self.levels is None:
            return self._id_bytes
        return self._id_bytes + -(-self.dim // DIGITS[self.radix]) + 1

    def encode(self, vectors: Float32) -> Uint8:
        starts = range(0, len(vectors), _BATCH)
        batches = [self._encode(vectors[start : start + _BATCH]) for start in starts]
        return np.concatenate([np.empty((0, self.code_bytes), dtype=np.uint8), *batches])

    def _encode(self, vectors: Float32) -> Uint8:
        integers = integers_of(vectors, self.scale)
        ids = _kernels.nearest_octets(integers, self.centroids, self._bias)
        first = ids.astype("<u2")[:, None].view(np.uint8)[:, : self._id_bytes]
        if self.levels is None or self.inverses is None:
            return first
        own = self.centroids[ids]
        digits = self._nearest[differences(vectors, own, self.scale)]
        near = self._sum(own, self.levels[digits])
        inverse = self._inverse(vectors, near, self.inverses)
        return np.concatenate([first, packed(digits, self.radix), inverse[:, None]], axis=1)

    def left_of(self, vectors: Float32) -> float:
        """The share of the squared lengths of vectors [N, D] that their centroids leave."""
        return share_left(vectors, self.centroids, self.scale)

    @staticmethod
    def _sum(centroids: Uint8, levels: Int8) -> Int16:
        """The integers [N, D] that octets and levels stand for together."""
        total: Int16 = centroids.astype(np.int16) + levels - ZERO
        return total

    def _inverse(self, vectors: Float32, near: Int16, inverses: Float32) -> Uint8:
        """The index [N] of what brings the integers to the lengths of the vectors."""
        middles = (inverses[1:] + inverses[:-1]) / 2
        found = 1 + np.searchsorted(middles[1:], ratios(vectors, near, self.scale))
        return np.where(vectors.any(axis=1), found, 0).astype(np.uint8)

    def decode(self, codes: Uint8) -> Float32:
        ids = self._ids(codes)
        own = self.centroids[np.minimum(ids, len(self.centroids) - 1)]
        if self.levels is None or self.inverses is None:
            found = (own.astype(np.float32) - ZERO) * np.float32(self.scale)
        else:
            digits = unpacked(codes[:, self._id_bytes : -1], self.radix, self.dim)
            near = self._sum(own, self.levels[digits]).astype(np.float32)
            found = near * (self.inverses[codes[:, -1]] * np.float32(self.scale))[:, None]
        return normalized(found) if self.metric == "cosine" else found

    def _ids(self, codes: Uint8) -> Array:
        first = np.ascontiguousarray(codes[:, : self._id_bytes])
        return first.view("u1" if self._id_bytes == 1 else "<u2")[:, 0]

    def pack(self, codes: Uint8) -> Parts:
        ids = self._ids(codes)
        if self.levels is None:
            return {"ids": ids}
        digits = np.ascontiguousarray(codes[:, self._id_bytes : -1])
        return {"ids": ids, "codes": digits, "inverse": np.ascontiguousarray(codes[:, -1])}

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        first = parts["ids"][rows][:, None].view(np.uint8)
        if self.levels is None:
            return first
        return np.concatenate([first, parts["codes"][rows], parts["inverse"][rows, None]], axis=1)

    def prepare(self, queries: Float32) -> Prepared:
        """Refuse: only tokens are scored.

        Raises:
            SchemaError: always.
        """
        raise SchemaError(
            f"representation {self.spec!r} is of multivector fields, expected one of vector "
            "fields, such as 'bits2'"
        )

    def prepare_tokens(self, queries: Sequence[Float32]) -> PreparedTokens:
        integers, steps = query_integers(queries)
        if self.levels is None:
            centroids, scale = self._scored
            tables = [_kernels.id_tables(centroids, each) for each in integers]
            factors = [own * (step * scale) for (_, own), step in zip(tables, steps, strict=True)]
            return IdsPrepared([table for table, _ in tables], factors)
        return OctetsPrepared(integers, [step * self.scale for step in steps], self)


def share_left(vectors: Float32, centroids: Uint8, scale: float) -> float:
    """The share of the squared lengths of vectors [N, D] that the nearest centroids leave."""
    ids = _kernels.nearest_octets(integers_of(vectors, scale), centroids, bias_of(centroids))
    left = vectors - (centroids[ids].astype(np.float32) - ZERO) * np.float32(scale)
    whole = float(np.einsum("nd,nd->", vectors, vectors, dtype=np.float64))
    return float(np.einsum("nd,nd->", left, left, dtype=np.float64)) / (whole or 1.0)


def ratios(vectors: Float32, near: Array, scale: float) -> Float32:
    """The lengths of vectors [N, D] in units of those of integers near them; 0 where these are."""
    wide = near.astype(np.float32)
    own = np.sqrt(np.einsum("nd,nd->n", wide, wide)) * np.float32(scale)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    found: Float32 = lengths / np.where(own > 0, own, np.inf)
    return found


def query_integers(queries: Sequence[Float32]) -> tuple[list[Int8], list[float]]:
    """Queries [n, D] as integers [1, n, D], of one scale for all vectors of a query."""
    found, steps = [], []
    for query in queries:
        integers, step = to_integers(query.reshape(1, -1), ONE_DIGIT_MAX)
        found.append(integers.astype(np.int8).reshape(1, *query.shape))
        steps.append(float(step[0]))
    return found, steps


class IdsPrepared(NamedTuple):
    """What each centroid scores with the vectors of each query; see `_kernels.id_tables`."""

    tables: Sequence[Uint8]
    factors: Sequence[Array]

    def documents(
        self, parts: Parts, offsets: Uint64, query: int, budget: int | None
    ) -> _kernels.MaxSim:
        table, factors = self.tables[query], self.factors[query]
        return _kernels.maxsim_ids(offsets, budget, parts["ids"], table, factors)


class OctetsPrepared(NamedTuple):
    """Queries as integers, and what a step of their products with those of tokens is worth."""

    queries: Sequence[Int8]
    steps: Sequence[float]
    codec: CentroidCodec

    def documents(
        self, parts: Parts, offsets: Uint64, query: int, budget: int | None
    ) -> _kernels.MaxSim:
        codec = self.codec
        assert codec.levels is not None
        return _kernels.maxsim_octets(
            offsets,
            budget,
            parts["codes"],
            codec.radix,
            codec.levels.view(np.uint8),
            parts["ids"],
            codec.centroids,
            parts["inverse"],
            codec.inverses,
            self.queries[query],
            np.array([self.steps[query]]),
        )
