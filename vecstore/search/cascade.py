"""Run the stages of a plan over all targets and merge what they find.

A scan or probe reads every target; its candidates are merged before the next stage, so that later
stages score the best of the whole collection and not of each segment:

    targets ──scan──> candidates ──best keep──> rescore ──best keep──> ... ──> hits
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vecstore import options
from vecstore.kernels import _kernels
from vecstore.request import Cascade, Probe, Rescore, Scan
from vecstore.search.candidates import Answer, Candidates, Queries, Target
from vecstore.search.compiled import Compiled, compile_cascade
from vecstore.search.parallel import Workers
from vecstore.search.stages.rescore import rescore
from vecstore.search.stages.scan import scan
from vecstore.types import StageReport


class Route(NamedTuple):
    """What searches share, whatever their queries. Threads may share it, too.

    Attributes:
        plan: the stages.
        targets: the sources to search, each with at least one allowed row.
        compiled: the same as one call of the kernels, where they can.
        allowed: allowed rows of all targets.
    """

    plan: Cascade
    targets: Sequence[Target]
    compiled: Compiled | None
    allowed: int


def make_route(plan: Cascade, targets: Sequence[Target]) -> Route:
    """A plan for some sources, each with at least one allowed row."""
    compiled = compile_cascade(plan, targets) if targets else None
    return Route(plan, targets, compiled, sum(target.allowed.count for target in targets))


def run_cascade(
    route: Route, queries: Queries, workers: Workers, *, explain: bool = False
) -> list[Answer]:
    """Answer queries.

    Args:
        route: the stages, and the sources.
        queries: Q of them.
        workers: threads.
        explain: whether answers carry reports. A scan that served many queries at once reports
            its time divided by their number.

    Returns:
        One answer for each query.
    """
    count, (plan, targets, compiled, _) = len(queries), route
    if not targets or not count:
        return [Answer(NOTHING)] * count
    if compiled is not None and not explain:
        return compiled.answer(queries, workers)
    watch = _Watch(queries) if explain else None
    first = plan.stages[0]
    assert isinstance(first, (Scan, Probe))
    before = queries.rows_scanned
    found, threads = scan(first, targets, queries, workers, rescored=len(plan.stages) > 1)
    bytes_read, spent = (0, 0.0) if watch is None else watch.lap()
    answers = []
    for query, scanned in enumerate(found):
        candidates = scanned
        reports: list[StageReport] = []
        if watch is not None:
            rows = (queries.rows_scanned - before, len(candidates.row))
            reports.append(_report(first, rows, (bytes_read, spent / count), threads))
            watch.lap()
        for stage in plan.stages[1:]:
            assert isinstance(stage, Rescore)
            rows_in = len(candidates.row)
            candidates = rescore(stage, targets, candidates, queries, query)
            if watch is not None:
                reports.append(_report(stage, (rows_in, len(candidates.row)), watch.lap(), 1))
        cut = len(plan.stages) > 1 and _is_cut(scanned, first.keep, candidates)
        answers.append(Answer(candidates, tuple(reports), cut, len(scanned.row)))
    return answers


def _is_cut(scanned: Candidates, keep: int, found: Candidates) -> bool:
    """Whether a row beyond the kept ones has a fair chance against the worst one found.

    The last score kept bounds theirs from above; an error of CUT_SIGMAS could lift them.
    """
    if len(scanned.row) < keep or scanned.bound is None or not len(found.score):
        return False
    reach = scanned.bound.max() * np.float32(options.CUT_SHARE)
    return bool(scanned.score[-1] + reach >= found.score[-1])


class _Watch:
    """Bytes read and milliseconds gone by since the last look."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._bytes, self._time = queries.bytes_read, time.perf_counter()

    def lap(self) -> tuple[int, float]:
        bytes_read, now = self._queries.bytes_read, time.perf_counter()
        found = (bytes_read - self._bytes, (now - self._time) * 1e3)
        self._bytes, self._time = bytes_read, now
        return found


def _report(
    stage: Scan | Probe | Rescore, rows: tuple[int, int], lap: tuple[int, float], threads: int
) -> StageReport:
    return StageReport(
        stage=type(stage).__name__.lower(),
        representation=stage.representation,
        rows_in=rows[0],
        rows_out=rows[1],
        bytes_read=lap[0],
        milliseconds=lap[1],
        kernel=KERNEL,
        threads=threads,
    )


KERNEL = _kernels.variants()[-1]
NOTHING = Candidates(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
)
