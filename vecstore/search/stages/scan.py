"""Scan and Probe: score the allowed rows of every target, for all queries, and keep the best.

A Scan scores all of them, a Probe those of the inverted lists whose centroids score best, where
a target has lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vecstore import options
from vecstore.codec import Prepared
from vecstore.request import Probe, Scan
from vecstore.search.candidates import Candidates, Queries, Target, in_order, pick
from vecstore.search.parallel import Workers
from vecstore.segment.base import Codes
from vecstore.segment.bits import unpack_mask
from vecstore.types import Float32, Int64

Found = list[tuple[Int64, Float32]]  # for each query: rows, scores

# Where at most one row in this many is allowed, a Scan reads only those and what lies beside them.
SPARSE = 16


def scan(
    stage: Scan | Probe,
    targets: Sequence[Target],
    queries: Queries,
    workers: Workers,
    *,
    rescored: bool,
) -> tuple[list[Candidates], int]:
    """Run the first stage of a plan.

    Args:
        stage: what to read and how many candidates to keep.
        targets: sources, each with at least one allowed row.
        queries: the queries, Q of them.
        workers: threads.
        rescored: whether a Rescore follows, which wants error bounds.

    Returns:
        Candidates for each query, and the threads used.
    """
    read = [target.codes(stage.representation) for target in targets]
    for target, codes in zip(targets, read, strict=True):
        touch(stage, target, codes)
    parts = scan_parts(stage, targets, read, queries, workers)
    owners, found = [owner for owner, _ in parts], [part for _, part in parts]
    groups = incomparable(stage, read) if rescored else []
    merged = []
    for query in range(len(queries)):
        candidates = merge([part[query] for part in found], owners, targets, stage.keep, groups)
        merged.append(_with_bounds(candidates, read, queries, query) if rescored else candidates)
    return merged, min(workers.count, len(parts))


def scan_parts(
    stage: Scan | Probe,
    targets: Sequence[Target],
    read: Sequence[Codes],
    queries: Queries,
    workers: Workers | None,
) -> list[tuple[int, Found]]:
    """Score the rows of every target: the position of a target, and what a part of it has.

    The parts are shared by the threads of `workers`; without, all is done on this one.
    """
    tasks: list[Callable[[], Found]] = []
    owners: list[int] = []
    for position, (target, codes) in enumerate(zip(targets, read, strict=True)):
        own = _tasks(stage, target, codes, queries, workers)
        tasks += own
        owners += [position] * len(own)
    found = [task() for task in tasks] if workers is None else workers.run(tasks)
    return list(zip(owners, found, strict=True))


def _tasks(
    stage: Scan | Probe, target: Target, codes: Codes, queries: Queries, workers: Workers | None
) -> list[Callable[[], Found]]:
    """What to run of one target, on a thread each."""
    prepared, lists = queries.prepared(codes.codec), codes.lists
    count, bits, keep = len(queries), target.allowed.bits, stage.keep
    alone = by_itself(stage, target, codes)
    if codes.listed is not None and lists is not None and isinstance(stage, Probe) and not alone:
        probes = codes.listed.probes(prepared.scorer(codes.parts), stage.nprobe, bits)
        rows = lists.rows_of(probes)
        scored = rows * codes.codec.code_bytes
        queries.rows_scanned += rows // count
        queries.bytes_read += scored // count
        step = 1 if workers is None else workers.share(scored)
        ranges = (lists.offsets, lists.order)
        return [
            partial(prepared.scan_lists, codes.parts, ranges, own, bits, keep)
            for own in (np.ascontiguousarray(probes[:, part::step]) for part in range(step))
        ]
    scored = target.allowed.count * codes.codec.code_bytes
    queries.rows_scanned += target.allowed.count
    queries.bytes_read += scored
    if lists is not None and alone:
        parts = 1 if workers is None else workers.share(scored * count)
        return [
            partial(_score_rows, prepared, codes, count, own, keep)
            for own in np.array_split(allowed_rows(target), parts)
        ]
    whole = [(0, target.rows)]
    spans = whole if workers is None else workers.spans(target.rows, scored * count)
    if lists is None:
        return [partial(prepared.scan, codes.parts, span, bits, keep) for span in spans]
    only = np.zeros((count, 1), dtype=np.int64)  # each span is one list
    return [
        partial(prepared.scan_lists, codes.parts, (bounds, lists.order), only, bits, keep)
        for bounds in (np.array(span, dtype=np.uint64) for span in spans)
    ]


def _score_rows(prepared: Prepared, codes: Codes, count: int, rows: Int64, keep: int) -> Found:
    """The best of some ascending rows for each of `count` queries, as a scan finds them."""
    positions = codes.positions(rows)
    found = []
    for query in range(count):
        scores = prepared.score(codes.parts, query, positions) + np.float32(0)  # no two zeros
        scored = np.flatnonzero(scores > -np.inf)
        best = scored[np.argsort(-scores[scored], kind="stable")[:keep]]
        found.append((rows[best], scores[best]))
    return found


def touch(stage: Scan | Probe, target: Target, codes: Codes) -> None:
    """Verify the codes that a scan of a target reads."""
    if not by_itself(stage, target, codes):
        codes.touch()
    elif not codes.touch.needless:
        codes.touch(codes.positions(allowed_rows(target)))


def by_itself(stage: Scan | Probe, target: Target, codes: Codes) -> bool:
    """Whether so few rows are allowed that each is scored by itself, wherever its codes lie."""
    lists = codes.lists
    if target.allowed.bits is None or lists is None or isinstance(stage, Scan):
        return is_sparse(target)
    visited = target.rows * min(stage.nprobe, len(lists))
    return target.allowed.count * options.LISTED_PER_ROW * len(lists) <= visited


def is_sparse(target: Target) -> bool:
    """Whether so few rows are allowed that they are better read one by one."""
    return target.allowed.bits is not None and target.allowed.count * SPARSE <= target.rows


def allowed_rows(target: Target) -> Int64:
    """The rows that a filter and deletes leave, where they do not leave all."""
    bits = target.allowed.bits
    assert bits is not None
    return np.flatnonzero(unpack_mask(bits, target.rows))


def incomparable(stage: Scan | Probe, read: Sequence[Codes]) -> list[list[int]]:
    """Groups of targets whose scores estimate different things; none where all are comparable.

    Scores of some dimensions only, as `prefixN` and `pcaN` give, say nothing beside the whole
    scores of the write buffer: the best of each kind are kept, for the Rescore to compare.
    """
    if len(read) == 1 or "/" not in stage.representation:
        return []
    positions = range(len(read))
    asked = [place for place in positions if read[place].codec.spec == stage.representation]
    if len(asked) in {0, len(read)}:
        return []
    return [asked, [place for place in positions if place not in asked]]


def merge(
    parts: list[tuple[Int64, Float32]],
    owners: list[int],
    targets: Sequence[Target],
    keep: int,
    groups: list[list[int]],
) -> Candidates:
    """The best `keep` that parts of targets found; the best of each group, where there are any.

    Args:
        parts: rows and scores, the best first.
        owners: the target of each part.
        targets: all of them.
        keep: how many candidates to keep.
        groups: positions of targets whose scores say nothing beside those of the others.
    """
    if len(parts) == 1:
        rows, scores = parts[0]
        return Candidates(np.zeros(len(rows), dtype=np.int64), rows, scores)
    everything = Candidates(
        np.repeat(np.array(owners), [len(rows) for rows, _ in parts]),
        np.concatenate([rows for rows, _ in parts]),
        np.concatenate([scores for _, scores in parts]),
    )
    return best_of(everything, targets, keep, groups)


def best_of(
    candidates: Candidates, targets: Sequence[Target], keep: int, groups: list[list[int]]
) -> Candidates:
    """The best `keep` in total order; where there are groups of targets, those of each."""
    if not groups:
        return in_order(candidates, targets, keep)
    best = [
        in_order(pick(candidates, np.flatnonzero(np.isin(candidates.target, group))), targets, keep)
        for group in groups
    ]
    return Candidates(
        np.concatenate([own.target for own in best]),
        np.concatenate([own.row for own in best]),
        np.concatenate([own.score for own in best]),
    )


def _with_bounds(
    candidates: Candidates, read: list[Codes], queries: Queries, query: int
) -> Candidates:
    if len(read) == 1:
        half = queries.prepared(read[0].codec).bound(
            read[0].parts, query, read[0].positions(candidates.row)
        )
        return candidates.scored(candidates.score, half)
    bound = np.empty(len(candidates.row), dtype=np.float32)
    for position, codes in enumerate(read):
        own = np.flatnonzero(candidates.target == position)
        rows = codes.positions(candidates.row[own])
        half = queries.prepared(codes.codec).bound(codes.parts, query, rows)
        if half is None:
            return candidates
        bound[own] = half
    return candidates.scored(candidates.score, bound)
