"""float32 and float16: a code is the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vecstore.codec.base import ListRows, Parts, normalized
from vecstore.kernels import _kernels
from vecstore.types import Float32, Int64, Metric, Uint8, Uint64

# Of a query; for more, the kernel of tokens is faster than that of rows.
FEW_VECTORS = 8

_HALF_MAX = float(np.finfo(np.float16).max)
_DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatCodec:
    """Keeps every value, as float32 or rounded to float16.

    Attributes: see `Codec`.
    """

    spec: str
    dim: int
    metric: Metric

    @property
    def code_bytes(self) -> int:
        return self.dim * self._dtype.itemsize

    @property
    def _dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.spec]

    def encode(self, vectors: Float32) -> Uint8:
        if self.spec == "float16":  # a coarse rung may not hold what a finer one does
            vectors = np.clip(vectors, -_HALF_MAX, _HALF_MAX)
        return np.ascontiguousarray(vectors, dtype=self._dtype).view(np.uint8)

    def decode(self, codes: Uint8) -> Float32:
        vectors = np.ascontiguousarray(codes).view(self._dtype).astype(np.float32)
        if self.spec == "float16" and self.metric == "cosine":
            return normalized(vectors)
        return vectors

    def pack(self, codes: Uint8) -> Parts:
        return {"values": np.ascontiguousarray(codes).view(self._dtype)}

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        taken: Uint8 = parts["values"][rows].view(np.uint8)
        return taken

    def prepare(self, queries: Float32) -> FlatPrepared:
        return FlatPrepared(np.ascontiguousarray(queries), self)

    def prepare_tokens(self, queries: Sequence[Float32]) -> FlatTokens:
        return FlatTokens([np.ascontiguousarray(query) for query in queries], self)


class FlatTokens(NamedTuple):
    """Queries [n, D] of several vectors, used as they are."""

    queries: Sequence[Float32]
    codec: FlatCodec

    def documents(
        self, parts: Parts, offsets: Uint64, query: int, budget: int | None
    ) -> _kernels.MaxSim:
        vectors = self.queries[query]
        if len(vectors) < FEW_VECTORS:
            rows = self.codec.prepare(vectors).scorer(parts)
            return _kernels.maxsim_rows(offsets, budget, rows)
        return _kernels.maxsim_floats(offsets, budget, parts["values"], vectors[None])


class FlatPrepared(NamedTuple):
    """Queries float32 [Q, D], used as they are."""

    queries: Float32
    codec: FlatCodec

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        return _kernels.flat(parts["values"], self.queries, self.codec.metric == "l2")

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan(span[0], span[1], allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan_lists(lists[0], lists[1], probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        alone = FlatPrepared(self.queries[query : query + 1], self.codec)
        return alone.scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        """Zeros: what is stored counts as exact, also where it was rounded to float16."""
        return np.zeros(len(rows), dtype=np.float32)

    def reading(self, parts: Parts) -> _kernels.Reading:
        return _kernels.Reading(self.scorer(parts), 0, None)
