"""MaxSim: score records by all vectors of a multivector field, for one query.

As the first stage it scores the allowed records of every target, later those that the stage before
handed on. Rows of the field are documents to the kernels, and their codes those of the tokens.

Shapes  n vectors of the query, N rows of the field, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar, cast

import numpy as np

from vecstore import options
from vecstore.codec.base import PreparedTokens, TokenCodec
from vecstore.codec.centroid import IdsPrepared
from vecstore.kernels import _kernels
from vecstore.request import MaxSim
from vecstore.search.candidates import Candidates, Target, pick
from vecstore.search.parallel import Workers
from vecstore.search.stages.scan import allowed_rows, best_of, is_sparse, merge
from vecstore.segment.base import Codes
from vecstore.segment.bits import unpack_mask
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.vectors import owners
from vecstore.types import Float32, Int64, Uint64

Result = TypeVar("Result")

# What a MaxSim costs for each byte of codes and vector of the query, in bytes of codes that a scan
# of a vector field scores; and in bytes that are as much worth another thread, as products gain
# more by it than reading does.
COST, _SHARED = 1 / 8, 1 / 2
_POSTING_BYTES = 4
# Vectors of a query that a scan of ids reads tokens once for.
STRIP = 32


class TokenQuery:
    """One query of a multivector field, prepared once for each codec that scores it.

    Attributes:
        vectors: float32 [n, D], checked.
        workers: threads; None does all on this one.
        rows: records that a stage scored so far.
        bytes_read: bytes of codes that it scored.
        threads: threads that it used.
    """

    def __init__(self, vectors: Float32, workers: Workers | None) -> None:
        self.vectors = vectors
        self.workers = workers
        self.begin()
        self._prepared: dict[int, tuple[TokenCodec, PreparedTokens]] = {}

    def begin(self) -> None:
        """Count from nothing: a stage begins."""
        self.rows = self.bytes_read = 0
        self.threads = 1

    def documents(self, read: Read, budget: int | None) -> _kernels.MaxSim:
        """What scores the documents of a target."""
        prepared = self._prepare(read)
        return prepared.documents(read.codes.parts, read.bounds.offsets, 0, budget)

    def candidates(self, stage: MaxSim, target: Target, read: Read) -> tuple[Uint64 | None, int]:
        """The records of a target to score, as bits (None: all), and how many there are.

        With nprobe those that look good by their centroids, unless there are hardly more, or hardly
        any are found; with a budget all, as centroids are those of all tokens.
        """
        allowed, most = target.allowed, candidates_of(stage)
        prepared = self._prepare(read)
        if stage.nprobe is None or stage.token_budget is not None or allowed.count <= most:
            return allowed.bits, allowed.count
        if not isinstance(prepared, IdsPrepared):
            return allowed.bits, allowed.count
        [table] = prepared.tables[0]
        if len(self.vectors) * stage.nprobe > len(table) * -(-len(self.vectors) // STRIP):
            return allowed.bits, allowed.count  # more would be read than there are tokens
        postings = read.codes.postings(read.bounds.offsets, len(table))
        bits, count, looked = postings.candidates(
            table, len(self.vectors), stage.nprobe, most, allowed.bits
        )
        self.bytes_read += _POSTING_BYTES * looked
        return (bits, count) if count >= stage.keep else (allowed.bits, allowed.count)

    def _prepare(self, read: Read) -> PreparedTokens:
        codec = cast(TokenCodec, read.codes.codec)  # the ladder of the field has no others
        found = self._prepared.get(id(codec))
        if found is None:
            found = self._prepared[id(codec)] = (codec, codec.prepare_tokens([self.vectors]))
        return found[1]

    def count(self, read: Read, rows: int, tokens: int) -> int:
        """Count what is read; what that costs, as bytes of codes of a vector field."""
        size = tokens * read.codes.codec.code_bytes
        self.rows += rows
        self.bytes_read += size
        return int(size * len(self.vectors) * _SHARED)

    def run(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """Do what scores, on as many threads."""
        if self.workers is None or not tasks:
            return [task() for task in tasks]
        self.threads = max(self.threads, min(self.workers.count, len(tasks)))
        return self.workers.run(tasks)


def candidates_of(stage: MaxSim) -> int:
    """How many records of a target a stage with nprobe scores, where there are more."""
    return max(options.MAXSIM_CANDIDATES * stage.keep, options.MAXSIM_CANDIDATES_MIN)


class Read(NamedTuple):
    """What a MaxSim reads of a target."""

    codes: Codes
    bounds: TokenBounds

    def touch(self, rows: Int64 | None, budget: int | None) -> None:
        """Verify the codes of the tokens of some rows, or of all."""
        if rows is None:
            self.codes.touch()
        else:
            starts = self.bounds.offsets[rows].astype(np.int64)
            self.codes.touch.spans(starts, starts + self._lengths(rows, budget))

    def tokens(self, rows: Int64 | None, budget: int | None) -> int:
        """How many tokens are read of some rows, or of all."""
        if rows is None and budget is None:
            return self.bounds.count
        return int(self._lengths(rows, budget).sum())

    def _lengths(self, rows: Int64 | None, budget: int | None) -> Int64:
        offsets = self.bounds.offsets
        if rows is None:
            lengths = np.diff(offsets).astype(np.int64)
        else:
            lengths = (offsets[rows + 1] - offsets[rows]).astype(np.int64)
        return lengths if budget is None else np.minimum(lengths, budget)


def read_of(target: Target, stage: MaxSim) -> Read:
    """What a MaxSim reads of a target that has rows of the field."""
    bounds = target.live.source.tokens(target.field)
    assert bounds is not None, target.field
    return Read(target.codes(_spec(stage)), bounds)


def scan_sets(
    stage: MaxSim,
    targets: Sequence[Target],
    query: TokenQuery,
    *,
    rescored: bool,
) -> Candidates:
    """Score the allowed records of every target.

    Args:
        stage: its representation and what it keeps.
        targets: sources, each with at least one allowed row of the field.
        query: of the field.
        rescored: whether a stage follows, for which scores of several representations are not
            compared, but the best by each kept.
    """
    read = [read_of(target, stage) for target in targets]
    tasks: list[Callable[[], list[tuple[Int64, Float32]]]] = []
    places: list[int] = []
    for place, (target, own) in enumerate(zip(targets, read, strict=True)):
        budget = stage.token_budget
        bits, count = query.candidates(stage, target, own)
        if bits is target.allowed.bits:
            rows = None if bits is None else allowed_rows(target)
            own.touch(rows if is_sparse(target) else None, budget)
        else:  # all codes were verified for the postings
            assert bits is not None
            rows = np.flatnonzero(unpack_mask(bits, target.rows))
        cost = query.count(own, count, own.tokens(rows, budget))
        documents = query.documents(own, budget)
        spans = [(0, target.rows)]
        if query.workers is not None:
            spans = query.workers.documents(own.bounds.offsets, cost)
        tasks += [partial(documents.scan, *span, bits, stage.keep) for span in spans]
        places += [place] * len(spans)
    found = [found for [found] in query.run(tasks)]
    return merge(found, places, targets, stage.keep, _kinds(read) if rescored else [])


def rescore_sets(
    stage: MaxSim,
    targets: Sequence[Target],
    candidates: Candidates,
    query: TokenQuery,
    *,
    before: MaxSim | None,
    rescored: bool,
) -> Candidates:
    """Score candidates.

    Args:
        stage: its representation and what it keeps.
        targets: the sources that the candidates name; their rows are those of the field.
        candidates: from the stage before.
        query: of the field.
        before: the stage before, if it was a MaxSim of the same field: what read the same codes
            is not scored again.
        rescored: as in `scan_sets`.
    """
    scores = candidates.score.copy()
    tasks: list[Callable[[], Float32]] = []
    own: list[Int64] = []
    read: list[Read | None] = [None] * len(targets)
    for place, target in enumerate(targets):
        mine = np.flatnonzero(candidates.target == place)
        if not len(mine):
            continue
        now = read[place] = read_of(target, stage)
        if before is not None and _alike(before, stage, target, now):
            continue
        rows = candidates.row[mine]
        now.touch(rows, stage.token_budget)
        cost = query.count(now, len(rows), now.tokens(rows, stage.token_budget))
        documents = query.documents(now, stage.token_budget)
        for part in _parts(len(rows), cost, query.workers):
            tasks.append(partial(documents.score, 0, rows[part]))
            own.append(mine[part])
    for scored, found in zip(own, query.run(tasks), strict=True):
        scores[scored] = found
    return best_of(
        candidates.scored(scores, None), targets, stage.keep, _kinds(read) if rescored else []
    )


def of_field(targets: Sequence[Target], field: str) -> list[Target]:
    """The same sources as targets of another field; which of its rows are allowed is not said."""
    return [
        target._replace(field=field, rows=target.live.source.field_count(field))
        for target in targets
    ]


def move(candidates: Candidates, targets: Sequence[Target], field: str) -> Candidates:
    """The same records as rows of another field, in that order; those without it drop out.

    Args:
        candidates: of the field of the targets.
        targets: the sources that they name.
        field: the other field; the positions of its targets are those of these.
    """
    rows = np.full(len(candidates.row), -1, dtype=np.int64)
    for place, target in enumerate(targets):
        mine = np.flatnonzero(candidates.target == place)
        own, numbers = owners(target.live.source, field, target.source_rows(candidates.row[mine]))
        rows[mine[own]] = numbers
    found = np.flatnonzero(rows >= 0)
    return pick(Candidates(candidates.target, rows, candidates.score), found)


def _parts(rows: int, cost: int, workers: Workers | None) -> list[slice]:
    """Cut rows into a part for each thread that is worth its start."""
    count = 1 if workers is None else min(rows, workers.share(cost))
    return [slice(rows * part // count, rows * (part + 1) // count) for part in range(count)]


def _spec(stage: MaxSim) -> str:
    assert stage.representation is not None, "a plan names it"
    return stage.representation


def _alike(before: MaxSim, stage: MaxSim, target: Target, read: Read) -> bool:
    """Whether the stage before read the same of a target."""
    same = before.token_budget == stage.token_budget
    return same and target.codes(_spec(before)) is read.codes


def _kinds(read: Sequence[Read | None]) -> list[list[int]]:
    """Groups of targets by the representation that is read of them; none where it is one."""
    found: dict[str, list[int]] = {}
    for place, own in enumerate(read):
        if own is not None:
            found.setdefault(own.codes.codec.spec, []).append(place)
    return list(found.values()) if len(found) > 1 else []
