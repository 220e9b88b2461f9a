"""Codecs of fewer dimensions: the first ones, or the principal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vecstore.codec.base import (
    Codec,
    ListRows,
    Parts,
    Prepared,
    PreparedTokens,
    TokenCodec,
    normalized,
)
from vecstore.kernels import _kernels
from vecstore.types import Float32, Float64, Int64, Metric, Uint8, Uint64

# A second-moment matrix of more dimensions is not formed; that of so many rows is instead.
MATRIX_DIM_MAX = 2048


def train_basis(sample: Float32, dims: int, seed: int) -> Float32:
    """Return the `dims` directions [D, dims] that hold most of a sample [n, D].

    Eigenvectors of the uncentred second moment, largest first: inner products are kept best, and
    queries need no mean. Directions beyond the rank of the sample are random, orthogonal.
    """
    wide = sample.astype(np.float64)
    rng = np.random.default_rng(seed)
    if wide.shape[1] <= MATRIX_DIM_MAX:
        basis = np.linalg.eigh(wide.T @ wide)[1][:, ::-1][:, :dims]
    else:
        if len(wide) > MATRIX_DIM_MAX:
            wide = wide[np.sort(rng.choice(len(wide), MATRIX_DIM_MAX, replace=False))]
        values, left = np.linalg.eigh(wide @ wide.T)
        held = values > values[-1] * 1e-10
        basis = (wide.T @ left[:, held])[:, ::-1][:, :dims]
        extra = rng.standard_normal((wide.shape[1], dims - basis.shape[1]))
        basis = np.linalg.qr(np.concatenate([basis, extra], axis=1))[0]
    return _with_signs(basis).astype(np.float32)


def _with_signs(basis: Float64) -> Float64:
    """Make the largest entry of each direction positive, so that its sign is defined."""
    largest = np.abs(basis).argmax(axis=0)
    return basis * np.where(basis[largest, np.arange(basis.shape[1])] < 0, -1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReducedCodec:
    """Another codec, on `inner.dim` of `dim` dimensions; at unit length again for cosine.

    Attributes: see `Codec`.
        inner: the codec of the kept dimensions.
        basis: float32 [D, inner.dim], orthonormal columns; None keeps the first dimensions.
    """

    spec: str
    dim: int
    inner: Codec
    basis: Float32 | None

    @property
    def metric(self) -> Metric:
        return self.inner.metric

    @property
    def code_bytes(self) -> int:
        return self.inner.code_bytes

    def reduce(self, vectors: Float32) -> Float32:
        """Return the kept dimensions of vectors [N, D]."""
        if self.basis is None:
            kept = np.ascontiguousarray(vectors[:, : self.inner.dim])
        else:
            kept = vectors @ self.basis
        return normalized(kept) if self.metric == "cosine" else kept

    def encode(self, vectors: Float32) -> Uint8:
        return self.inner.encode(self.reduce(vectors))

    def decode(self, codes: Uint8) -> Float32:
        kept = self.inner.decode(codes)
        if self.basis is not None:
            return kept @ self.basis.T
        vectors = np.zeros((len(kept), self.dim), dtype=np.float32)
        vectors[:, : self.inner.dim] = kept
        return vectors

    def pack(self, codes: Uint8) -> Parts:
        return self.inner.pack(codes)

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        return self.inner.unpack(parts, rows)

    def prepare(self, queries: Float32) -> ReducedPrepared:
        return ReducedPrepared(inner=self.inner.prepare(self.reduce(queries)))

    def prepare_tokens(self, queries: Sequence[Float32]) -> PreparedTokens:
        assert isinstance(self.inner, TokenCodec), self.spec
        return self.inner.prepare_tokens([self.reduce(query) for query in queries])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReducedPrepared:
    """Queries for the kept dimensions; what the others hold is not bounded."""

    inner: Prepared

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.inner.scan(parts, span, allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.inner.scan_lists(parts, lists, probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        return self.inner.score(parts, query, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        return None

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        return self.inner.scorer(parts)

    def reading(self, parts: Parts) -> _kernels.Reading:
        return self.inner.reading(parts).unbounded()
