"""Inverted lists change no answer: of a probe of all lists, of exact searches, of stored codes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import vecstore as vs
from tests.property.kernel_cases import VARIANTS
from tests.property.test_collection import VECTORS, YEARS, where
from tests.property.test_compaction import CompactionMachine
from tests.reference import lists as twin
from tests.reference import tokens
from tests.unit.segments import Folder, block_of, every_row, rows_of
from vecstore import options
from vecstore.codec.centroid import bias_of
from vecstore.codec.lists import Coarse, Grid, Means, stretched
from vecstore.codec.spec import parse_spec
from vecstore.kernels import _kernels
from vecstore.types import Float32, Metric

SEEDS = st.integers(0, 2**32)
METRICS = st.sampled_from(["cosine", "dot", "l2"])


def no_rest() -> None:
    """As fast as it goes."""


class ListsMachine(CompactionMachine):
    """What the machine of compactions does, where every compaction makes lists."""

    def __init__(self) -> None:
        super().__init__()
        self.small = mock.patch.object(options, "LISTS_ROWS_MIN", 1)
        self.small.start()

    @rule(query=VECTORS, year_min=YEARS, coarse=st.sampled_from(["bits1", "bits4"]))
    def probe(self, query: Float32, year_min: int | None, coarse: str) -> None:
        """A probe of all lists finds what a scan finds, and one of few lists nothing else."""
        everything = 1000
        rest = vs.Rescore("bits4", everything), vs.Rescore("float16", everything)
        found = [
            [(hit.id, hit.score) for hit in hits]
            for first in (
                vs.Scan(coarse, everything),
                vs.Probe(coarse, everything, everything),
                vs.Probe(coarse, 1, everything),
            )
            for hits in [
                self.collection.search(
                    {"text": query},
                    limit=everything,
                    where=where(year_min),
                    plan=vs.Cascade((first, *rest)),
                )
            ]
        ]
        assert found[0] == found[1]
        assert set(found[2]) <= set(found[0])

    def teardown(self) -> None:
        """What is on disk must be sound."""
        super().teardown()
        self.small.stop()


ListsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


class TestLists(ListsMachine.TestCase):
    """Any order of operations equals a dict."""


@given(count=st.integers(1, 120), seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_lists_hold_the_codes_of_a_segment(count: int, seed: int) -> None:
    """Each row has the codes that it has in the order of rows, and all lists are all rows."""
    block = block_of(rows_of(count, seed % 1000))
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as root, mock.patch.object(options, "LISTS_ROWS_MIN", 1):
        folder = Folder(Path(root))
        plain = folder.write(every_row(block))
        listed = folder.write(every_row(plain), sample_bytes=1 << 20)
        assert listed.verify() == []
        for vector in folder.schema.vectors:
            queries = rng.standard_normal((3, vector.dim)).astype(np.float32)
            for spec in plain.specs(vector.name):
                flat, own = (source.codes(vector.name, spec) for source in (plain, listed))
                assert flat is not None
                assert own is not None
                n = plain.field_count(vector.name)
                every = np.arange(n)
                np.testing.assert_array_equal(own.read(every), flat.read(every))
                assert (own.lists is not None) == parse_spec(spec, vector.dim).coded
                if own.lists is None:
                    continue
                prepared = own.codec.prepare(queries)
                assert own.listed is not None
                probes = own.listed.probes(prepared.scorer(own.parts), len(own.lists), None)
                assert own.lists.rows_of(probes) == 3 * n
                ranges = (own.lists.offsets, own.lists.order)
                found = prepared.scan_lists(own.parts, ranges, probes, None, n)
                expected = prepared.scan(flat.parts, (0, n), None, n)
                for pair, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(pair[0], other[0])
                    np.testing.assert_array_equal(pair[1], other[1])


@given(rows=st.integers(0, 60), size=st.integers(1, 9), dim=st.integers(1, 70), seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_sum_octets_is_the_twins(rows: int, size: int, dim: int, seed: int) -> None:
    """Every variant adds up the rows of each id, and refuses ids that are too large."""
    rng = np.random.default_rng(seed)
    octets = rng.integers(0, 256, (rows, dim), dtype=np.uint8)
    ids = rng.integers(0, size, rows).astype(np.uint16)
    for name in VARIANTS:
        found = _kernels.sum_octets(octets, ids, size, name)
        np.testing.assert_array_equal(found, tokens.sum_octets(octets, ids, size))
        if rows:
            with pytest.raises(ValueError, match="below size"):
                _kernels.sum_octets(octets, ids, int(ids.max()), name)
            with pytest.raises(ValueError, match="for each row"):
                _kernels.sum_octets(octets, ids[1:], size, name)


@given(rows=st.integers(1, 60), count=st.integers(1, 9), metric=METRICS, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_rows_go_to_the_nearest_centroid(rows: int, count: int, metric: Metric, seed: int) -> None:
    """Rows go where the twin says, lists have its means and lengths; all repeats."""
    rng = np.random.default_rng(seed)
    sample = rng.integers(-3, 4, (rows, 5)).astype(np.float32)
    before, grid = sample.copy(), Grid.of(sample)
    integers = grid.integers(sample)
    coarse = Coarse.train(grid, integers, count, no_rest)
    assert coarse.octets.shape == (count, 5)
    np.testing.assert_array_equal(
        coarse.octets, Coarse.train(grid, integers, count, no_rest).octets
    )
    lists, means = coarse.assign(sample, no_rest), Means(count, 5)
    np.testing.assert_array_equal(
        lists, tokens.nearest_octets(integers, coarse.octets, bias_of(coarse.octets))
    )
    for start in range(0, rows, 7):
        means.add(sample[start : start + 7], lists[start : start + 7])
    centroids = means.centroids(coarse, metric)
    centres = grid.vectors(coarse.octets)
    np.testing.assert_allclose(
        centroids, twin.means(sample, centres, lists, metric), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(sample, before)
    np.testing.assert_allclose(
        stretched(centroids, lists, np.linalg.norm(sample, axis=1)),
        twin.stretched(sample, centroids, lists),
        rtol=1e-5,
    )


@given(rows=st.integers(1, 60), count=st.integers(1, 9), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_whole_numbers_find_the_nearest_vector(rows: int, count: int, seed: int) -> None:
    """No centroid is nearer than the one found by more than the rounding of its square."""
    rng = np.random.default_rng(seed)
    sample = rng.integers(-120, 121, (rows, 6)).astype(np.float32)
    octets = rng.integers(8, 249, (count, 6), dtype=np.uint8)
    grid = Grid(np.zeros(6, dtype=np.float32), 1.0)
    lists = Coarse(grid, octets).assign(sample, no_rest)
    far = ((sample[:, None] - grid.vectors(octets)[None]) ** 2).sum(axis=2)
    assert (far[np.arange(rows), lists] <= far.min(axis=1) + 1).all()


@given(
    scale=st.sampled_from([0.0, 1e-38, 1.0, 3e38]),
    long=st.sampled_from([1.0, 1e3]),
    rows=st.integers(1, 300),
    seed=SEEDS,
)
@settings(max_examples=40, deadline=None)
def test_a_grid_has_room_for_usual_rows(scale: float, long: float, rows: int, seed: int) -> None:
    """Usual rows keep what tells them apart whatever their scale, beside a few that are longer."""
    rng = np.random.default_rng(seed)
    sample = rng.uniform(-1, 1, (rows, 8))
    sample[: rows // 20] *= long
    own = np.clip(sample * scale / long, -3e38, 3e38).astype(np.float32)
    grid = Grid.of(own)
    integers = grid.integers(own)
    assert np.isfinite(grid.vectors(integers.view(np.uint8) ^ np.uint8(128))).all()
    if rows >= 100 and scale in {1.0, 3e38}:
        assert np.abs(integers[rows // 20 :].astype(int)).max() > 20
