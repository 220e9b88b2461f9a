"""What stages hand on, and what they read from.

Shapes  n candidates, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vecstore.codec import Codec, Prepared
from vecstore.search.matching import Matching
from vecstore.segment.base import Codes
from vecstore.segment.bits import Allowed
from vecstore.segment.snapshot import Live
from vecstore.types import Float32, Int64, StageReport, Uint64


class Target(NamedTuple):
    """A source as one search sees it: its rows of one vector field, and which are allowed."""

    live: Live
    field: str
    rows: int  # that have the field
    allowed: Allowed

    def codes(self, spec: str) -> Codes:
        """The codes of a representation, or of the finest where this source has none such.

        The write buffer holds one representation only; a segment written before a representation
        was added lacks it.
        """
        source = self.live.source
        found = source.codes(self.field, spec)
        if found is None:
            found = source.codes(self.field, source.specs(self.field)[-1])
        assert found is not None
        return found

    def list_count(self, spec: str) -> int:
        """How many inverted lists the codes of a representation have, 0 where they have none."""
        lists = self.codes(spec).lists
        return 0 if lists is None else len(lists)

    def source_rows(self, rows: Int64) -> Int64:
        """The rows of the source that some rows of the field belong to."""
        of_field = self.live.source.field_rows(self.field)
        return rows if of_field is None else of_field[rows].astype(np.int64)

    def seqs(self, rows: Int64) -> Uint64:
        """The seqs of some rows of the field."""
        return self.live.source.seqs[self.source_rows(rows)]


class Candidates(NamedTuple):
    """Rows with scores; between stages in total order: score descending, then seq ascending."""

    target: Int64  # [n] position of the target
    row: Int64  # [n] row of the field in that target
    score: Float32  # [n]
    bound: Float32 | None = None  # [n] half-width of the error bound of the score, if known

    def scored(self, score: Float32, bound: Float32 | None) -> Candidates:
        """The same rows with other scores and bounds."""
        return Candidates(self.target, self.row, score, bound)


class Answer(NamedTuple):
    """The candidates left for one query, and what each stage did for it.

    Attributes:
        candidates: best first.
        reports: one for each stage, where asked for.
        cut: whether the scan may have cut off one that belongs among them.
        scanned: how many candidates the first stage found, where it may be a probe.
        matching: of an explained search of a multivector field, what the hits are matched with.
    """

    candidates: Candidates
    reports: tuple[StageReport, ...] = ()
    cut: bool = False
    scanned: int = 0
    matching: Matching | None = None


class Queries:
    """The queries of one search, prepared once for each codec that scores them.

    Attributes:
        vectors: float32 [Q, D], checked.
        bytes_read: bytes of codes scored so far.
        rows_scanned: rows that the first stage scored, for each query on average.
    """

    def __init__(self, vectors: Float32) -> None:
        self.vectors = vectors
        self.bytes_read = 0
        self.rows_scanned = 0
        self._prepared: dict[int, tuple[Codec, Prepared]] = {}

    def __len__(self) -> int:
        return len(self.vectors)

    def some(self, places: Sequence[int]) -> Queries:
        """Those at `places`, ascending; itself, as far as it is prepared, where these are all."""
        return self if len(places) == len(self) else Queries(self.vectors[places])

    def prepared(self, codec: Codec) -> Prepared:
        """The queries, ready to score codes of `codec`."""
        found = self._prepared.get(id(codec))
        if found is None:
            found = self._prepared[id(codec)] = (codec, codec.prepare(self.vectors))
        return found[1]


def in_order(candidates: Candidates, targets: Sequence[Target], keep: int) -> Candidates:
    """The best `keep` candidates in total order."""
    if len(targets) == 1:  # rows ascend with seqs
        return pick(candidates, np.lexsort((candidates.row, -candidates.score))[:keep])
    seqs = np.empty(len(candidates.row), dtype=np.uint64)
    for position, target in enumerate(targets):
        own = np.flatnonzero(candidates.target == position)
        seqs[own] = target.seqs(candidates.row[own])
    return pick(candidates, np.lexsort((seqs, -candidates.score))[:keep])


def pick(candidates: Candidates, places: Int64) -> Candidates:
    """The candidates at `places`, in that order."""
    bound = candidates.bound
    return Candidates(
        candidates.target[places],
        candidates.row[places],
        candidates.score[places],
        None if bound is None else bound[places],
    )
