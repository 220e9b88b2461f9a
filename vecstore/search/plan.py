"""From a request to the stages that answer it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from vecstore import options
from vecstore.codec.spec import parse_spec
from vecstore.errors import NotFoundError, RequestError
from vecstore.request import Cascade, MaxSim, Probe, Rescore, Scan, SearchRequest
from vecstore.schema import Schema, Vector


def make_plan(
    request: SearchRequest, vector: Vector, *, few: bool = False, nprobe: int = 0
) -> Cascade:
    """The stages for one request.

    Args:
        request: what was asked.
        vector: the field; its representations are in order, coarse to fine.
        few: whether so few rows are allowed that scoring them all with the finest is cheapest.
        nprobe: lists to visit; 0 scans all rows.

    Returns:
        The explicit plan, checked against the field; else one scan of the finest representation
        for an exact search or few rows; else a scan or a probe of the smallest full-width
        representation, or of the least that its codes begin with, rescored with the finest.
    """
    if request.plan is None:
        return _default_plan(vector, request.limit, nprobe, exact=request.exact or few)
    for stage in request.plan.stages:
        if isinstance(stage, MaxSim):
            raise RequestError(
                f"plan has {stage!r}, but the search has no query for multivector field "
                f"{stage.field!r}"
            )
        _check_readable(vector, stage.representation)
    return request.plan


@lru_cache(maxsize=1024)
def _default_plan(vector: Vector, limit: int, nprobe: int, *, exact: bool) -> Cascade:
    coarse, finest = coarse_of(vector), vector.representations[-1]
    if exact or coarse == finest:
        return Cascade((Scan(finest, limit),))
    keep = min(max(limit * _oversampling(coarse, vector), options.KEEP_MIN), options.KEEP_MAX)
    first = Probe(coarse, nprobe, keep) if nprobe else Scan(coarse, keep)
    return Cascade((first, Rescore(finest, limit)))


def lists_to_probe(lists: int, limit: int, allowed: int, codec: str = "") -> int:
    """How many of a segment's lists the default plan visits at least; 0: it scans all rows.

    The larger the wanted share of the rows, the further they lie from the query, and the more lists
    hold them; whether a filter left few rows, or few were written. See DECISIONS.md.

    Args:
        lists: how many the segment has; 0 where it has none.
        limit: hits wanted.
        allowed: rows of the collection that pass the filter, at least 1.
        codec: of the centroids.
    """
    share = max(limit, options.PROBES_LIMIT_MIN) / allowed
    wanted = (share / options.PROBES_WANTED) ** options.PROBES_POWER
    wanted *= options.PROBES_MORE.get(codec, 1)
    nprobe = math.ceil(options.PROBES_PER_ROOT * math.sqrt(lists) * wanted)
    return nprobe if nprobe <= options.PROBES_SHARE_MAX * lists else 0


def widened(plan: Cascade) -> Cascade:
    """The same plan with more candidates kept by its scan."""
    first = plan.stages[0]
    keep = min(first.keep * options.KEEP_GROWTH, options.KEEP_MAX)
    return Cascade((replace(first, keep=keep), *plan.stages[1:]))


def without_probe(plan: Cascade) -> Cascade:
    """The same plan, scanning all rows."""
    first = plan.stages[0]
    assert not isinstance(first, MaxSim)
    return Cascade((Scan(first.representation, first.keep), *plan.stages[1:]))


@lru_cache(maxsize=1024)
def coarse_of(vector: Vector) -> str:
    """The smallest full-width representation; a shortened one only where nothing else is."""
    ladder = vector.representations
    full = [spec for spec in ladder if not parse_spec(spec, vector.dim).transform]
    smallest = full[0] if len(full) > 1 else ladder[0]
    return (smallest, *parse_spec(smallest, vector.dim).contained)[-1]


def _check_readable(vector: Vector, spec: str) -> None:
    readable = _readable(vector)
    if spec not in readable:
        raise NotFoundError(
            f"plan reads {spec!r}, but vector field {vector.name!r} has "
            f"{', '.join(map(repr, readable))}"
        )


@lru_cache(maxsize=1024)
def _readable(vector: Vector) -> tuple[str, ...]:
    """The representations of a field, and those that their codes begin with."""
    contained = (parse_spec(spec, vector.dim).contained for spec in vector.representations)
    return tuple(dict.fromkeys(chain(vector.representations, *contained)))


def _oversampling(coarse: str, vector: Vector) -> int:
    spec = parse_spec(coarse, vector.dim)
    if spec.transform:
        return options.OVERSAMPLING_SHORTENED
    if spec.table is not None:
        bits = spec.table.count * spec.table.bits
        return max(1, -(-options.OVERSAMPLING_TABLE_BITS * vector.dim // bits))
    return options.OVERSAMPLING[spec.codec]


class LatePlan(NamedTuple):
    """The stages of a search of multivector fields.

    Attributes:
        stages: at least one; each names its representation and its token budget.
        candidates: how many a vector field finds for the first of them; 0: it scans.
        cascade: the stages that find them, or None for the planner's choice.
    """

    stages: tuple[MaxSim, ...]
    candidates: int = 0
    cascade: Cascade | None = None


def make_late_plan(request: SearchRequest, schema: Schema) -> LatePlan:
    """The stages for a request that has queries of multivector fields.

    Args:
        request: what was asked.
        schema: the fields; their representations are in order, coarse to fine.

    Returns:
        The explicit plan, checked. Else, of the one multivector field: one MaxSim of the finest
        representation for an exact search; else MaxSims of the smallest representation, or of the
        least that its codes begin with, of the finest of codes, and of floats.

    Raises:
        RequestError: the plan and the queries are not of the same fields, or there are several
            multivector fields and no plan.
        NotFoundError: a stage reads what the field does not have.
    """
    if request.plan is not None:
        return _explicit(request, request.plan, schema)
    if len(request.token_queries) > 1:
        names = ", ".join(map(repr, request.token_queries))
        raise RequestError(
            f"search has queries for the multivector fields {names}; say with plan= how they work "
            'together, such as Cascade([MaxSim("one", 100), MaxSim("other", 10)])'
        )
    [name] = request.token_queries
    vector = schema.vector(name)
    rungs = _rungs(vector)
    if request.exact:
        return LatePlan(_ladder(request, vector, rungs[-1:]))
    return LatePlan(_ladder(request, vector, rungs))


def after_dense(request: SearchRequest, schema: Schema) -> LatePlan:
    """The default plan where the cascade of a vector field finds the candidates."""
    [name] = request.token_queries
    vector = schema.vector(name)
    rungs = _rungs(vector)
    each, least = options.DENSE_KEEP
    found = min(max(each * request.limit, least), options.LIMIT_MAX)
    return LatePlan(_ladder(request, vector, rungs[1:] or rungs), found)


def deepened(plan: LatePlan, vector: Vector, tokens: float) -> LatePlan:
    """The same plan, whose first stage keeps more records where they have few tokens each.

    What is coarse tells those apart less well, and to score them again costs less.
    """
    first, *others = plan.stages
    assert first.representation is not None, "a plan names it"
    if not others or _coarseness(vector, first.representation) not in options.MAXSIM_KEEP:
        return plan
    keep = max(first.keep, math.ceil(options.MAXSIM_KEEP_VECTORS / tokens))
    return plan._replace(stages=(replace(first, keep=min(keep, options.KEEP_MAX)), *others))


def thinned(plan: LatePlan, allowed: int) -> LatePlan:
    """The same plan without first stages that hand on all of so many allowed rows."""
    stages = plan.stages
    while len(stages) > 1 and stages[0].keep >= allowed:
        stages = stages[1:]
    return plan._replace(stages=stages)


def probing(plan: LatePlan, vector: Vector) -> LatePlan:
    """The same plan, of which the first stage scores only what looks good by centroids."""
    first, *others = plan.stages
    assert first.representation is not None, "a plan names it"
    if not _has_ids(vector, first.representation):
        return plan
    return plan._replace(stages=(replace(first, nprobe=options.MAXSIM_NPROBE), *others))


def _explicit(request: SearchRequest, plan: Cascade, schema: Schema) -> LatePlan:
    late = [stage for stage in plan.stages if isinstance(stage, MaxSim)]
    dense = plan.stages[: len(plan.stages) - len(late)]
    if dense and not request.field:
        raise RequestError(f"plan has {dense[0]!r}, but the search has no query for a vector field")
    read = {stage.field for stage in late} | ({request.field} if dense else set())
    for name in (request.field, *request.token_queries):
        if name and name not in read:
            raise RequestError(
                f"the search has a query for field {name!r}, which no stage of the plan reads; "
                "leave it out, or add a stage"
            )
    stages = []
    for stage in late:
        if stage.field not in request.token_queries:
            raise RequestError(
                f"plan has {stage!r}, but the search has no query for multivector field "
                f"{stage.field!r}"
            )
        vector = schema.vector(stage.field)
        spec = stage.representation or vector.representations[-1]
        _check_readable(vector, spec)
        budget = stage.token_budget or request.token_budget
        if stage.nprobe is not None and not _has_ids(vector, spec):
            raise RequestError(
                f"plan has {stage!r}, expected nprobe=None: that is for 'ids' and 'ids256'"
            )
        stages.append(replace(stage, representation=spec, token_budget=budget))
    if not dense:
        return LatePlan(tuple(stages))
    return LatePlan(tuple(stages), dense[-1].keep, Cascade(dense))


def _ladder(request: SearchRequest, vector: Vector, rungs: Sequence[str]) -> tuple[MaxSim, ...]:
    keeps = [_keep(vector, spec, request.limit) for spec in rungs[:-1]]
    return tuple(
        MaxSim(vector.name, keep, spec, request.token_budget)
        for spec, keep in zip(rungs, [*keeps, request.limit], strict=True)
    )


def _keep(vector: Vector, spec: str, limit: int) -> int:
    each, least = options.MAXSIM_KEEP.get(_coarseness(vector, spec), options.MAXSIM_KEEP_FINER)
    return min(max(each * limit, least), options.KEEP_MAX)


def _has_ids(vector: Vector, spec: str) -> bool:
    """Whether codes are of centroids, and nothing else."""
    return parse_spec(spec, vector.dim).codec in {"ids", "ids256"}


@lru_cache(maxsize=1024)
def _coarseness(vector: Vector, text: str) -> str:
    """The codec; of fewer dimensions what is as coarse."""
    spec = parse_spec(text, vector.dim)
    return "sign" if spec.transform and spec.codec not in options.MAXSIM_KEEP else spec.codec


@lru_cache(maxsize=1024)
def _rungs(vector: Vector) -> tuple[str, ...]:
    """What the default plan of a multivector field reads, coarse to fine."""
    ladder = vector.representations
    coded = [spec for spec in ladder if parse_spec(spec, vector.dim).coded]
    return tuple(dict.fromkeys((coarse_of(vector), *coded[-1:], ladder[-1])))
