"""The values that go in and come out: array aliases, records, hits, reports.

Shapes  N rows, Q queries, D dimensions, B bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from vecstore.errors import DimensionError, RequestError, VectorError

Float16: TypeAlias = npt.NDArray[np.float16]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Uint8: TypeAlias = npt.NDArray[np.uint8]
Uint16: TypeAlias = npt.NDArray[np.uint16]
Uint32: TypeAlias = npt.NDArray[np.uint32]
Uint64: TypeAlias = npt.NDArray[np.uint64]
Int8: TypeAlias = npt.NDArray[np.int8]
Int16: TypeAlias = npt.NDArray[np.int16]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]

Id: TypeAlias = int | str
Ids: TypeAlias = Sequence[Id] | npt.NDArray[Any]
Payload: TypeAlias = dict[str, Any]
Metric: TypeAlias = Literal["cosine", "dot", "l2"]
Durability: TypeAlias = Literal["fsync", "group"]
ColumnType: TypeAlias = Literal[
    "int",
    "float",
    "bool",
    "keyword",
    "timestamp",
    "list[int]",
    "list[float]",
    "list[bool]",
    "list[keyword]",
    "list[timestamp]",
]


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Ready-made codes of N vectors, to be written in place of the vectors.

    A slice, or an array of row numbers, takes some of them.

    Attributes:
        spec: the representation.
        fingerprint: of the codec that made them; see `Collection.codec`.
        codes: uint8 [N, bytes of one code].
    """

    spec: str
    fingerprint: str
    codes: Uint8

    def __post_init__(self) -> None:
        if not isinstance(self.spec, str) or not isinstance(self.fingerprint, str):
            raise RequestError(
                f"codes have spec {self.spec!r} and fingerprint {self.fingerprint!r}, "
                "expected two strings"
            )
        dtype = getattr(self.codes, "dtype", type(self.codes).__name__)
        if not isinstance(self.codes, np.ndarray) or dtype != np.uint8:
            raise VectorError(f"codes have dtype {dtype}, expected an array of uint8")
        if self.codes.ndim != 2:
            raise DimensionError(
                f"codes of shape {self.codes.shape}, expected (N, bytes of one code)"
            )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | Int64) -> Codes:
        return Codes(self.spec, self.fingerprint, self.codes[rows])


@dataclass(frozen=True, slots=True)
class Record:
    """One user item.

    Attributes:
        id: the user's key.
        payload: the JSON object stored with it; empty where none was given.
        vectors: field name -> float32 [D], where asked for; of a multivector field float32 [t, D].
            Cosine fields come back at unit length, and as precise as the finest representation of
            the field.
    """

    id: Id
    payload: Payload
    vectors: Mapping[str, Float32] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. `score`: bigger is better, whatever the metric."""

    id: Id
    score: float
    payload: Payload
    vectors: Mapping[str, Float32] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TokenMatches:
    """Which vectors of a record a query of n vectors matches.

    Attributes:
        tokens: int64 [n], for each vector of the query the record's vector that scores best with
            it, numbered in the order in which they were given.
        scores: float32 [n], what it scores; their sum is what MaxSim gives the record.
    """

    tokens: Int64
    scores: Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What one stage of a query did, over all sources.

    Attributes:
        stage: "scan", "probe", "rescore" or "maxsim".
        representation: the spec that was read.
        rows_in: rows it scored, or could choose from.
        rows_out: rows it handed on.
        bytes_read: bytes of codes it scored.
        milliseconds: wall time, summed over sources.
        kernel: the instruction set of the kernels: "portable", "v3" (AVX2) or "v4" (AVX-512).
        threads: most threads at work on one source.
    """

    stage: str
    representation: str
    rows_in: int
    rows_out: int
    bytes_read: int
    milliseconds: float
    kernel: str
    threads: int


class HitLoader(Protocol):
    """Fetches what hits carry besides their scores, when it is asked for."""

    def ids(self) -> list[Id]:
        """The ids, best hit first."""
        ...

    def payloads(self) -> list[Payload]:
        """The payloads; empty ones where none were asked for."""
        ...

    def raw_payloads(self) -> list[bytes]:
        """The payloads as JSON; b"" where there is none, or none were asked for."""
        ...

    def vectors(self) -> list[Mapping[str, Float32]]:
        """The vectors by field; empty where none were asked for."""
        ...

    def matches(self) -> list[TokenMatches] | None:
        """Which vectors of each hit matched; None where that was not asked for."""
        ...


class Hits(Sequence[Hit]):
    """The results of one query, best first: score descending, then oldest write first.

    Behaves as a sequence of `Hit`. `ids` (int64, or object where an id is a string) and
    `scores` (float32) are arrays; payloads, vectors and matches are read when first asked for.

    Attributes:
        scores: float32 [n], descending.
        partial: True when something could not be read and hits may be missing.
        explain: one report for each stage, where asked for.
        loader: what ids, payloads, vectors and matches are read from.
    """

    __slots__ = ("_hits", "_ids", "_matches", "explain", "loader", "partial", "scores")

    def __init__(
        self,
        scores: Float32,
        loader: HitLoader,
        *,
        partial: bool = False,
        explain: tuple[StageReport, ...] | None = None,
    ) -> None:
        self.scores = scores
        self.partial = partial
        self.explain = explain
        self.loader = loader
        self._ids: Array | None = None
        self._matches: tuple[TokenMatches, ...] | None = None
        self._hits: list[Hit] | None = None

    @property
    def ids(self) -> Array:
        """The ids: int64 [n] when every one is an int, else object [n]."""
        if self._ids is None:
            found = self.loader.ids()
            if {*map(type, found)} <= {int}:
                self._ids = np.array(found, dtype=np.int64)
            else:
                self._ids = np.empty(len(found), dtype=object)
                self._ids[:] = found
        return self._ids

    @property
    def matches(self) -> tuple[TokenMatches, ...] | None:
        """Which vectors of each hit matched, of those that made its score.

        Of the multivector field that was scored last, where the search was explained; else None.
        """
        if self._matches is None:
            found = self.loader.matches()
            self._matches = None if found is None else tuple(found)
        return self._matches

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | list[Hit]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"Hits({self._all()!r})"

    def _all(self) -> list[Hit]:
        if self._hits is None:
            self._hits = [
                Hit(id_, float(score), payload, vectors)
                for id_, score, payload, vectors in zip(
                    self.loader.ids(),
                    self.scores,
                    self.loader.payloads(),
                    self.loader.vectors(),
                    strict=True,
                )
            ]
        return self._hits


class Progress(Protocol):
    """Told how far long work has come. Raising stops the work; run it again to resume."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """`done` of `total` bytes or items of a step named `what`."""
        ...
