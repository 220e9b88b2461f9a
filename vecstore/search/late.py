"""Search by multivector fields, alone or after the cascade of a vector field.

    targets of the field ───────scan──────> candidates ──best keep──> rescore ──> ... ──> hits
    targets of a vector field ──cascade──> the same records as rows of the field ──> ...

Stages score the best of the whole collection, as in `cascade.py`.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from vecstore import options
from vecstore.request import MaxSim, SearchRequest
from vecstore.search.answer import OnDamage, answer_dense, find_targets, make_hits, without
from vecstore.search.candidates import Answer, Candidates, Target, pick
from vecstore.search.cascade import KERNEL, NOTHING
from vecstore.search.matching import Matching
from vecstore.search.parallel import Workers
from vecstore.search.plan import (
    LatePlan,
    after_dense,
    coarse_of,
    deepened,
    make_late_plan,
    probing,
    thinned,
)
from vecstore.search.stages.maxsim import (
    COST,
    TokenQuery,
    candidates_of,
    move,
    of_field,
    read_of,
    rescore_sets,
    scan_sets,
)
from vecstore.segment.snapshot import Snapshot
from vecstore.types import Hits, StageReport

# So many queries for each thread are worth that each is answered on one; fewer share the records.
QUERIES_MIN = 4


def answer_late(
    request: SearchRequest,
    snapshot: Snapshot,
    workers: Workers,
    quarantined: Container[int],
    on_damage: OnDamage,
) -> list[Hits]:
    """Answer every query of a request that has some of multivector fields; else as `answer`."""
    if quarantined:
        sound, cut = without(snapshot, [request.field, *request.token_queries], quarantined)
        found = answer_late(request, sound, workers, (), on_damage)
        for hits in found:
            hits.partial = cut
        return found
    with workers.searches:
        return [
            make_hits(request, targets, answer, on_damage)
            for targets, answers in _parts(request, snapshot, workers)
            for answer in answers
        ]


def _plan(request: SearchRequest, snapshot: Snapshot) -> tuple[LatePlan, Sequence[Target]]:
    """The plan, and the targets of the field of its first MaxSim.

    By default the cheaper one of those that the queries leave open.
    """
    schema = snapshot.info.schema
    plan = make_late_plan(request, schema)
    if plan.candidates:
        return plan, ()
    targets = find_targets(request, snapshot, plan.stages[0].field)
    allowed = sum(target.allowed.count for target in targets)
    if request.plan is not None or not allowed:
        return plan, targets
    vector, tokens = schema.vector(plan.stages[0].field), _tokens(targets)
    plan = thinned(deepened(plan, vector, tokens / allowed), allowed)
    if not request.exact and request.token_budget is None and tokens >= options.MAXSIM_SCAN_MAX:
        plan = probing(plan, vector)
    [queries] = request.token_queries.values()
    if request.exact or not request.field or not queries:
        return plan, targets
    if not _same_records(snapshot, request.field, vector.name):
        return plan, targets  # candidates would leave records out, or be none of the field
    dense, coarse = after_dense(request, schema), coarse_of(schema.vector(request.field))
    scanned = sum(
        target.allowed.count * target.codes(coarse).codec.code_bytes
        for target in of_field(targets, request.field)
        if target.rows
    )
    share = COST * sum(map(len, queries)) / len(queries)
    after = scanned + share * _bytes(dense, targets, dense.candidates)
    return (dense if after < share * _bytes(plan, targets, allowed) else plan), targets


def _tokens(targets: Sequence[Target]) -> float:
    """About how many tokens the allowed records have."""
    found = 0.0
    for target in targets:
        bounds = target.live.source.tokens(target.field)
        assert bounds is not None, target.field
        found += bounds.count / target.rows * target.allowed.count
    return found


def _same_records(snapshot: Snapshot, *fields: str) -> bool:
    """Whether every record that has one of two fields has the other, too."""
    found: bool | None = snapshot.routes.get(fields)
    if found is None:
        found = snapshot.routes[fields] = _are_same(snapshot, fields)
    return found


def _are_same(snapshot: Snapshot, fields: Sequence[str]) -> bool:
    for live in snapshot.sources:
        if len({live.source.field_count(field) for field in fields}) > 1:
            return False
        rows = [live.source.field_rows(field) for field in fields]
        if all(each is None for each in rows):
            continue
        own, other = (np.arange(live.source.rows) if each is None else each for each in rows)
        if not np.array_equal(own, other):
            return False
    return True


def _bytes(plan: LatePlan, targets: Sequence[Target], records: int) -> float:
    """About how many bytes of codes MaxSims read, the first those of so many records."""
    total, allowed = 0.0, sum(target.allowed.count for target in targets)
    for stage in plan.stages:
        if stage.nprobe is not None:
            records = min(records, len(targets) * candidates_of(stage))
        read = [read_of(target, stage) for target in targets]
        each = sum(
            own.bounds.count / target.rows * target.allowed.count * own.codes.codec.code_bytes
            for target, own in zip(targets, read, strict=True)
        )
        total += records * each / allowed
        records = stage.keep
    return total


def _parts(
    request: SearchRequest, snapshot: Snapshot, workers: Workers
) -> Iterator[tuple[Sequence[Target], list[Answer]]]:
    """Answers to some of the queries, and the sources that they name, until there are all."""
    plan, targets = _plan(request, snapshot)
    if not plan.candidates:
        seeds: list[Answer | None] = [None] * len(request.queries)
        steps = _steps(plan, targets)
        yield _named(steps), _answers(request, steps, seeds, workers)
        return
    step = max(1, options.CANDIDATES_MAX // plan.candidates)
    for start in range(0, len(request.queries), step):
        part = request.part(slice(start, start + step))
        dense = replace(
            part,
            plan=plan.cascade,  # which alone says how many it finds
            limit=min(plan.candidates, options.LIMIT_MAX),
            token_queries={},
            token_budget=None,
            agg="maxsim",
        )
        targets, found = answer_dense(dense, snapshot, workers)
        steps = _steps(plan, targets)
        yield _named(steps), _answers(part, steps, list(found), workers)


class _Step(NamedTuple):
    """A stage, and the sources as it sees them.

    Attributes:
        stage: what to do.
        came: the targets that candidates name which come in.
        targets: the same sources as those of the field; equal to these where they are.
        before: the stage before, if it was of the same field.
        rescored: whether another stage follows.
    """

    stage: MaxSim
    came: Sequence[Target]
    targets: Sequence[Target]
    before: MaxSim | None
    rescored: bool


def _steps(plan: LatePlan, targets: Sequence[Target]) -> list[_Step]:
    steps: list[_Step] = []
    for place, stage in enumerate(plan.stages):
        came, before = targets, plan.stages[place - 1] if place else None
        if targets and targets[0].field != stage.field:
            targets, before = of_field(targets, stage.field), None
        steps.append(_Step(stage, came, targets, before, place + 1 < len(plan.stages)))
    return steps


def _named(steps: Sequence[_Step]) -> Sequence[Target]:
    """The targets that the candidates of the last stage name."""
    return steps[-1].targets


def _answers(
    request: SearchRequest,
    steps: Sequence[_Step],
    seeds: Sequence[Answer | None],
    workers: Workers,
) -> list[Answer]:
    """Answer each query, from the candidates that the cascade of a vector field found, or all."""
    if not steps[0].came:
        return [
            Answer(NOTHING, matching=_matching(request, steps, place))
            for place in range(len(seeds))
        ]
    threads = workers.share(len(seeds) * options.PARALLEL_BYTES_MIN // QUERIES_MIN)
    places = range(len(seeds))
    if threads == 1 or len(seeds) == 1:
        run = _Run(request, steps, seeds, workers)
        return [run.answer(place) for place in places]
    alone = _Run(request, steps, seeds, None)
    tasks = [partial(alone.answers, places[start::threads]) for start in range(threads)]
    found = workers.run(tasks)
    return [found[place % threads][place // threads] for place in places]


class _Run(NamedTuple):
    """Queries of a request on their way through the stages, on one thread or with `workers`."""

    request: SearchRequest
    steps: Sequence[_Step]
    seeds: Sequence[Answer | None]
    workers: Workers | None

    def answers(self, places: Sequence[int]) -> list[Answer]:
        """Answer some queries."""
        return [self.answer(place) for place in places]

    def answer(self, place: int) -> Answer:
        """Answer one query."""
        queries = {
            name: TokenQuery(each[place], self.workers)
            for name, each in self.request.token_queries.items()
        }
        seed = self.seeds[place]
        found = None if seed is None else seed.candidates
        reports = () if seed is None else seed.reports
        for step in self.steps:
            query = queries[step.stage.field]
            query.begin()
            start, rows = time.perf_counter(), 0 if found is None else len(found.row)
            found = _run(step, found, query)
            if self.request.explain:
                spent = time.perf_counter() - start
                reports += (
                    _report(step.stage, (rows or query.rows, len(found.row)), query, spent),
                )
        assert found is not None
        if len(found.row) > self.request.limit:  # those of other queries are to fit in, too
            found = pick(found, np.arange(self.request.limit))
        return Answer(found, reports, matching=_matching(self.request, self.steps, place))


def _matching(request: SearchRequest, steps: Sequence[_Step], place: int) -> Matching | None:
    """What the hits of one query are matched with: what the last stage scored them by."""
    if not request.explain:
        return None
    last = steps[-1].stage
    return Matching(request.token_queries[last.field][place], last.token_budget)


def _run(step: _Step, found: Candidates | None, query: TokenQuery) -> Candidates:
    if found is None:
        return scan_sets(step.stage, step.targets, query, rescored=step.rescored)
    if step.came is not step.targets:
        found = move(found, step.came, step.stage.field)
    return rescore_sets(
        step.stage, step.targets, found, query, before=step.before, rescored=step.rescored
    )


def _report(stage: MaxSim, rows: tuple[int, int], query: TokenQuery, spent: float) -> StageReport:
    return StageReport(
        stage="maxsim",
        representation=stage.representation or "",
        rows_in=rows[0],
        rows_out=rows[1],
        bytes_read=query.bytes_read,
        milliseconds=spent * 1e3,
        kernel=KERNEL,
        threads=query.threads,
    )
