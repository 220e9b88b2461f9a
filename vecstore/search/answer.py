"""From a checked request and a snapshot to hits."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np

from vecstore import options
from vecstore.codec.spec import parse_spec
from vecstore.errors import CorruptionError
from vecstore.request import MaxSim, Probe, SearchRequest
from vecstore.search.candidates import Answer, Queries, Target, pick
from vecstore.search.cascade import Route, make_route, run_cascade
from vecstore.search.mask import evaluate
from vecstore.search.matching import Matching
from vecstore.search.parallel import Workers
from vecstore.search.plan import coarse_of, lists_to_probe, make_plan, widened, without_probe
from vecstore.search.where import Node, parse_where
from vecstore.segment.snapshot import Live, Snapshot
from vecstore.segment.vectors import read_vectors
from vecstore.types import Bool, Float32, Hits, Id, Int64, Payload, TokenMatches

Value = TypeVar("Value")
OnDamage: TypeAlias = Callable[[CorruptionError], object]

# A snapshot remembers the routes of so many kinds of searches; of those with filters as many again,
# or fewer, so that the bits of what passes take about so many bytes.
ROUTES_MAX, FILTERS_BYTES_MAX = 64, 16 << 20


def answer(
    request: SearchRequest,
    snapshot: Snapshot,
    workers: Workers,
    quarantined: Container[int],
    on_damage: OnDamage,
) -> list[Hits]:
    """Answer every query of a request from one snapshot.

    Args:
        request: made for the schema of the snapshot.
        snapshot: what is searched.
        workers: score.
        quarantined: ids of segments that are left out; hits say where that may matter.
        on_damage: called where ids, payloads or vectors of hits turn out to be damaged, which are
            read later, before that is raised.
    """
    if quarantined:
        sound, partial = without(snapshot, [request.field], quarantined)
        found = answer(request, sound, workers, (), on_damage)
        for hits in found:
            hits.partial = partial
        return found
    with workers.searches:
        targets, answers = answer_dense(request, snapshot, workers)
        return [make_hits(request, targets, each, on_damage) for each in answers]


def answer_dense(
    request: SearchRequest, snapshot: Snapshot, workers: Workers
) -> tuple[Sequence[Target], Iterator[Answer]]:
    """The sources that the queries of a vector field are answered from, and the answers."""
    route = _route(request, snapshot)
    step = _step(request, route)
    parts = (slice(start, start + step) for start in range(0, len(request.queries), step))
    return route.targets, chain.from_iterable(
        _answers(request, route, part, workers) for part in parts
    )


def _route(request: SearchRequest, snapshot: Snapshot) -> Route:
    """How to search; remembered by the snapshot for the next search that is alike."""
    known = snapshot.routes if request.where is None else snapshot.filtered
    alike = (request.field, request.limit, request.exact, request.plan, request.where)
    route: Route | None = known.get(alike)
    if route is None:
        route = _find_route(request, snapshot)
        rows = 0 if request.where is None else sum(target.rows for target in route.targets)
        most = min(ROUTES_MAX, FILTERS_BYTES_MAX // (1 + rows // 8))
        if most and not _expires(route.targets):
            if len(known) >= most:
                known.clear()
            known[alike] = route
    return route


def _find_route(request: SearchRequest, snapshot: Snapshot) -> Route:
    vector = snapshot.info.schema.vector(request.field)
    targets = find_targets(request, snapshot, request.field)
    allowed = sum(target.allowed.count for target in targets)
    few = allowed <= options.GATHER_ROWS_MAX
    nprobe = 0
    if request.plan is None and allowed and not (few or request.exact):
        coarse = coarse_of(vector)
        lists = max((target.list_count(coarse) for target in targets), default=0)
        codec = parse_spec(coarse, vector.dim).codec
        nprobe = lists_to_probe(lists, request.limit, allowed, codec)
    return make_route(make_plan(request, vector, few=few, nprobe=nprobe), targets)


def _expires(targets: Sequence[Target]) -> bool:
    """Whether the allowed rows change with time."""
    return any(target.live.source.expires is not None for target in targets)


def _answers(request: SearchRequest, route: Route, part: slice, workers: Workers) -> list[Answer]:
    """Answer some of the queries; again, and wider, those that the default plan cut short."""
    queries = Queries(request.queries[part])
    answers = run_cascade(route, queries, workers, explain=request.explain)
    if request.plan is None:
        wanted = min(route.allowed, route.plan.stages[0].keep)
        for found in answers:
            if found.cut or found.scanned < wanted:
                return _widen(request, route, queries, answers, workers)
    return answers


def _widen(
    request: SearchRequest,
    route: Route,
    queries: Queries,
    given: Sequence[Answer],
    workers: Workers,
) -> list[Answer]:
    plan, answers = route.plan, list(given)

    def again(pending: list[int]) -> None:
        wide = make_route(plan, route.targets)
        step = _step(request, wide)
        for places in (pending[at : at + step] for at in range(0, len(pending), step)):
            wider = run_cascade(wide, queries.some(places), workers, explain=request.explain)
            for place, found in zip(places, wider, strict=True):
                answers[place] = found._replace(reports=answers[place].reports + found.reports)

    wanted = min(route.allowed, plan.stages[0].keep)
    pending = [place for place, found in enumerate(answers) if found.scanned < wanted]
    if pending and isinstance(plan.stages[0], Probe):  # what is allowed lies elsewhere
        plan = without_probe(plan)
        again(pending)
    pending = [place for place, found in enumerate(answers) if found.cut]
    while pending and plan.stages[0].keep < min(route.allowed, options.KEEP_MAX):
        plan = widened(plan)
        again(pending)
        pending = [place for place in pending if answers[place].cut]
    return answers


def _step(request: SearchRequest, route: Route) -> int:
    """How many queries are answered at a time, so that memory has a bound."""
    count, dim = request.queries.shape
    if count == 1:
        return 1
    plan, targets = route.plan, route.targets
    first = plan.stages[0]
    kept = first.keep
    if isinstance(first, Probe) and targets:
        lists = max(target.list_count(first.representation) for target in targets)
        filtered = any(target.allowed.bits is not None for target in targets)
        kept += lists if filtered else min(first.nprobe, lists)
    codecs = {
        id(codec): codec
        for stage in plan.stages
        if not isinstance(stage, MaxSim)
        for target in targets
        for codec in [target.codes(stage.representation).codec]
    }
    prepared = sum(parse_spec(codec.spec, dim).query_bytes(dim) for codec in codecs.values())
    return max(
        1, min(options.CANDIDATES_MAX // kept, options.PREPARED_BYTES_MAX // max(1, prepared))
    )


def passing(node: Node | None, live: Live) -> Bool:
    """bool [N]: the live rows of a source that a filter passes; all live rows without one."""
    if node is None:
        return live.alive
    return live.alive & evaluate(node, live.source.column, live.source.rows)


def find_targets(request: SearchRequest, snapshot: Snapshot, name: str) -> list[Target]:
    """The sources with rows of a field that the request allows."""
    columns = snapshot.info.schema.columns
    node = None if request.where is None else parse_where(request.where, columns)
    targets = []
    for live in snapshot.sources:
        rows = live.source.field_count(name)
        if not rows:
            continue
        allowed = live.allowed(name, None if node is None else passing(node, live))
        if allowed.count:
            targets.append(Target(live, name, rows, allowed))
    return targets


def without(
    snapshot: Snapshot, fields: Iterable[str], quarantined: Container[int]
) -> tuple[Snapshot, bool]:
    """A snapshot without some segments, and whether one of them has one of the fields."""
    pairs = list(zip(snapshot.manifest.segments, snapshot.segments, strict=True))
    sound = tuple(live for item, live in pairs if item.id not in quarantined)
    left_out = [live.source for item, live in pairs if item.id in quarantined]
    partial = any(source.field_count(field) for source in left_out for field in fields)
    return replace(snapshot, segments=sound), partial


def make_hits(
    request: SearchRequest, targets: Sequence[Target], found: Answer, on_damage: OnDamage
) -> Hits:
    """The hits of one query; what they carry is read from the targets when it is asked for."""
    candidates = found.candidates
    if len(candidates.row) > request.limit:  # an explicit plan may keep more
        candidates = pick(candidates, np.arange(request.limit))
    loader = Loader(
        targets,
        candidates.target,
        candidates.row,
        request.with_payload,
        request.with_vectors,
        on_damage,
        found.matching,
    )
    return Hits(candidates.score, loader, explain=found.reports if request.explain else None)


class Loader(NamedTuple):
    """Reads ids, payloads and vectors of hits from the sources that held them."""

    targets: Sequence[Target]
    target: Int64  # [n]
    row: Int64  # [n] rows of the field
    with_payload: bool
    with_vectors: bool
    on_damage: OnDamage
    matching: Matching | None

    def part(self, start: int, stop: int) -> Loader:
        """The same for some of the hits, as a server reads them that sends them in parts."""
        return self._replace(target=self.target[start:stop], row=self.row[start:stop])

    def some(self, places: Int64) -> Loader:
        """The same for the hits at `places`."""
        return self._replace(target=self.target[places], row=self.row[places])

    def ids(self) -> list[Id]:
        """The ids, best hit first."""
        return self.gather(lambda live, rows: live.source.decoded_ids(rows))

    def payloads(self) -> list[Payload]:
        """The payloads; empty ones where none were asked for."""
        if not self.with_payload:
            return [{} for _ in self.row]
        return [msgspec.json.decode(raw) if raw else {} for raw in self.raw_payloads()]

    def raw_payloads(self) -> list[bytes]:
        """Payloads as stored: JSON, or empty."""
        if not self.with_payload:
            return [b""] * len(self.row)
        return self.gather(lambda live, rows: live.source.payloads(rows))

    def vectors(self) -> list[Mapping[str, Float32]]:
        """The vectors by field; empty where none were asked for."""
        if not self.with_vectors:
            return [{} for _ in self.row]
        return self.gather(lambda live, rows: read_vectors(live.source, rows))

    def matches(self) -> list[TokenMatches] | None:
        """Which vectors of each hit matched; None where that was not asked."""
        matching = self.matching
        if matching is None:
            return None
        field = self.targets[0].field if self.targets else ""
        return self.gather(lambda live, rows: matching.match(live.source, field, rows)[1])

    def gather(self, read: Callable[[Live, Int64], list[Value]]) -> list[Value]:
        """What `read` gives for rows of each source, in the order of the hits."""
        try:
            return self._read(read)
        except CorruptionError as error:
            self.on_damage(error)
            raise

    def _read(self, read: Callable[[Live, Int64], list[Value]]) -> list[Value]:
        if len(self.targets) == 1:
            [target] = self.targets
            return read(target.live, target.source_rows(self.row))
        found: dict[int, Value] = {}
        for position, target in enumerate(self.targets):
            places = np.flatnonzero(self.target == position)
            if not len(places):
                continue
            rows = target.source_rows(self.row[places])
            found.update(zip(places.tolist(), read(target.live, rows), strict=True))
        return [found[place] for place in range(len(self.row))]
