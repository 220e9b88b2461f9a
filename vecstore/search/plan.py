"""From a request to the stages that answer it."""

from __future__ import annotations

from functools import lru_cache

from vecstore import options
from vecstore.codec.spec import parse_spec
from vecstore.errors import NotFoundError
from vecstore.request import Cascade, Rescore, Scan, SearchRequest
from vecstore.schema import Vector


def make_plan(request: SearchRequest, vector: Vector, *, few: bool) -> Cascade:
    """The stages for one request.

    Args:
        request: what was asked.
        vector: the field; its representations are in order, coarse to fine.
        few: whether so few rows are allowed that scoring them all with the finest is cheapest.

    Returns:
        The explicit plan, checked against the field; else one scan of the finest representation
        for an exact search or few rows; else a scan of the smallest full-width representation, or
        of the least that its codes begin with, rescored with the finest.
    """
    if request.plan is None:
        return _default_plan(vector, request.limit, exact=request.exact or few)
    readable = _readable(vector)
    for stage in request.plan.stages:
        if stage.representation not in readable:
            raise NotFoundError(
                f"plan reads {stage.representation!r}, but vector field {vector.name!r} has "
                f"{', '.join(map(repr, vector.representations))}"
            )
    return request.plan


@lru_cache(maxsize=1024)
def _default_plan(vector: Vector, limit: int, *, exact: bool) -> Cascade:
    coarse, finest = _coarse(vector), vector.representations[-1]
    if exact or coarse == finest:
        return Cascade((Scan(finest, limit),))
    keep = max(limit * _oversampling(coarse, vector), options.KEEP_MIN)
    return Cascade((Scan(coarse, min(keep, options.KEEP_MAX)), Rescore(finest, limit)))


def widened(plan: Cascade) -> Cascade:
    """The same plan with more candidates kept by its scan."""
    first = plan.stages[0]
    keep = min(first.keep * options.KEEP_GROWTH, options.KEEP_MAX)
    return Cascade((Scan(first.representation, keep), *plan.stages[1:]))


def _coarse(vector: Vector) -> str:
    """The smallest full-width representation; a shortened one only where nothing else is."""
    ladder = vector.representations
    full = [spec for spec in ladder if not parse_spec(spec, vector.dim).transform]
    smallest = full[0] if len(full) > 1 else ladder[0]
    return (smallest, *parse_spec(smallest, vector.dim).contained)[-1]


@lru_cache(maxsize=1024)
def _readable(vector: Vector) -> frozenset[str]:
    """The representations of a field, and those that their codes begin with."""
    contained = (parse_spec(spec, vector.dim).contained for spec in vector.representations)
    return frozenset(vector.representations).union(*contained)


def _oversampling(coarse: str, vector: Vector) -> int:
    spec = parse_spec(coarse, vector.dim)
    if spec.transform:
        return options.OVERSAMPLING_SHORTENED
    if spec.table is not None:
        bits = spec.table.count * spec.table.bits
        return max(1, -(-options.OVERSAMPLING_TABLE_BITS * vector.dim // bits))
    return options.OVERSAMPLING[spec.codec]
