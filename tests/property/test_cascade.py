"""One call of the kernels answers as the stages do, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_codecs import METRICS, built, gaussian
from tests.reference import lists as twin
from vecstore import options
from vecstore.codec import Codec, parse_spec
from vecstore.codec.affine import to_bfloat16
from vecstore.kernels import _kernels
from vecstore.request import Cascade, Probe, Rescore, Scan
from vecstore.search import cascade
from vecstore.search.candidates import Answer, Queries, Target
from vecstore.search.compiled import compile_cascade
from vecstore.search.parallel import Workers
from vecstore.segment.base import Codes, Sound
from vecstore.segment.bits import Allowed, pack_mask
from vecstore.segment.lists import ListOrder, Lists, read_lists
from vecstore.types import Float32, Int64, Metric, Uint32, Uint64

COARSE = ("bits1", "bits2", "bits4", "int8", "prefix5/bits2", "float16", "sign", "lvq4", "pq2")
FINE = ("bits4", "bits8", "int8", "float16", "float32", "lvq4x8", "bebr2")
SEEDS = st.integers(0, 2**32)


class Touched(Sound):
    """Remembers the rows that were touched; may fail."""

    def __init__(self, *, needless: bool, fails: bool = False) -> None:
        self.needless = needless
        self.fails = fails
        self.rows: list[Int64] = []

    def __call__(self, rows: Int64 | None = None) -> None:
        if rows is not None:
            self.rows.append(rows)
            if self.fails:
                raise OSError("unreadable")


@dataclass(frozen=True)
class Few:
    """Rows of one field in memory: as much of a source as a search asks for."""

    seqs: Uint64
    owners: Uint32 | None
    found: dict[str, Codes]

    @property
    def seq_min(self) -> int:
        return int(self.seqs[0])

    @property
    def seq_max(self) -> int:
        return int(self.seqs[-1])

    def field_rows(self, field: str) -> Uint32 | None:
        return self.owners

    def specs(self, field: str) -> tuple[str, ...]:
        return tuple(self.found)

    def codes(self, field: str, spec: str) -> Codes | None:
        return self.found.get(spec)


@dataclass(frozen=True)
class FewLive:
    """What a Target asks of a Live."""

    source: Few


def vectors_of(rng: np.random.Generator, rows: int, dim: int, metric: Metric) -> Float32:
    """Vectors of which some are equal, so that scores tie."""
    vectors = gaussian(rows, dim, metric, int(rng.integers(2**32)))
    return vectors[rng.integers(0, rows, rows)] if rng.random() < 0.5 else vectors


def listed(rng: np.random.Generator, codec: Codec, vectors: Float32) -> tuple[Lists, Float32]:
    """Some lists, of which some are empty, and the vectors in their order."""
    count = int(rng.integers(1, rng.choice([20, 80])))
    centroids = gaussian(count, codec.dim, codec.metric, int(rng.integers(2**32)))
    assigned = rng.integers(0, count, len(vectors))
    if rng.random() < 0.5:  # so that rows that a filter passes may all be in some lists
        assigned = np.sort(assigned)
    order = ListOrder.of(centroids, assigned)
    arrays = {name: np.asarray(array) for name, array in order.arrays(codec).items()}
    return read_lists(arrays, len(vectors), "memory"), vectors[order.order]


def target_of(
    rng: np.random.Generator, vectors: Float32, specs: tuple[str, ...], metric: Metric, first: int
) -> Target:
    """A source of vectors under some representations, with some rows allowed."""
    rows, dim = vectors.shape
    found = {}
    for spec in specs:
        codec = built(spec, dim, metric, vectors)
        lists, kept = None, vectors
        if parse_spec(spec, dim).coded and rng.random() < 0.4:
            lists, kept = listed(rng, codec, vectors)
        parts = dict(codec.pack(codec.encode(kept)))
        if "error" in parts and rng.random() < 0.5:  # wrong bounds: what is read first matters
            parts["error"] = to_bfloat16(rng.uniform(0, 0.3, rows).astype(np.float32))
        touch = Touched(needless=rng.random() < 0.5)
        found[spec] = Codes(codec=codec, parts=parts, touch=touch, lists=lists)
    owners, count = None, rows
    if rng.random() < 0.3:  # the field is not in every row
        count = 2 * rows
        owners = np.sort(rng.choice(count, rows, replace=False)).astype(np.uint32)
    seqs = first + np.cumsum(rng.integers(1, 4, count)).astype(np.uint64)
    mask = rng.random(rows) < rng.choice([0.05, 0.5, 0.99])
    if rng.random() < 0.5:
        mask &= np.arange(rows) < rng.integers(rows + 1)
    mask[rng.integers(rows)] = True
    allowed = Allowed(pack_mask(mask), int(mask.sum()))
    if rng.random() < 0.4:
        allowed = Allowed(None, rows)
    return Target(FewLive(Few(seqs, owners, found)), "text", rows, allowed)  # type: ignore[arg-type]


def targets_of(
    rng: np.random.Generator, plan: Cascade, metric: Metric, dim: int, parts: int
) -> list[Target]:
    """Segments that have the representations of a plan, and some sources that have only another."""
    specs = tuple(dict.fromkeys(stage.representation for stage in plan.stages))
    targets, first = [], 0
    for part in range(parts):
        rows = int(rng.choice([1, 30, 300, 700]))
        own = specs
        if part and rng.random() < 0.4:  # the write buffer, or a segment that is to be altered
            own = (str(rng.choice(["float16", "float16", "bits8", "int8"])),)
        target = target_of(rng, vectors_of(rng, rows, dim, metric), own, metric, first)
        targets.append(target)
        first = target.live.source.seq_max
    return targets


def run_compiled(
    plan: Cascade, targets: list[Target], queries: Queries, workers: Workers
) -> list[Answer] | None:
    """What one call of the kernels answers; None where they cannot."""
    compiled = compile_cascade(plan, targets)
    return None if compiled is None else compiled.answer(queries, workers)


def by_stages(plan: Cascade, targets: list[Target], vectors: Float32) -> list[Answer]:
    route = cascade.Route(plan, targets, None, 0)
    return cascade.run_cascade(route, Queries(vectors), Workers(1))


def expect_equal(found: list[Answer] | None, expected: list[Answer]) -> None:
    assert found is not None
    assert len(found) == len(expected)
    for answer, wanted in zip(found, expected, strict=True):
        assert answer.cut == wanted.cut
        assert answer.scanned == wanted.scanned
        for name in ("target", "row", "score"):
            got = getattr(answer.candidates, name)
            assert got.dtype == getattr(wanted.candidates, name).dtype
            np.testing.assert_array_equal(got, getattr(wanted.candidates, name))


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    with closing(Workers(2)) as workers:
        yield workers


def first_stage(spec: str, keep: int, nprobe: int) -> Scan | Probe:
    return Probe(spec, nprobe, keep) if nprobe else Scan(spec, keep)


NPROBES = st.sampled_from([0, 0, 1, 3, 30, 40])
PLANS = st.one_of(
    st.builds(
        lambda spec, keep, nprobe: Cascade((first_stage(spec, keep, nprobe),)),
        st.sampled_from(COARSE),
        st.integers(1, 300),
        NPROBES,
    ),
    st.builds(
        lambda coarse, nprobe, fine, keep, share: Cascade(
            (first_stage(coarse, keep, nprobe), Rescore(fine, max(1, int(keep * share))))
        ),
        st.sampled_from(COARSE),
        NPROBES,
        st.sampled_from(FINE),
        st.sampled_from([1, 20, 200, 300, 500]),
        st.sampled_from([0.01, 0.1, 1]),
    ),
)


@given(
    plan=PLANS,
    queries=st.sampled_from([1, 3, 40]),
    bytes_min=st.sampled_from([1, 4_000, options.PARALLEL_BYTES_MIN]),
    seed=SEEDS,
)
@settings(max_examples=300, deadline=None)
def test_kernels_answer_as_the_stages(
    two: Workers, plan: Cascade, queries: int, bytes_min: int, seed: int
) -> None:
    """Whatever the sources, filters, plans and threads: the same rows, scores and cuts."""
    rng = np.random.default_rng(seed)
    metric, dim = METRICS[rng.integers(len(METRICS))], int(rng.choice([6, 40]))
    targets = targets_of(rng, plan, metric, dim, int(rng.integers(1, 5)))
    vectors = gaussian(queries, dim, metric, seed)
    expected = by_stages(plan, targets, vectors)
    with mock.patch.object(options, "PARALLEL_BYTES_MIN", bytes_min):
        found = run_compiled(plan, targets, Queries(vectors), two)
    spec = plan.stages[0].representation
    if found is None:
        assert "/" in spec
        assert len({target.codes(spec).codec.spec for target in targets}) > 1
    else:
        expect_equal(found, expected)


@given(
    nprobe=st.sampled_from([1, 2, 20, 40, 100]),
    queries=st.sampled_from([1, 3, 20]),
    share=st.sampled_from([None, 0.01, 0.1, 0.5, 0.93, 0.95]),
    by_place=st.booleans(),
    seed=SEEDS,
)
@settings(max_examples=200, deadline=None)
def test_lists_are_visited_as_the_twin_says(
    nprobe: int, queries: int, share: float | None, by_place: bool, seed: int
) -> None:
    """However many rows a filter passes, and wherever they lie."""
    rng = np.random.default_rng(seed)
    metric = METRICS[rng.integers(len(METRICS))]
    vectors = vectors_of(rng, 600, 6, metric)
    codec = built(str(rng.choice(COARSE[:4])), 6, metric, vectors)
    lists, kept = listed(rng, codec, vectors)
    codes = Codes(codec=codec, parts=codec.pack(codec.encode(kept)), touch=Sound(), lists=lists)
    prepared = codec.prepare(gaussian(queries, 6, metric, seed))
    mask = None
    if share is not None:
        ranks = np.arange(600) if by_place else rng.permutation(600)
        mask = ranks < 600 * share
    bits = None if mask is None else pack_mask(mask)
    assert codes.listed is not None
    found = codes.listed.probes(prepared.scorer(codes.parts), nprobe, bits)
    ranked = prepared.scan(lists.centroids, (0, len(lists)), None, len(lists))
    owners = np.split(lists.order.astype(np.int64), lists.offsets[1:-1].astype(np.int64))
    expected = twin.probes(ranked, owners, nprobe, mask)
    assert found.shape == (queries, max(map(len, expected)))
    for own, wanted in zip(found, expected, strict=True):
        assert (own[len(wanted) :] == -1).all()
        assert sorted(own[: len(wanted)].tolist()) == sorted(wanted.tolist())
        if queries == 1:
            assert own.tolist() == wanted.tolist()


@given(
    damage=st.sampled_from(["scale", "error", "values"]),
    nprobe=st.sampled_from([0, 0, 3, 30]),
    seed=SEEDS,
)
@settings(deadline=None)
def test_damaged_numbers_are_ordered_alike(damage: str, nprobe: int, seed: int) -> None:
    """NaN and infinities among factors, errors and floats change neither order nor cuts."""
    rng = np.random.default_rng(seed)
    plan = Cascade((first_stage("bits1", 300, nprobe), Rescore("float32", 20)))
    targets = targets_of(rng, plan, "l2", 6, 2)
    for target in targets:
        for codes in target.live.source.found.values():  # type: ignore[attr-defined]
            if damage in codes.parts:
                array = codes.parts[damage] = codes.parts[damage].copy()
                wrong = np.array([np.nan, np.inf, -np.inf, -1], dtype=np.float32)
                if damage == "error":
                    wrong = (wrong.view(np.uint32) >> 16).astype(array.dtype)
                places = rng.random(array.shape) < rng.choice([0.01, 0.2])
                array[places] = rng.choice(wrong, int(places.sum()))
    vectors = gaussian(2, 6, "l2", seed)
    with np.errstate(all="ignore"):
        expected = by_stages(plan, targets, vectors)
    expect_equal(run_compiled(plan, targets, Queries(vectors), Workers(1)), expected)


def test_rows_are_touched_before_a_rescore_reads_them() -> None:
    """What is not verified yet is touched for every row handed on; an error of it comes through."""
    rng = np.random.default_rng(1)
    plan = Cascade((Scan("bits1", 20), Rescore("float16", 10)))
    vectors = gaussian(100, 6, "dot", 1)
    target = target_of(rng, vectors, ("bits1", "float16"), "dot", 0)
    found = target.live.source.found  # type: ignore[attr-defined]
    queries = Queries(gaussian(1, 6, "dot", 2))
    for needless, fails in ((True, False), (False, False), (False, True)):
        touch = Touched(needless=needless, fails=fails)
        codes = found["float16"]
        found["float16"] = Codes(codec=codes.codec, parts=codes.parts, touch=touch)
        if fails:
            with pytest.raises(OSError, match="unreadable"):
                run_compiled(plan, [target], queries, Workers(1))
        else:
            run_compiled(plan, [target], queries, Workers(1))
        assert [len(rows) for rows in touch.rows] == ([] if needless else [20])


def test_codes_at_positions_are_scanned_one_by_one() -> None:
    """Without lists, the best allowed rows are found wherever their codes lie."""
    rng = np.random.default_rng(3)
    values, queries = gaussian(500, 6, "dot", 1), gaussian(2, 6, "dot", 2)
    positions = rng.permutation(500)
    stored = np.empty_like(values)
    stored[positions] = values
    stored[positions[7]] = np.nan
    mask = np.arange(500) % 7 == 0
    scorer = _kernels.flat(stored, queries, False)
    reading = _kernels.Reading(scorer, None, None)
    target = _kernels.Target(reading.at(positions.astype(np.uint32)), None, 500, pack_mask(mask))
    plan = _kernels.Plan(20, 0, 0, 0, 0)
    _, rows, scores, stops, _, _ = _kernels.cascade([target], plan, [scorer], [None], None)
    expected = _kernels.flat(values, queries, False)
    mask[7] = False
    for part, (own, best) in zip(
        (slice(0, stops[0]), slice(stops[0], stops[1])),
        expected.scan(0, 500, pack_mask(mask), 20),
        strict=True,
    ):
        np.testing.assert_array_equal(rows[part], own)
        np.testing.assert_array_equal(scores[part], best)
