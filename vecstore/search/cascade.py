"""Run the stages of a plan over all targets and merge what they find.

A scan reads every target; its candidates are merged before the next stage, so that later stages
score the best of the whole collection and not of each segment:

    targets ──scan──> candidates ──best keep──> rescore ──best keep──> ... ──> hits
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vecstore.request import Cascade, Rescore, Scan
from vecstore.search.candidates import Candidates, Queries, Target
from vecstore.search.parallel import Workers
from vecstore.search.stages.rescore import rescore
from vecstore.search.stages.scan import scan
from vecstore.types import Float32, StageReport


@dataclass(frozen=True, slots=True)
class Answer:
    """The candidates left for one query, and what each stage did for it."""

    candidates: Candidates
    reports: tuple[StageReport, ...]


def run_cascade(
    plan: Cascade, targets: Sequence[Target], vectors: Float32, workers: Workers
) -> list[Answer]:
    """Answer queries.

    Args:
        plan: the stages.
        targets: the sources to search, each with at least one allowed row.
        vectors: float32 [Q, D], checked.
        workers: threads.

    Returns:
        One answer for each query. The report of a scan that served many queries at once gives its
        time and bytes divided by their number.
    """
    if not targets:
        return [Answer(_NOTHING, ()) for _ in vectors]
    queries = Queries(vectors)
    first = plan.stages[0]
    assert isinstance(first, Scan)
    begun = time.perf_counter()
    found, threads = scan(first, targets, queries, workers, bounds=len(plan.stages) > 1)
    report = StageReport(
        stage="scan",
        representation=first.representation,
        rows_in=sum(target.allowed.count for target in targets),
        rows_out=0,
        bytes_read=queries.bytes_read,
        milliseconds=(time.perf_counter() - begun) * 1e3 / len(vectors),
        threads=threads,
    )
    return [
        _finish(plan, targets, candidates, queries, (query, report))
        for query, candidates in enumerate(found)
    ]


def _finish(
    plan: Cascade,
    targets: Sequence[Target],
    candidates: Candidates,
    queries: Queries,
    scanned: tuple[int, StageReport],
) -> Answer:
    query, report = scanned
    reports = [replace(report, rows_out=len(candidates.row))]
    for stage in plan.stages[1:]:
        assert isinstance(stage, Rescore)
        begun, bytes_before, rows_in = time.perf_counter(), queries.bytes_read, len(candidates.row)
        candidates = rescore(stage, targets, candidates, queries, query)
        reports.append(
            StageReport(
                stage="rescore",
                representation=stage.representation,
                rows_in=rows_in,
                rows_out=len(candidates.row),
                bytes_read=queries.bytes_read - bytes_before,
                milliseconds=(time.perf_counter() - begun) * 1e3,
                threads=1,
            )
        )
    return Answer(candidates, tuple(reports))


_NOTHING = Candidates(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
)
