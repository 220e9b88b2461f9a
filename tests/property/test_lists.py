"""Inverted lists change no answer: of a probe of all lists, of exact searches, of stored codes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import vecstore as vs
from tests.property.test_collection import VECTORS, YEARS, where
from tests.property.test_compaction import CompactionMachine
from tests.reference import lists as twin
from tests.unit.segments import Folder, block_of, every_row, rows_of
from vecstore import options
from vecstore.codec.lists import assign, stretched, train_centroids
from vecstore.codec.spec import parse_spec
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
                probes = own.lists.probe(prepared, len(own.lists))
                assert own.lists.rows_of(probes) == 3 * n
                ranges = (own.lists.offsets, own.lists.order)
                found = prepared.scan_lists(own.parts, ranges, probes, None, n)
                expected = prepared.scan(flat.parts, (0, n), None, n)
                for pair, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(pair[0], other[0])
                    np.testing.assert_array_equal(pair[1], other[1])


@given(rows=st.integers(1, 60), count=st.integers(1, 9), metric=METRICS, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_rows_go_to_the_nearest_centroid(rows: int, count: int, metric: Metric, seed: int) -> None:
    """Rows are assigned and centroids stretched as the twin does; training gives the same again."""
    rng = np.random.default_rng(seed)
    sample = rng.integers(-3, 4, (rows, 5)).astype(np.float32)
    before = sample.copy()
    centroids = train_centroids(sample, count, metric, no_rest)
    assert centroids.shape == (min(count, rows), 5)
    assert np.isfinite(centroids).all()
    np.testing.assert_array_equal(centroids, train_centroids(sample, count, metric, no_rest))
    np.testing.assert_array_equal(sample, before)
    lists, lengths = assign(sample, centroids, metric, no_rest), np.linalg.norm(sample, axis=1)
    np.testing.assert_allclose(
        stretched(centroids, lists, lengths), twin.stretched(sample, centroids, lists), rtol=1e-5
    )
    whole = rng.integers(-2, 3, (count, 5)).astype(np.float32)  # whose products are exact
    np.testing.assert_array_equal(
        assign(sample, whole, metric, no_rest), twin.assign(sample, whole, metric)
    )
