"""The usual cascades in one call of the kernels: a scan, and at most one rescore.

The stages are many short steps, at each of which threads that search side by side wait for each
other. Here they are one, without the interpreter. It finds what they find, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from vecstore import options
from vecstore.kernels import _kernels
from vecstore.request import Cascade, Rescore, Scan
from vecstore.search.candidates import Answer, Candidates, Queries, Target
from vecstore.search.parallel import Workers
from vecstore.search.stages.rescore import FEW, first_reading
from vecstore.search.stages.scan import Found, incomparable, scan_spans, touch
from vecstore.segment.base import Codes

# So many queries for each thread are worth that each reads all codes; fewer share the rows.
QUERIES_MIN = 8


def run_compiled(
    plan: Cascade, targets: Sequence[Target], queries: Queries, workers: Workers
) -> list[Answer] | None:
    """Answer queries as `run_cascade` does; None where the kernels cannot.

    Args:
        plan: the stages.
        targets: the sources to search, at least one, each with at least one allowed row.
        queries: at least one.
        workers: threads.
    """
    scan, rescore = plan.stages[0], plan.stages[1] if len(plan.stages) > 1 else None
    assert isinstance(scan, Scan)
    assert not isinstance(rescore, Scan)
    if len(plan.stages) > 2 or not _ascend(targets):
        return None
    read = [target.codes(scan.representation) for target in targets]
    if rescore is not None and incomparable(scan, read):
        return None
    scored = 0
    for target, codes in zip(targets, read, strict=True):
        touch(target, codes)
        scored += target.allowed.count * codes.codec.code_bytes
    finer = [
        None if rescore is None else target.codes(rescore.representation) for target in targets
    ]
    run = partial(_run, _plan(scan, rescore), list(zip(targets, read, finer, strict=True)))
    threads = workers.share(scored * len(queries))
    if threads == 1:
        return run(queries, None)
    if len(queries) < QUERIES_MIN * threads:
        return run(queries, scan_spans(scan, targets, read, queries, workers))
    parts = [Queries(vectors) for vectors in np.array_split(queries.vectors, threads)]
    answers = workers.run([partial(run, part, None) for part in parts])
    return [answer for part in answers for answer in part]


def _ascend(targets: Sequence[Target]) -> bool:
    """Whether the seqs of each target follow those of the one before: the order of ties."""
    sources = [target.live.source for target in targets]
    return all(before.seq_max < after.seq_min for before, after in pairwise(sources))


def _plan(scan: Scan, rescore: Rescore | None) -> _kernels.Plan:
    if rescore is None:
        return _kernels.Plan(scan.keep, 0, 0, 0, 0)
    first = first_reading(rescore)
    return _kernels.Plan(scan.keep, rescore.keep, first, FEW, options.CUT_SHARE)


def _run(
    plan: _kernels.Plan,
    targets: Sequence[tuple[Target, Codes, Codes | None]],
    queries: Queries,
    scanned: list[tuple[int, Found]] | None,
) -> list[Answer]:
    read = [
        _kernels.Target(
            _reading(codes, queries),
            None if finer is None else _reading(finer, queries),
            target.allowed.bits,
            None if finer is None or finer.touch.needless else finer.touch,
        )
        for target, codes, finer in targets
    ]
    place, row, score, stops, cuts = _kernels.cascade(read, plan, scanned)
    answers, start = [], 0
    for stop, cut in zip(stops, cuts, strict=True):
        part = slice(start, stop)
        answers.append(Answer(Candidates(place[part], row[part], score[part]), cut=cut))
        start = stop
    return answers


def _reading(codes: Codes, queries: Queries) -> _kernels.Reading:
    return queries.prepared(codes.codec).reading(codes.parts)
