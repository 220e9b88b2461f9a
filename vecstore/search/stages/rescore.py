"""Rescore: score candidates again with a finer representation, best chances first.

Where the scores that come in carry error bounds, candidates are read in the order of their upper
bound, and reading stops when no upper bound left can reach the best `keep` (the early stop of
RaBitQ, Gao and Long 2024, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecstore.request import Rescore
from vecstore.search.candidates import Candidates, Queries, Target, in_order, pick
from vecstore.types import Float32, Int64

FIRST_READ_MIN = 32


def rescore(
    stage: Rescore,
    targets: Sequence[Target],
    candidates: Candidates,
    queries: Queries,
    query: int,
) -> tuple[Candidates, int]:
    """Run a rescore of one query.

    Args:
        stage: what to read and how many candidates to keep.
        targets: the sources that the candidates name.
        candidates: from the stage before.
        queries: all queries.
        query: which of them.

    Returns:
        The best `keep` candidates with their new scores and bounds, and the bytes of codes read.
    """
    if candidates.bound is None:
        found, bytes_read = _score(stage.representation, targets, candidates, queries, query)
        return in_order(found, targets, stage.keep), bytes_read
    upper = candidates.score + candidates.bound
    order = np.argsort(-upper, kind="stable")
    upper = upper[order]
    parts: list[Candidates] = []
    lower = np.empty(0, dtype=np.float32)
    bytes_read = start = 0
    size = max(FIRST_READ_MIN, 2 * stage.keep)
    while start < len(order):
        part, read = _score(
            stage.representation, targets, pick(candidates, order[start : start + size]), queries,
            query,
        )
        parts.append(part)
        bytes_read += read
        start += size
        size *= 2
        lower = np.concatenate((lower, part.score - (0 if part.bound is None else part.bound)))
        if start < len(order) and len(lower) >= stage.keep:
            threshold = np.partition(lower, len(lower) - stage.keep)[len(lower) - stage.keep]
            # Candidates are in the order of `upper`: the first that cannot enter ends the stage.
            last = start + int(np.searchsorted(-upper[start:], -threshold, side="right"))
            order, upper = order[:last], upper[:last]
    return in_order(_join(parts), targets, stage.keep), bytes_read


def _score(
    spec: str, targets: Sequence[Target], candidates: Candidates, queries: Queries, query: int
) -> tuple[Candidates, int]:
    scores = np.empty(len(candidates), dtype=np.float32)
    bounds: Float32 | None = np.empty(len(candidates), dtype=np.float32)
    bytes_read = 0
    for position, target in enumerate(targets):
        own: Int64 | slice = slice(None)
        if len(targets) > 1:
            own = np.flatnonzero(candidates.target == position)
            if not len(own):
                continue
        rows = candidates.row[own]
        codes = target.codes(spec)
        codes.touch(rows)
        prepared = queries.prepared(codes.codec)
        scores[own] = prepared.score(codes.parts, query, rows)
        half = prepared.bound(codes.parts, query, rows)
        if half is None or bounds is None:
            bounds = None
        else:
            bounds[own] = half
        bytes_read += len(rows) * codes.codec.code_bytes
    return Candidates(candidates.target, candidates.row, scores, bounds), bytes_read


def _join(parts: list[Candidates]) -> Candidates:
    if len(parts) == 1:
        return parts[0]
    bounds = [part.bound for part in parts if part.bound is not None]
    return Candidates(
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate(bounds) if len(bounds) == len(parts) else None,
    )
