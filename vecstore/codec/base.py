"""What a codec is: vectors <-> codes, and scores straight from the codes.

Shapes  N rows, Q queries, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Metric, Uint8, Uint32, Uint64

Parts: TypeAlias = Mapping[str, Array]
"""How a codec lays codes out for scanning: the named arrays of a component."""

ListRows: TypeAlias = tuple[Uint64, Uint32]
"""Inverted lists: offsets [C + 1], list l having the positions [offsets[l], offsets[l + 1]) of the
parts, and the row at each position [N]."""

Rest: TypeAlias = Callable[[], None]
"""Called now and then in long work; may sleep, or raise to give up."""

SQUARED_LENGTH_MAX = 2.0**122
"""Longer vectors could overflow a float32 score."""


class Codec(Protocol):
    """Turns vectors into codes and back. Immutable; does no I/O.

    Scores are estimates of the metric's score in original units: the cosine similarity of
    vectors that arrive at unit length, the inner product, or the negated squared distance.

    Attributes:
        spec: the representation it implements.
        dim: dimensions D of the vectors it takes.
        metric: what its scores estimate.
        code_bytes: bytes of one code.
    """

    @property
    def spec(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> Metric: ...
    @property
    def code_bytes(self) -> int: ...

    def encode(self, vectors: Float32) -> Uint8:
        """Return the codes [N, code_bytes] of vectors [N, D].

        They are finite and of squared length SQUARED_LENGTH_MAX at most, which the caller checks:
        a codec refuses nothing.
        """
        ...

    def decode(self, codes: Uint8) -> Float32:
        """Return vectors [N, D] near the ones that were encoded; unit length for cosine."""
        ...

    def pack(self, codes: Uint8) -> Parts:
        """Lay codes [N, code_bytes] out for scanning."""
        ...

    def unpack(self, parts: Parts, rows: Int64) -> Uint8:
        """Return the codes of some rows, as `encode` made them."""
        ...

    def prepare(self, queries: Float32) -> Prepared:
        """Do the work that queries [Q, D] need once; they are finite and not too long."""
        ...


class Prepared(Protocol):
    """Queries ready to be scored against the parts of their codec. May be shared by threads."""

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the rows and scores of the best allowed rows in a span, for each query.

        Args:
            parts: what `pack` returned.
            span: rows [start, stop); start is a multiple of 64.
            allowed: bit i of word w allows row 64 * w + i; None allows all.
            keep: rows to return at most; best first, the lower row where scores are equal.
        """
        ...

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the rows and scores of the best allowed rows of some lists, for each query.

        Args:
            parts: what `pack` returned for codes in the order of the lists.
            lists: where they lie.
            probes: [Q, P], the lists of each query, none twice; -1 at the end for none.
            allowed: as in `scan`, by row.
            keep: as in `scan`.
        """
        ...

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        """Return the scores of some rows: the numbers that `scan` gives, bit for bit."""
        ...

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        """Return the half-width of each score's error bound, or None if it is not known."""
        ...

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        """Return what gives the same scores inside the kernels."""
        ...

    def reading(self, parts: Parts) -> _kernels.Reading:
        """Return what reads these parts inside the kernels, for any queries of the codec."""
        ...


@runtime_checkable
class TokenCodec(Codec, Protocol):
    """A codec that can also score documents, whose tokens are rows of its parts, end to end."""

    def prepare_tokens(self, queries: Sequence[Float32]) -> PreparedTokens:
        """Do the work that queries of several vectors, [n, D] each, n >= 1, need once."""
        ...


class PreparedTokens(Protocol):
    """Queries ready for late interaction. May be shared by threads."""

    def documents(
        self, parts: Parts, offsets: Uint64, query: int, budget: int | None
    ) -> _kernels.MaxSim:
        """Return what scores documents against one of the queries: MaxSim in original units.

        Args:
            parts: what `pack` returned for the codes of the tokens.
            offsets: uint64 [documents + 1], where documents begin and end.
            query: its position.
            budget: tokens of a document that are read, the first ones; None: all.
        """
        ...


def no_rest() -> None:
    """Go on at once."""


def layout_of(codec: Codec) -> tuple[str, ...]:
    """The names of the arrays that `pack` makes."""
    return tuple(codec.pack(np.empty((0, codec.code_bytes), dtype=np.uint8)))


def normalized(vectors: Float32) -> Float32:
    """Return the vectors at unit length; zeros stay zeros."""
    lengths: Float32 = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return vectors / lengths
