"""What kernels make of queries equals the twin, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import kernels as twin
from vecstore.codec.rotation import signs_of
from vecstore.kernels import _kernels

SEEDS = st.integers(0, 2**32)
VARIANTS = _kernels.variants()


@given(
    dims=st.sampled_from([1, 64, 100, 384]),
    queries=st.integers(0, 3),
    bits=st.sampled_from([1, 2]),
    exponent=st.integers(-40, 15),
    seed=SEEDS,
)
def test_query_tables_equal_the_twin(
    dims: int, queries: int, bits: int, exponent: int, seed: int
) -> None:
    """Integers, tables and factors of a query are the twin's, of tiny, huge and zero ones too."""
    rng = np.random.default_rng(seed)
    given = rng.standard_normal((queries, dims), dtype=np.float32) * np.float32(10.0**exponent)
    if queries > 1:
        given[0] = 0
    rotated = _kernels.rotate(given, signs_of(dims))
    for variant in VARIANTS:
        found = _kernels.packed_queries(given, signs_of(dims), bits, variant)
        for ours, expected in zip(found, twin.packed_queries(rotated, bits), strict=True):
            np.testing.assert_array_equal(ours, expected)


@given(dim=st.integers(1, 300), rows=st.integers(0, 20), exponent=st.integers(-45, 38), seed=SEEDS)
def test_unit_lengths_equal_the_twin(dim: int, rows: int, exponent: int, seed: int) -> None:
    """Tiny, huge and zero vectors come to the twin's unit length, alone and among others."""
    rng = np.random.default_rng(seed)
    vectors = (rng.uniform(-3, 3, (rows, dim)) * 10.0**exponent).astype(np.float32)
    vectors[rng.random(rows) < 0.2] = 0
    expected = twin.unit_lengths(vectors)
    for ours, theirs in zip(_kernels.unit_lengths(vectors), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for row in range(rows):
        for found in (
            _kernels.unit_lengths(vectors[row : row + 1]),
            _kernels.unit_query(vectors[row], dim),
        ):
            assert found is not None
            np.testing.assert_array_equal(found[0], expected[0][row : row + 1])
            assert found[1] == expected[1][row]


def test_what_is_no_query_is_left_to_others() -> None:
    """One query is float32 of the right shape and finite, or no unit vector comes of it."""
    good = np.ones(4, np.float32)
    for wrong in (
        None,
        [1, 2, 3, 4],
        good.tolist(),
        good[:3],
        good[None],
        good.astype(np.float64),
        np.ones(8, np.float32)[::2],
        np.array([1, np.nan, 0, 0], np.float32),
        np.array([1, 0, 0, -np.inf], np.float32),
    ):
        assert _kernels.unit_query(wrong, 4) is None
    assert _kernels.unit_query(good, 4) is not None
