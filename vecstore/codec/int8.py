"""One byte a dimension, over ranges learned from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vecstore.codec.affine import (
    TWO_DIGITS_MAX,
    AffinePrepared,
    factors_of,
    to_integers,
    two_digits,
)
from vecstore.codec.base import Parts, normalized
from vecstore.codec.tokens import RowTokens
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Metric, Uint8

_LEVELS = 255
# Ranges reach at least this many standard deviations from the mean.
_SIGMAS = 4.0
# Weight, in rows, of the belief that a dimension has mean zero and the average spread.
_PRIOR_ROWS = 10


def train_ranges(sample: Float32) -> dict[str, Array]:
    """Learn {"low": [D], "step": [D]}, the range of each dimension, from a sample [n, D]."""
    n = len(sample)
    wide = sample.astype(np.float64)
    weight = n / (n + _PRIOR_ROWS)
    mean = wide.mean(axis=0) * weight
    spread = ((wide - mean) ** 2).mean(axis=0)
    sigma = np.sqrt(weight * spread + (1 - weight) * (wide**2).mean())
    reach = np.maximum(_SIGMAS * sigma, np.abs(wide - mean).max(axis=0))
    reach = np.where(reach > 1e-30, reach, 1.0)
    return {
        "low": (mean - reach).astype(np.float32),
        "step": (2 * reach / _LEVELS).astype(np.float32),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Int8Codec:
    """x[d] is near low[d] + step[d] * c[d], c[d] in 0 .. 255; values outside are clipped.

    Attributes: see `Codec`.
        low: float32 [D].
        step: float32 [D].
    """

    dim: int
    metric: Metric
    low: Float32
    step: Float32

    @property
    def spec(self) -> str:
        return "int8"

    @property
    def code_bytes(self) -> int:
        return self.dim

    def encode(self, vectors: Float32) -> Uint8:
        codes = np.rint((vectors - self.low) / self.step)
        clipped: Uint8 = np.clip(codes, 0, _LEVELS).astype(np.uint8)
        return clipped

    def decode(self, codes: Uint8) -> Float32:
        vectors = self._values(codes)
        return normalized(vectors) if self.metric == "cosine" else vectors

    def clipping(self, vectors: Float32) -> float:
        """The squared error of vectors [N, D] over that of rounding; 1 where none is clipped."""
        high = self.low + self.step * _LEVELS
        beyond = vectors.astype(np.float64) - np.clip(vectors, self.low, high)
        rounding = (self.step.astype(np.float64) ** 2).sum() / 12 * len(vectors)
        return float(1 + np.einsum("nd,nd->", beyond, beyond) / rounding)

    def _values(self, codes: Uint8) -> Float32:
        return self.low + self.step * codes.astype(np.float32)

    def pack(self, codes: Uint8) -> Parts:
        parts: dict[str, Array] = {"codes": np.ascontiguousarray(codes)}
        if self.metric == "l2":
            values = self._values(codes)
            parts["norm"] = np.einsum("nd,nd->n", values, values)
        return parts

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        taken: Uint8 = parts["codes"][rows]
        return taken

    def prepare(self, queries: Float32) -> AffinePrepared:
        norms = np.einsum("nd,nd->n", queries, queries).astype(np.float64)
        integers, steps = to_integers(queries * self.step, TWO_DIGITS_MAX)
        offset = queries.astype(np.float64) @ self.low
        factors = factors_of(np.zeros(1), steps / 2, offset, norms)
        return AffinePrepared(_kernels.octets, two_digits(integers), factors, self.metric)

    def prepare_tokens(self, queries: Sequence[Float32]) -> RowTokens:
        return RowTokens([self.prepare(query).scorer for query in queries])
