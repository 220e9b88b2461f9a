"""Each row's own range, divided evenly, after the mean of a sample is taken off.

LVQ, locally-adaptive vector quantization (Aguerrebere et al., VLDB 2023, section 3). With l and u
the least and greatest value of x - mean, and L = 2^B - 1, a dimension is near
mean + middle + step * (c - L / 2), c in 0 .. L, middle = (l + u) / 2, step = (u - l) / L. A second
level divides what is left, which lies in [-step / 2, step / 2], in the same way; it needs no
constants of its own.

    a code:  level 1: D * B / 8 bytes, rounded up | middle float32 | step float32 | level 2
    4 bits   byte i: dimensions 2i, 2i + 1, low nibble first
    8 bits   byte i: dimension i
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codec.affine import (
    ONE_DIGIT_MAX,
    RADIX,
    TWO_DIGITS_MAX,
    AffinePrepared,
    Names,
    TotalPrepared,
    factors_of,
    one_digit,
    to_integers,
    two_digits,
)
from vecstore.codec.base import Parts, Prepared, normalized
from vecstore.codec.bits import pack_bits, unpack_bits
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Float64, Int64, Metric, Uint8

# Weight, in rows, of the belief that the mean is zero.
_PRIOR_ROWS = 10
# Narrower ranges count as a point.
_STEP_MIN = np.float32(2.0**-100)


def train_mean(sample: Float32) -> dict[str, Array]:
    """Learn {"mean": [D]} from a sample [n, D]."""
    mean = sample.sum(axis=0, dtype=np.float64) / (len(sample) + _PRIOR_ROWS)
    return {"mean": mean.astype(np.float32)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LvqCodec:
    """`lvq4`, `lvq8`, and with a second level `lvq4x4`, `lvq4x8`.

    Attributes: see `Codec`.
        mean: float32 [D].
    """

    spec: str
    dim: int
    metric: Metric
    mean: Float32

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each level."""
        return tuple(int(level) for level in self.spec.removeprefix("lvq").split("x"))

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of each level."""
        return tuple(-(-self.dim * bits // 8) for bits in self.bits)

    @property
    def code_bytes(self) -> int:
        return sum(self.widths) + 8

    def encode(self, vectors: Float32) -> Uint8:
        left = vectors - self.mean
        low, high = left.min(axis=1, keepdims=True), left.max(axis=1, keepdims=True)
        levels = np.float32(2 ** self.bits[0] - 1)
        step = (high - low) / levels
        step[step < _STEP_MIN] = 0
        middle = low + step * (levels / 2)
        columns: list[Uint8] = []
        left -= middle
        for bits, width in zip(self.bits, self._steps(step), strict=True):
            levels = np.float32(2**bits - 1)
            codes = left / np.where(width > 0, width, 1)
            codes += levels / 2
            np.clip(np.rint(codes, out=codes), 0, levels, out=codes)
            columns.append(_packed(codes.astype(np.uint8), bits))
            codes -= levels / 2
            codes *= width
            left -= codes
        factors = np.concatenate([middle, step], axis=1).astype("<f4").view(np.uint8)
        return np.concatenate([columns[0], factors, *columns[1:]], axis=1)

    def decode(self, codes: Uint8) -> Float32:
        vectors = self._values(codes, len(self.bits))
        return normalized(vectors) if self.metric == "cosine" else vectors

    def _values(self, codes: Uint8, levels: int) -> Float32:
        """What so many levels of codes stand for."""
        parts = self._parts(codes)
        values: Float32 = np.zeros((len(codes), self.dim), dtype=np.float32)
        steps = self._steps(parts["scale"][:, None])
        for name, bits, width in zip(_CODES[:levels], self.bits, steps, strict=False):
            centred = _unpacked(parts[name], bits, self.dim).astype(np.float32)
            centred -= np.float32((2**bits - 1) / 2)
            values += centred * width
        return values + parts["shift"][:, None] + self.mean

    def _steps(self, step: Float32) -> list[Float32]:
        """The step of each level, from that of the first."""
        return [step, *(step / np.float32(2**bits - 1) for bits in self.bits[1:])]

    def _parts(self, codes: Uint8) -> dict[str, Array]:
        width = self.widths[0]
        factors = np.ascontiguousarray(codes[:, width : width + 8]).view("<f4")
        parts: dict[str, Array] = {
            "codes": np.ascontiguousarray(codes[:, :width]),
            "scale": np.ascontiguousarray(factors[:, 1]),
            "shift": np.ascontiguousarray(factors[:, 0]),
        }
        if len(self.bits) > 1:
            parts["residual"] = np.ascontiguousarray(codes[:, width + 8 :])
        return parts

    def pack(self, codes: Uint8) -> Parts:
        parts = self._parts(codes)
        if self.metric == "l2":
            for levels, name in enumerate(_NORMS[: len(self.bits)], 1):
                values = self._values(codes, levels)
                parts[name] = np.einsum("nd,nd->n", values, values)
        return parts

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        factors = [parts[name][rows][:, None].view(np.uint8) for name in ("shift", "scale")]
        residual = [parts["residual"][rows]] if len(self.bits) > 1 else []
        return np.concatenate([parts["codes"][rows], *factors, *residual], axis=1)

    def prepare(self, queries: Float32) -> Prepared:
        wide = queries.astype(np.float64)
        norms = np.einsum("nd,nd->n", wide, wide)
        offset, weight = wide @ self.mean, wide.sum(axis=1)
        whole, nothing = (offset, norms, weight), (np.zeros(1), np.zeros(1))
        one = to_integers(queries, ONE_DIGIT_MAX)
        two = to_integers(queries, TWO_DIGITS_MAX)
        if len(self.bits) == 1:
            integers, steps = one if self.bits[0] == 4 else two
            return self._term(self.bits[0], integers, steps, whole, Names(shift="shift"))
        # One digit of the query would be coarser than the second level is.
        high, low = np.moveaxis(two_digits(two[0]).astype(np.int64), 1, 0)
        finer = self.bits[1]
        integers, steps = one if finer == 4 else two
        terms = (
            self._term(4, high, two[1] * RADIX, whole, Names(norm="", shift="shift")),
            self._term(4, low, two[1], nothing, Names(norm="")),
            self._term(finer, integers, steps / (2**finer - 1), nothing, Names(_CODES[1], norm="")),
        )
        norm = _NORMS[1] if self.metric == "l2" else ""
        return TotalPrepared(terms, ("", "", ""), norm, norms.astype(np.float32))

    def _term(
        self, bits: int, integers: Int64, steps: Float64, others: tuple[Array, ...], names: Names
    ) -> AffinePrepared:
        """Queries against the codes of one level."""
        # 2 (q . (c - L / 2)) = 2 (q . c) - L sum(q)
        bias = -(2**bits - 1) * integers.sum(axis=1)
        factors = factors_of(bias, steps / 2, *others)
        if bits == 8:
            digits = two_digits(integers)
            return AffinePrepared(_kernels.octets, digits, factors, self.metric, names)
        return AffinePrepared(_kernels.nibbles, one_digit(integers), factors, self.metric, names)


# The codes of each level, and the squared lengths of what these stand for up to it.
_CODES = ("codes", "residual")
_NORMS = ("norm", "residual_norm")


def _packed(codes: Uint8, bits: int) -> Uint8:
    return codes if bits == 8 else pack_bits(np.pad(codes, ((0, 0), (0, codes.shape[1] % 2))), bits)


def _unpacked(packed: Uint8, bits: int, dim: int) -> Uint8:
    return packed if bits == 8 else unpack_bits(packed, bits)[:, :dim]
