"""1, 2, 4 or 8 bits a dimension after a random rotation; nothing is trained.

A row x is rotated and rounded to y, y[d] = c[d] - (2^B - 1) / 2, at a step chosen for the row so
that the angle between x and y is small. Then |x|^2 / (x . y) * (q . y) is an unbiased estimate
of q . x, and its error shrinks with the tangent of that angle and the square root of D:
RaBitQ (Gao and Long, SIGMOD 2024) and its extension to B bits (Gao et al., SIGMOD 2025).

    a code:  D * B / 8 bytes | scale float32 | error bfloat16 | l2: squared length float32
    bits1    byte i: dimensions 8i .. 8i + 7, low bit first     (D: rotated dimensions,
    bits2    byte i: dimensions 4i .. 4i + 3, low bits first     a multiple of 64)
    bits4    byte i: dimensions 2i, 2i + 1, low nibble first
    bits8    byte i: dimension i
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vecstore.codec.affine import (
    ONE_DIGIT_MAX,
    TWO_DIGITS_MAX,
    AffinePrepared,
    factors_of,
    from_bfloat16,
    one_digit,
    to_bfloat16,
    to_integers,
    two_digits,
)
from vecstore.codec.base import Parts, normalized
from vecstore.codec.rotation import padded_dim, rotate, signs_of, unrotate
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Metric, Uint8

GROUP = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsCodec:
    """B bits a dimension.

    Attributes: see `Codec`.
        bits: B.
        width: bytes of a row's integers.
    """

    spec: str
    dim: int
    metric: Metric
    bits: int = field(init=False)
    width: int = field(init=False)
    code_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        bits = int(self.spec.removeprefix("bits"))
        width = padded_dim(self.dim) * bits // 8
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "code_bytes", width + (10 if self.metric == "l2" else 6))

    @property
    def packed(self) -> bool:
        """True if rows are interleaved for the look-up kernel."""
        return self.bits <= 2

    def encode(self, vectors: Float32) -> Uint8:
        codes, factors = _kernels.quantize(rotate(vectors), self.bits)
        columns = [
            pack_bits(codes, self.bits),
            factors[:, :1].astype("<f4").view(np.uint8),
            to_bfloat16(factors[:, 1:2]).view(np.uint8),
        ]
        if self.metric == "l2":
            columns.append(np.ascontiguousarray(factors[:, 2:], dtype="<f4").view(np.uint8))
        return np.concatenate(columns, axis=1)

    def decode(self, codes: Uint8) -> Float32:
        """The direction of y at the length of x."""
        scale, error, norm = self._factors(codes)
        y = unpack_bits(codes[:, : self.width], self.bits).astype(np.float32)
        y -= np.float32((2**self.bits - 1) / 2)
        directions = normalized(unrotate(y, self.dim))
        if self.metric == "cosine":
            return directions * (scale > 0)[:, None]
        if norm is None:
            # scale |y| = |x| / cos and error = |x| tan / sqrt(D - 1) give |x|.
            stretched = scale**2 * np.einsum("nd,nd->n", y, y)
            norm = stretched - from_bfloat16(error) ** 2 * np.float32(y.shape[1] - 1)
        return directions * np.sqrt(np.maximum(norm, 0))[:, None]

    def pack(self, codes: Uint8) -> Parts:
        scale, error, norm = self._factors(codes)
        rows = codes[:, : self.width]
        laid = interleave(rows) if self.packed else np.ascontiguousarray(rows)
        parts: dict[str, Array] = {"codes": laid, "scale": scale}
        parts["error"] = error
        if norm is not None:
            parts["norm"] = norm
        return parts

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        codes = parts["codes"]
        taken = interleaved(codes, rows) if self.packed else codes[rows]
        names = ("scale", "error", "norm") if self.metric == "l2" else ("scale", "error")
        columns = [parts[name][rows][:, None].view(np.uint8) for name in names]
        return np.concatenate([taken, *columns], axis=1)

    def _factors(self, codes: Uint8) -> tuple[Float32, Array, Float32 | None]:
        def column(start: int, dtype: str) -> Array:
            at = self.width + start
            size = np.dtype(dtype).itemsize
            return np.ascontiguousarray(codes[:, at : at + size]).view(dtype)[:, 0]

        norm = column(6, "<f4") if self.metric == "l2" else None
        return column(0, "<f4"), column(4, "<u2"), norm

    def prepare(self, queries: Float32) -> AffinePrepared:
        bits = self.bits
        if bits <= 2:
            tables, factors = _kernels.packed_queries(queries, signs_of(self.dim), bits)
            return AffinePrepared(_kernels.packed, tables, factors, self.metric)
        norms = np.einsum("nd,nd->n", queries, queries).astype(np.float64)
        rotated = rotate(queries)
        largest = ONE_DIGIT_MAX if self.bits == 4 else TWO_DIGITS_MAX
        integers, steps = to_integers(rotated, largest)
        # 2 (q . y) = 2 (q . c) - (2^B - 1) sum(q)
        bias = -(2**self.bits - 1) * integers.sum(axis=1)
        factors = factors_of(bias, steps / 2, np.zeros(1), norms)
        if self.bits == 8:
            return AffinePrepared(_kernels.octets, two_digits(integers), factors, self.metric)
        return AffinePrepared(_kernels.nibbles, one_digit(integers), factors, self.metric)


def interleave(rows: Uint8) -> Uint8:
    """Bytes of rows [N, W] as `_kernels.packed` takes them, [ceil(N / 16), W, 16]; zeros follow."""
    groups, width = -(-len(rows) // GROUP), rows.shape[1]
    whole = np.zeros((groups * GROUP, width), dtype=np.uint8)
    whole[: len(rows)] = rows
    return np.ascontiguousarray(whole.reshape(groups, GROUP, width).transpose(0, 2, 1))


def interleaved(codes: Uint8, rows: Int64) -> Uint8:
    """The bytes [n, W] of some rows of what `interleave` made."""
    taken: Uint8 = codes[rows // GROUP, :, rows % GROUP]
    return taken


def pack_bits(values: Uint8, bits: int) -> Uint8:
    """Pack integers of `bits` bits [N, D] into bytes [N, D * bits / 8], low bits first."""
    if bits == 1:
        return np.packbits(values, axis=1, bitorder="little")
    per_byte = 8 // bits
    packed = values[:, ::per_byte].copy()
    for i in range(1, per_byte):
        packed |= values[:, i::per_byte] << np.uint8(i * bits)
    return packed


def unpack_bits(packed: Uint8, bits: int) -> Uint8:
    """Undo `pack_bits`."""
    per_byte = 8 // bits
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = packed[:, :, None] >> shifts & np.uint8(2**bits - 1)
    return values.reshape(len(packed), packed.shape[1] * per_byte)
