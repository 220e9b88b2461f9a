"""Planes of signs after a random rotation, each of what the ones before leave over.

The recurrent binarization of BEBR (Gan et al., KDD 2023) in closed form: plane b0 is the signs of
x, each further one the signs of the residual, and x is near s0 b0 + s1 b1 + ..., each s the mean
magnitude of what it is the signs of. Such a sum is shorter than x; so that scores are unbiased,
the sum y of the first planes is multiplied with |x|^2 / (x . y), as RaBitQ does (Gao and Long,
SIGMOD 2024). What that makes of s0, s1, ... is kept plane by plane, y = (y + scale b) * gain, so
that a code without its last plane is the code of one plane less.

    a code:  plane 0 | scale float32 | dot, l2: squared length float32
             plane 1 | scale float32 | gain float32 | plane 2 | ...
    a plane: P / 8 bytes, low bit first, 1 where >= 0 (P: rotated dimensions, a multiple of 64)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codec.affine import AffinePrepared, Names, TotalPrepared
from vecstore.codec.base import Parts, Prepared, normalized
from vecstore.codec.bits import interleave, interleaved, unpack_bits
from vecstore.codec.rotation import padded_dim, rotate, signs_of, unrotate
from vecstore.codec.sign import signs_of_rotated
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Float64, Int64, Metric, Uint8


@dataclass(frozen=True, slots=True, kw_only=True)
class BebrCodec:
    """`bebrU`: U planes, U = 1 .. 4. Attributes: see `Codec`."""

    spec: str
    dim: int
    metric: Metric

    @property
    def planes(self) -> int:
        return int(self.spec.removeprefix("bebr"))

    @property
    def width(self) -> int:
        """Bytes of a plane."""
        return padded_dim(self.dim) // 8

    @property
    def code_bytes(self) -> int:
        return sum(self.width + 4 * len(names) for names in self._factors())

    def _factors(self) -> list[tuple[str, ...]]:
        """The names of the float32 factors after each plane."""
        first = ("scale",) if self.metric == "cosine" else ("scale", "norm")
        return [first, *((f"scale{n}", f"gain{n}") for n in range(1, self.planes))]

    def encode(self, vectors: Float32) -> Uint8:
        rotated = rotate(vectors)
        squared = _products(rotated, rotated)
        near: Float32 = np.zeros_like(rotated)
        columns: list[Array] = []
        before = np.ones(len(rotated), dtype=np.float32)
        for number in range(self.planes):
            left = rotated - near
            size = np.abs(left).mean(axis=1)
            plane = (left >= 0).astype(np.float32)  # to be size or -size; np.where takes far longer
            plane *= 2 * size[:, None]
            plane -= size[:, None]
            near += plane
            along = _products(rotated, near)
            gain = (squared / np.where(along > 0, along, np.inf)).astype(np.float32)
            first = (size * gain, squared)[: len(self._factors()[0])]
            factors = (size * before, gain / np.where(before > 0, before, 1)) if number else first
            before = gain
            columns += (
                signs_of_rotated(left),
                np.stack(factors, axis=1).astype("<f4").view(np.uint8),
            )
        return np.concatenate(columns, axis=1)

    def decode(self, codes: Uint8) -> Float32:
        """The direction of y at the length of x."""
        parts = self._parts(codes)
        y = np.zeros((len(codes), 8 * self.width), dtype=np.float32)
        for plane, names in self._planes():
            signs = 2 * unpack_bits(parts[plane], 1).astype(np.float32) - 1
            y += signs * parts[names[0]][:, None]
            if plane != "codes":
                y *= parts[names[1]][:, None]
        directions = normalized(unrotate(y, self.dim))
        if self.metric == "cosine":
            return directions
        return directions * np.sqrt(parts["norm"])[:, None]

    def _planes(self) -> list[tuple[str, tuple[str, ...]]]:
        """The name of each plane, and of its factors."""
        names = ["codes", *(f"codes{number}" for number in range(1, self.planes))]
        return list(zip(names, self._factors(), strict=True))

    def _parts(self, codes: Uint8) -> dict[str, Array]:
        """The planes [N, P / 8] and factors [N] of codes."""
        parts: dict[str, Array] = {}
        start = 0
        for plane, names in self._planes():
            stop = start + self.width
            parts[plane] = np.ascontiguousarray(codes[:, start:stop])
            start = stop + 4 * len(names)
            factors = np.ascontiguousarray(codes[:, stop:start]).view("<f4")
            for place, name in enumerate(names):
                parts[name] = np.ascontiguousarray(factors[:, place])
        return parts

    def pack(self, codes: Uint8) -> Parts:
        parts = self._parts(codes)
        for plane, _ in self._planes():
            parts[plane] = interleave(parts[plane])
        return parts

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        columns: list[Uint8] = []
        for plane, names in self._planes():
            columns.append(interleaved(parts[plane], rows))
            columns += [parts[name][rows][:, None].view(np.uint8) for name in names]
        return np.concatenate(columns, axis=1)

    def prepare(self, queries: Float32) -> Prepared:
        tables, factors = _kernels.packed_queries(queries, signs_of(self.dim), 1)
        factors[:, 1] *= 2  # they are made for halves, signs are whole
        norm = "norm" if self.metric == "l2" else ""
        if self.planes == 1:
            return AffinePrepared(_kernels.packed, tables, factors, self.metric)
        terms = tuple(
            AffinePrepared(
                _kernels.packed, tables, factors, self.metric, Names(plane, names[0], "")
            )
            for plane, names in self._planes()
        )
        gains = ("", *(names[1] for names in self._factors()[1:]))
        return TotalPrepared(terms, gains, norm, factors[:, 3].astype(np.float32))


def _products(a: Float32, b: Float32) -> Float64:
    """Inner products [N] of rows, in float64: those of tiny rows are not lost."""
    found: Float64 = np.einsum("nd,nd->n", a, b, dtype=np.float64)
    return found
