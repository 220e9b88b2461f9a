"""The usual cascades in one call of the kernels: a scan, and at most one rescore.

The stages are many short steps, at each of which threads that search side by side wait for each
other. Here they are one, without the interpreter. It finds what they find, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vecstore import options
from vecstore.codec.asked import ask
from vecstore.kernels import _kernels
from vecstore.request import Cascade, Probe, Rescore, Scan
from vecstore.search.candidates import Answer, Candidates, Queries, Target
from vecstore.search.parallel import Workers
from vecstore.search.stages.rescore import FEW, first_reading
from vecstore.search.stages.scan import by_itself, incomparable, scan_parts, touch
from vecstore.segment.base import Codes

# So many queries for each thread are worth that each reads all codes; fewer share the rows.
QUERIES_MIN = 8


def compile_cascade(plan: Cascade, targets: Sequence[Target]) -> Compiled | None:
    """Make ready what answers queries as `run_cascade` does; None where the kernels cannot.

    Args:
        plan: the stages.
        targets: the sources to search, each with at least one allowed row.
    """
    first, rescore = plan.stages[0], plan.stages[1] if len(plan.stages) > 1 else None
    assert isinstance(first, (Scan, Probe))
    assert rescore is None or isinstance(rescore, Rescore)
    if len(plan.stages) > 2 or not _ascend(targets):
        return None
    read = [target.codes(first.representation) for target in targets]
    if rescore is not None and incomparable(first, read):
        return None
    scored = 0
    for target, codes in zip(targets, read, strict=True):
        scored += _rows(first, target, codes) * codes.codec.code_bytes
    finer = read
    if rescore is not None:
        finer = [target.codes(rescore.representation) for target in targets]
    asked = list({id(codes.codec): codes for codes in (*read, *finer)}.values())
    place = {id(codes.codec): number for number, codes in enumerate(asked)}
    made = [
        _kernels.Target(
            own.reading,
            None if rescore is None else fine.reading,
            target.rows,
            target.allowed.bits,
            None if by_itself(first, target, own) else own.listed,
            (place[id(own.codec)], place[id(fine.codec)]),
        )
        for target, own, fine in zip(targets, read, finer, strict=True)
    ]
    return Compiled(first, _plan(first, rescore), targets, read, finer, made, asked, scored)


def _ascend(targets: Sequence[Target]) -> bool:
    """Whether the seqs of each target follow those of the one before: the order of ties."""
    sources = [target.live.source for target in targets]
    return all(before.seq_max < after.seq_min for before, after in pairwise(sources))


def _rows(first: Scan | Probe, target: Target, codes: Codes) -> int:
    """About how many rows of a target a query reads."""
    if codes.lists is None or isinstance(first, Scan) or by_itself(first, target, codes):
        return target.allowed.count
    return target.rows * min(first.nprobe, len(codes.lists)) // len(codes.lists)


def _plan(first: Scan | Probe, rescore: Rescore | None) -> _kernels.Plan:
    nprobe = first.nprobe if isinstance(first, Probe) else 0
    if rescore is None:
        return _kernels.Plan(first.keep, 0, 0, 0, 0, nprobe)
    reading = first_reading(rescore)
    return _kernels.Plan(first.keep, rescore.keep, reading, FEW, options.CUT_SHARE, nprobe)


class Compiled(NamedTuple):
    """A plan for some sources, ready for any queries. Threads may share it.

    Attributes:
        first: the first stage.
        plan: what the kernels want to know.
        targets: the sources, at least one.
        read: the codes that the first stage reads of each.
        finer: those that the rescore reads, or the same again.
        made: what the kernels read of each.
        asked: codes of each codec for which queries are prepared.
        scored: about how many bytes of codes the first stage scores for a query.
    """

    first: Scan | Probe
    plan: _kernels.Plan
    targets: Sequence[Target]
    read: Sequence[Codes]
    finer: Sequence[Codes]
    made: list[_kernels.Target]
    asked: Sequence[Codes]
    scored: int

    def answer(self, queries: Queries, workers: Workers) -> list[Answer]:
        """Answer queries, at least one, as `run_cascade` does."""
        for target, codes in zip(self.targets, self.read, strict=True):
            touch(self.first, target, codes)
        threads = workers.share(self.scored * len(queries))
        if len(queries) < QUERIES_MIN * threads:
            return self.run(queries, workers if threads > 1 else None)
        parts = [Queries(vectors) for vectors in np.array_split(queries.vectors, threads)]
        answers = workers.run([partial(self.run, part, None) for part in parts])
        return [answer for part in answers for answer in part]

    def run(self, queries: Queries, workers: Workers | None) -> list[Answer]:
        """Answer queries, with the threads of `workers`, or on this one."""
        scanned = None
        if workers is not None:
            scanned = scan_parts(self.first, self.targets, self.read, queries, workers)
        asked = [ask(codes.codec, queries.vectors, codes.parts) for codes in self.asked]
        touches = [None if codes.touch.needless else codes.touch for codes in self.finer]
        found = _kernels.cascade(self.made, self.plan, asked, touches, scanned)
        (place, row, score), (stops, cuts, counts) = found[:3], found[3:]
        if len(stops) == 1:
            return [Answer(Candidates(place, row, score), (), cuts[0], counts[0])]
        answers, start = [], 0
        for stop, cut, kept in zip(stops, cuts, counts, strict=True):
            part = slice(start, stop)
            answers.append(Answer(Candidates(place[part], row[part], score[part]), (), cut, kept))
            start = stop
        return answers
