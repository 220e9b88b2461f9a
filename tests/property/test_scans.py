"""Scans that share what they read, and what damage does to them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.kernel_cases import VARIANTS
from tests.property.test_cascade import by_stages, expect_equal, run_compiled, targets_of
from tests.property.test_codecs import gaussian
from vecstore.kernels import _kernels
from vecstore.request import Cascade, Probe, Rescore
from vecstore.search.candidates import Queries
from vecstore.search.parallel import Workers

SEEDS = st.integers(0, 2**32)


@given(queries=st.sampled_from([1, 2, 5, 70]), probed=st.integers(1, 9), seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_queries_find_together_what_each_finds_alone(queries: int, probed: int, seed: int) -> None:
    """Lists longer than the caches hold, visited by many queries, give each what it finds alone."""
    rng = np.random.default_rng(seed)
    rows, width = 2500, 256  # bytes: the rows of some lists are read in several parts
    codes = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    digits = rng.integers(-128, 128, (queries, 2, width), dtype=np.int8)
    factors = np.tile([0.0, 1.0, 0.0, 0.0], (queries, 1))
    offsets = np.sort(rng.integers(0, rows + 1, 10)).astype(np.uint64)
    order = rng.permutation(rows).astype(np.uint32)
    probes = np.stack([rng.permutation(9)[:probed] for _ in range(queries)])
    for name in VARIANTS:
        scorer = _kernels.octets(codes, digits, factors, None, None, name)
        found = scorer.scan_lists(offsets, order, probes, None, 30)
        for query, (got_rows, got_scores) in enumerate(found):
            own = slice(query, query + 1)
            alone = _kernels.octets(codes, digits[own], factors[own], None, None, name)
            expected = alone.scan_lists(offsets, order, probes[own], None, 30)[0]
            np.testing.assert_array_equal(got_rows, expected[0])
            np.testing.assert_array_equal(got_scores, expected[1])


@given(queries=st.sampled_from([1, 40]), nprobe=st.sampled_from([1, 5, 30]), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_damaged_centroids_are_ranked_alike(queries: int, nprobe: int, seed: int) -> None:
    """Of lists whose centroids score NaN or infinities, those are visited that the stages visit."""
    rng = np.random.default_rng(seed)
    plan = Cascade((Probe("bits2", nprobe, 50), Rescore("float16", 10)))
    targets = targets_of(rng, plan, "dot", 6, 2)
    for target in targets:
        for codes in target.live.source.found.values():  # type: ignore[attr-defined]
            if codes.lists is not None and "scale" in codes.lists.centroids:
                scale = codes.lists.centroids["scale"] = codes.lists.centroids["scale"].copy()
                places = rng.random(scale.shape) < rng.choice([0.2, 1])
                scale[places] = rng.choice([np.nan, np.inf, -np.inf], int(places.sum()))
    vectors = gaussian(queries, 6, "dot", seed)
    with np.errstate(all="ignore"):
        expected = by_stages(plan, targets, vectors)
    expect_equal(run_compiled(plan, targets, Queries(vectors), Workers(1)), expected)


def test_rows_that_a_damaged_order_repeats_are_kept_as_often_as_asked() -> None:
    """One row at every position is found `keep` times, with its own score."""
    codes = np.ones((500, 8), dtype=np.uint8)
    digits = np.ones((2, 2, 8), dtype=np.int8)
    factors = np.tile([0.0, 1.0, 0.0, 0.0], (2, 1))
    offsets, probes = np.array([0, 500], np.uint64), np.zeros((2, 1), np.int64)
    for name in VARIANTS:
        scorer = _kernels.octets(codes, digits, factors, None, None, name)
        for rows, scores in scorer.scan_lists(offsets, np.zeros(500, np.uint32), probes, None, 3):
            assert rows.tolist() == [0, 0, 0]
            assert len(set(scores.tolist())) == 1
