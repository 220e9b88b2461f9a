"""Scan: score every allowed row of every target, for all queries, and keep the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vecstore.request import Scan
from vecstore.search.candidates import Candidates, Queries, Target, in_order, pick
from vecstore.search.parallel import Workers
from vecstore.segment.base import Codes
from vecstore.segment.bits import unpack_mask
from vecstore.types import Float32, Int64

Found = list[tuple[Int64, Float32]]  # for each query: rows, scores

# Where fewer than one row in this many is allowed, only the blocks of those are verified.
SPARSE = 16


def scan(
    stage: Scan, targets: Sequence[Target], queries: Queries, workers: Workers, *, rescored: bool
) -> tuple[list[Candidates], int]:
    """Run a scan.

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
        touch(target, codes)
        queries.bytes_read += target.allowed.count * codes.codec.code_bytes
    parts = scan_spans(stage, targets, read, queries, workers)
    owners, found = [owner for owner, _ in parts], [part for _, part in parts]
    groups = incomparable(stage, read) if rescored else []
    merged = []
    for query in range(len(queries)):
        candidates = _merge([part[query] for part in found], owners, targets, stage.keep, groups)
        merged.append(_with_bounds(candidates, read, queries, query) if rescored else candidates)
    return merged, min(workers.count, len(parts))


def scan_spans(
    stage: Scan,
    targets: Sequence[Target],
    read: Sequence[Codes],
    queries: Queries,
    workers: Workers,
) -> list[tuple[int, Found]]:
    """Scan every target, in spans that threads share: the position of a target, and the finds."""
    tasks: list[Callable[[], Found]] = []
    owners: list[int] = []
    for position, (target, codes) in enumerate(zip(targets, read, strict=True)):
        prepared = queries.prepared(codes.codec)
        scored = target.allowed.count * codes.codec.code_bytes
        for span in workers.spans(target.rows, scored * len(queries)):
            tasks.append(partial(prepared.scan, codes.parts, span, target.allowed.bits, stage.keep))
            owners.append(position)
    return list(zip(owners, workers.run(tasks), strict=True))


def touch(target: Target, codes: Codes) -> None:
    """Verify the codes that a scan of a target reads."""
    bits, count = target.allowed.bits, target.allowed.count
    if bits is None or count * SPARSE > target.rows:
        codes.touch()
    else:
        codes.touch(np.flatnonzero(unpack_mask(bits, target.rows)))


def incomparable(stage: Scan, read: Sequence[Codes]) -> list[list[int]]:
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


def _merge(
    parts: list[tuple[Int64, Float32]],
    owners: list[int],
    targets: Sequence[Target],
    keep: int,
    groups: list[list[int]],
) -> Candidates:
    if len(parts) == 1:
        rows, scores = parts[0]
        return Candidates(np.zeros(len(rows), dtype=np.int64), rows, scores)
    everything = Candidates(
        np.repeat(np.array(owners), [len(rows) for rows, _ in parts]),
        np.concatenate([rows for rows, _ in parts]),
        np.concatenate([scores for _, scores in parts]),
    )
    if not groups:
        return in_order(everything, targets, keep)
    best = [
        in_order(pick(everything, np.flatnonzero(np.isin(everything.target, group))), targets, keep)
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
        half = queries.prepared(read[0].codec).bound(read[0].parts, query, candidates.row)
        return candidates.scored(candidates.score, half)
    bound = np.empty(len(candidates.row), dtype=np.float32)
    for position, codes in enumerate(read):
        own = np.flatnonzero(candidates.target == position)
        half = queries.prepared(codes.codec).bound(codes.parts, query, candidates.row[own])
        if half is None:
            return candidates
        bound[own] = half
    return candidates.scored(candidates.score, bound)
