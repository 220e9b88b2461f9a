"""Rescore: score candidates again with a finer representation, best chances first.

Where the scores that come in carry error bounds, the candidates with the highest upper bounds are
read first. The scores found then set a threshold, and of the rest only those are read whose upper
bound reaches it (after RaBitQ, Gao and Long 2024, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecstore.request import Rescore
from vecstore.search.candidates import Candidates, Queries, Target, in_order, pick
from vecstore.types import Float32, Int64

# So few candidates are read at once: to choose among them costs more than to read them.
FEW = 128
# Rows of the first reading, for each row to keep, and at least.
FIRST_FACTOR = 3
FIRST_MIN = 32


def rescore(
    stage: Rescore,
    targets: Sequence[Target],
    candidates: Candidates,
    queries: Queries,
    query: int,
) -> Candidates:
    """Run a rescore of one query.

    Args:
        stage: what to read and how many candidates to keep.
        targets: the sources that the candidates name.
        candidates: from the stage before.
        queries: all queries.
        query: which of them.

    Returns:
        The best `keep` candidates with their new scores and bounds.
    """
    first = first_reading(stage)
    if candidates.bound is None or len(candidates.row) <= max(first, FEW):
        found = _score(stage.representation, targets, candidates, queries, query)
        return in_order(found, targets, stage.keep)
    upper = candidates.score + candidates.bound
    order = np.argsort(-upper, kind="stable")
    best = _score(stage.representation, targets, pick(candidates, order[:first]), queries, query)
    lower = best.score if best.bound is None else best.score - best.bound
    threshold = np.partition(lower, first - stage.keep)[first - stage.keep]
    rest = order[first:][upper[order[first:]] >= threshold]
    if not len(rest):
        return in_order(best, targets, stage.keep)
    more = _score(stage.representation, targets, pick(candidates, rest), queries, query)
    return in_order(_join(best, more), targets, stage.keep)


def first_reading(stage: Rescore) -> int:
    """How many candidates are read first, to set the threshold for the others."""
    return max(FIRST_MIN, FIRST_FACTOR * stage.keep)


def _score(
    spec: str, targets: Sequence[Target], candidates: Candidates, queries: Queries, query: int
) -> Candidates:
    if len(targets) == 1:
        return candidates.scored(*_score_target(spec, targets[0], candidates.row, queries, query))
    scores = np.empty(len(candidates.row), dtype=np.float32)
    bounds = np.empty(len(candidates.row), dtype=np.float32)
    unknown = False
    for position, target in enumerate(targets):
        own = np.flatnonzero(candidates.target == position)
        if len(own):
            rows = candidates.row[own]
            scores[own], half = _score_target(spec, target, rows, queries, query)
            unknown |= half is None
            bounds[own] = 0 if half is None else half
    return candidates.scored(scores, None if unknown else bounds)


def _score_target(
    spec: str, target: Target, rows: Int64, queries: Queries, query: int
) -> tuple[Float32, Float32 | None]:
    codes = target.codes(spec)
    positions = codes.positions(rows)
    codes.touch(positions)
    queries.bytes_read += len(rows) * codes.codec.code_bytes
    prepared = queries.prepared(codes.codec)
    return (
        prepared.score(codes.parts, query, positions),
        prepared.bound(codes.parts, query, positions),
    )


def _join(first: Candidates, second: Candidates) -> Candidates:
    bound = None
    if first.bound is not None and second.bound is not None:
        bound = np.concatenate((first.bound, second.bound))
    return Candidates(
        np.concatenate((first.target, second.target)),
        np.concatenate((first.row, second.row)),
        np.concatenate((first.score, second.score)),
        bound,
    )
