"""From a request to the stages that answer it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from vecstore import options
from vecstore.codec.spec import parse_spec
from vecstore.errors import NotFoundError
from vecstore.request import Cascade, Probe, Rescore, Scan, SearchRequest
from vecstore.schema import Vector


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
    readable = _readable(vector)
    for stage in request.plan.stages:
        if stage.representation not in readable:
            raise NotFoundError(
                f"plan reads {stage.representation!r}, but vector field {vector.name!r} has "
                f"{', '.join(map(repr, readable))}"
            )
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
    """How many of a segment's lists the default plan visits; 0 where it scans all rows.

    The larger the wanted share of the rows, the further they lie from the query, and the more lists
    hold them; whether a filter left few rows, or few were written. See DECISIONS.md.

    Args:
        lists: how many the segment has; 0 where it has none.
        limit: hits wanted.
        allowed: rows of the collection that pass the filter, at least 1.
        codec: of the centroids.
    """
    wanted = (limit / allowed / options.PROBES_WANTED) ** options.PROBES_POWER
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
    return Cascade((Scan(first.representation, first.keep), *plan.stages[1:]))


@lru_cache(maxsize=1024)
def coarse_of(vector: Vector) -> str:
    """The smallest full-width representation; a shortened one only where nothing else is."""
    ladder = vector.representations
    full = [spec for spec in ladder if not parse_spec(spec, vector.dim).transform]
    smallest = full[0] if len(full) > 1 else ladder[0]
    return (smallest, *parse_spec(smallest, vector.dim).contained)[-1]


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
