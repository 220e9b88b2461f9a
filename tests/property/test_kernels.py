"""The C++ kernels against their NumPy twins, bit for bit, in every variant that runs here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.kernel_cases import (
    FAMILIES,
    VARIANTS,
    Family,
    affine_factors,
    bitmap,
    tied,
)
from tests.reference import kernels as twin
from vecstore.codec.rotation import signs_of
from vecstore.kernels import _kernels
from vecstore.types import Int64

SEEDS = st.integers(0, 2**32)
# Kernels share what they read among 4 queries and 16 rows, and hold 16 queries' scores at a time.
QUERY_COUNTS = st.integers(1, 21) | st.sampled_from([31, 32, 33, 35, 36])


@pytest.mark.parametrize("family", FAMILIES)
@given(rows=st.integers(1, 300), queries=QUERY_COUNTS, l2=st.booleans(), seed=SEEDS)
@settings(max_examples=40)
def test_scan_and_score_equal_the_twin(
    family: Family, rows: int, queries: int, l2: bool, seed: int
) -> None:
    """Every variant scores and ranks any span, bitmap and keep as the twin does."""
    rng = np.random.default_rng(seed)
    case = family(rng, rows, queries, l2)
    start = 64 * int(rng.integers(0, rows // 64 + 1))
    stop = int(rng.integers(start, rows + 1))
    keep = int(rng.choice([1, 2, 10, rows, 5 * rows]))
    allowed = bitmap(rng, rows)
    asked = int(rng.integers(0, queries))
    some = rng.integers(0, rows, 20)
    for scorer in case.scorers:
        np.testing.assert_array_equal(scorer.score(asked, some), case.scores[asked, some])
        found = scorer.scan(start, stop, allowed, keep)
        assert len(found) == queries
        for scores, (got_rows, got_scores) in zip(case.scores, found, strict=True):
            best_rows, best_scores = twin.best(scores, start, stop, allowed, keep)
            np.testing.assert_array_equal(got_rows, best_rows)
            np.testing.assert_array_equal(got_scores, best_scores)


@pytest.mark.parametrize("family", FAMILIES)
@given(rows=st.integers(1, 300), queries=st.integers(1, 21), l2=st.booleans(), seed=SEEDS)
@settings(max_examples=40)
def test_scanning_lists_equals_the_twin(
    family: Family, rows: int, queries: int, l2: bool, seed: int
) -> None:
    """Every variant ranks the rows of any lists as the twin does."""
    rng = np.random.default_rng(seed)
    case = family(rng, rows, queries, l2)
    lists = int(rng.integers(1, 20))
    offsets = np.sort(rng.integers(0, rows + 1, lists + 1)).astype(np.uint64)
    order = rng.permutation(rows).astype(np.uint32)
    probed = int(rng.integers(0, lists + 1))
    probes = np.stack([rng.permutation(lists)[:probed] for _ in range(queries)])
    keep = int(rng.choice([1, 2, 10, rows, 5 * rows]))
    allowed = bitmap(rng, rows)
    spans = np.stack([offsets[:-1], offsets[1:]], axis=1).astype(np.int64)
    for scorer in case.scorers:
        found = scorer.scan_lists(offsets, order, probes, allowed, keep)
        for scores, own, (got_rows, got_scores) in zip(case.scores, probes, found, strict=True):
            best_rows, best_scores = twin.best_of_lists(scores, order, spans[own], allowed, keep)
            np.testing.assert_array_equal(got_rows, best_rows)
            np.testing.assert_array_equal(got_scores, best_scores)


@given(rows=st.integers(1, 300), l2=st.booleans(), seed=SEEDS)
@settings(max_examples=40)
def test_all_lists_equal_a_flat_scan(rows: int, l2: bool, seed: int) -> None:
    """Probing all lists gives what the scan of the same codes in row order gives, bit for bit."""
    rng = np.random.default_rng(seed)
    width, queries = 16, 3
    order = rng.permutation(rows).astype(np.uint32)
    codes = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    digits = rng.integers(-128, 128, (queries, 2, width), dtype=np.int8)
    factors, scale, norm = affine_factors(rng, rows, queries, l2)
    edges = np.sort(rng.integers(0, rows + 1, 5))
    offsets = np.array([0, *edges, rows], dtype=np.uint64)
    probes = np.stack([rng.permutation(6) for _ in range(queries)])
    allowed, keep = bitmap(rng, rows), int(rng.choice([1, 10, rows]))
    moved = None if norm is None else norm[order]
    for name in VARIANTS:
        flat = _kernels.octets(codes, digits, factors, scale, norm, name)
        listed = _kernels.octets(codes[order], digits, factors, scale[order], moved, name)
        expected = flat.scan(0, rows, allowed, keep)
        found = listed.scan_lists(offsets, order, probes, allowed, keep)
        for own, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(own[0], other[0])
            np.testing.assert_array_equal(own[1], other[1])


def test_lists_that_cannot_be_are_refused() -> None:
    """No offsets, order or probes lead outside of the rows."""
    scorer = _kernels.flat(np.zeros((4, 2), np.float32), np.zeros((1, 2), np.float32), False)
    offsets = np.array([0, 2, 4], dtype=np.uint64)
    order, probes = np.arange(4, dtype=np.uint32), np.array([[0, 1]])
    for wrong in ([0, 3, 2], [0, 5], [3], []):
        with pytest.raises(ValueError, match="expected"):
            scorer.scan_lists(np.array(wrong, dtype=np.uint64), order, probes, None, 3)
    for places in ([[2]], [[-2]], [[0], [1]]):
        with pytest.raises(ValueError, match="expected"):
            scorer.scan_lists(offsets, order, np.array(places), None, 3)
    with pytest.raises(ValueError, match="expected offsets"):
        scorer.scan_lists(offsets, order[:3], probes, None, 3)
    with pytest.raises(ValueError, match="expected the row at each"):
        scorer.scan_lists(offsets, np.arange(5, dtype=np.uint32), probes, None, 3)
    with pytest.raises(ValueError, match="expected a word"):
        scorer.scan_lists(offsets, order, probes, np.zeros(0, dtype=np.uint64), 3)
    with pytest.raises(ValueError, match="expected keep"):
        scorer.scan_lists(offsets, order, probes, None, 0)
    none = np.array([[1, -1, 0]])  # what follows is not visited
    assert scorer.scan_lists(offsets, order, none, None, 9)[0][0].tolist() == [2, 3]
    two = _kernels.flat(np.zeros((4, 2), np.float32), np.zeros((2, 2), np.float32), False)
    found = two.scan_lists(offsets, order, np.array([[1, -1, 0], [0, 1, -1]]), None, 9)
    assert [rows.tolist() for rows, _ in found] == [[2, 3], [0, 1, 2, 3]]
    astray = np.array([0, 7, 2**32 - 1, 3], dtype=np.uint32)
    assert scorer.scan_lists(offsets, astray, probes, None, 9)[0][0].tolist() == [0, 3]


def test_widest_rows_do_not_overflow() -> None:
    """Codes, tables and digits at their largest and least sum exactly over 65,536 dimensions."""
    octets = np.full((3, 65536), 255, dtype=np.uint8)
    digits = np.full((5, 2, 65536), 127, dtype=np.int8)
    digits[1::2] = -128
    factors = np.array([[0.0, 2.0**-20, 0.0, 0.0]]).repeat(5, axis=0)
    groups = np.full((1, 16384, 16), 255, dtype=np.uint8)
    tables = np.repeat(np.uint8([128, 127]), 16384)[None, :, None].repeat(16, axis=2)
    tables = tables.repeat(5, axis=0)
    ones = np.ones(3, dtype=np.float32)
    whole = np.full((1, 65536, 64), 255, dtype=np.uint8)
    entries = np.full((5, 65536, 256), 255, dtype=np.uint8)
    families: tuple[tuple[Callable[[str], _kernels.Scorer], Int64], ...] = (
        (
            lambda name: _kernels.octets(octets, digits, factors, None, None, name),
            twin.octet_dots(octets, digits),
        ),
        (
            lambda name: _kernels.nibbles(octets, digits, factors, None, None, name),
            twin.nibble_dots(octets, digits),
        ),
        (
            lambda name: _kernels.packed(groups, tables, factors, ones, None, name),
            twin.packed_dots(groups, tables, 3),
        ),
        (
            lambda name: _kernels.looked_up(whole, entries, factors, ones, None, name),
            twin.looked_up_dots(whole, entries, 3),
        ),
    )
    for scorer_of, dots in families:
        expected = twin.affine_scores(dots, factors, None, None)
        for name in VARIANTS:
            scorer = scorer_of(name)
            found = scorer.scan(0, 3, None, 3)
            for query, scores in enumerate(expected):
                np.testing.assert_array_equal(scorer.score(query, np.arange(3)), scores)
                np.testing.assert_array_equal(found[query][1], scores)


@given(
    dim=st.integers(1, 300),
    rows=st.integers(0, 5),
    bits=st.sampled_from([1, 2, 4, 8]),
    exponent=st.integers(-40, 60),
    seed=SEEDS,
)
@settings(max_examples=60)
def test_encoding_equals_the_twin(dim: int, rows: int, bits: int, exponent: int, seed: int) -> None:
    """Rotation, its inverse and quantization give the twin's bits in every variant."""
    rng = np.random.default_rng(seed)
    signs = signs_of(dim)
    draw = tied if seed % 2 else (lambda r, s: r.standard_normal(s, dtype=np.float32))
    vectors = draw(rng, (rows, dim)) * np.float32(2.0**exponent)
    rotated = twin.rotate(vectors, signs)
    codes, factors = twin.quantize(rotated, bits)
    for name in VARIANTS:
        np.testing.assert_array_equal(_kernels.rotate(vectors, signs, name), rotated)
        got_codes, got_factors = _kernels.quantize(rotated, bits, name)
        np.testing.assert_array_equal(got_codes, codes)
        np.testing.assert_array_equal(got_factors, factors)
        back = _kernels.unrotate(rotated, signs, dim, name)
        np.testing.assert_array_equal(back, twin.unrotate(rotated, signs, dim))


@given(
    count=st.integers(1, 5),
    depth=st.integers(1, 30),
    columns=st.integers(1, 80),
    rows=st.integers(0, 9),
    seed=SEEDS,
)
@settings(max_examples=60)
def test_products_equal_the_twin(
    count: int, depth: int, columns: int, rows: int, seed: int
) -> None:
    """Products with codebooks, and the columns that are nearest, are the twin's bits in every
    variant, the first column where several are equal.
    """
    rng = np.random.default_rng(seed)
    draw = tied if seed % 2 else (lambda r, s: r.standard_normal(s, dtype=np.float32))
    vectors, books = draw(rng, (rows, count * depth)), draw(rng, (count, depth, columns))
    lanes = int(rng.choice([16, 32, 48, 256]))
    own, bias = draw(rng, (count, depth, lanes)), draw(rng, (count, lanes))
    for name in VARIANTS:
        found = _kernels.products(vectors, books, name)
        np.testing.assert_array_equal(found, twin.products(vectors, books))
        np.testing.assert_array_equal(
            _kernels.nearest(vectors, own, bias, name), twin.nearest(vectors, own, bias)
        )


@pytest.mark.parametrize("name", VARIANTS)
def test_every_half_widens_exactly(name: str) -> None:
    """Each finite float16, subnormal or not, scores as its value."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(-1, 1)
    # A dimension more than the sixteen that a register holds, with the value at either end.
    rows = np.concatenate([finite, np.zeros((len(finite), 15), np.float16), finite], axis=1)
    queries = np.zeros((2, 17), dtype=np.float32)
    queries[0, 0] = queries[1, 16] = 1
    scorer = _kernels.flat(rows, queries, False, name)
    for query in range(2):
        scores = scorer.score(query, np.arange(len(rows)))
        np.testing.assert_array_equal(scores, finite[:, 0].astype(np.float32))


def test_scores_that_are_not_numbers_are_never_found() -> None:
    """Damaged factors may give NaN and infinities; a scan skips NaN and still sorts the rest."""
    codes = np.zeros((4, 16), dtype=np.uint8)
    scale = np.array([1, np.nan, 2, np.inf], dtype=np.float32)
    factors = np.array([[1.0, 1.0, 0.0, 0.0]])
    for name in VARIANTS:
        scorer = _kernels.octets(codes, np.zeros((1, 2, 16), np.int8), factors, scale, None, name)
        rows, scores = scorer.scan(0, 4, None, 4)[0]
        assert rows.tolist() == [3, 2, 0]
        assert scores.tolist() == [np.inf, 2, 1]


def test_wrong_arguments_are_refused() -> None:
    """Shapes, types, spans and rows that could read out of bounds raise before any loop runs."""
    values = np.zeros((100, 8), dtype=np.float32)
    queries = np.zeros((1, 8), dtype=np.float32)
    scorer = _kernels.flat(values, queries, False)
    words = np.zeros(1, dtype=np.uint64)
    for wrong in (
        lambda: scorer.scan(0, 101, None, 1),
        lambda: scorer.scan(1, 100, None, 1),
        lambda: scorer.scan(-64, 100, None, 1),
        lambda: scorer.scan(64, 0, None, 1),
        lambda: scorer.scan(0, 100, None, 0),
        lambda: scorer.scan(0, 100, words, 1),
        lambda: scorer.score(1, np.array([0])),
        lambda: scorer.score(-1, np.array([0])),
        lambda: scorer.score(0, np.array([100])),
        lambda: scorer.score(0, np.array([-1])),
        lambda: _kernels.flat(values, np.zeros((1, 9), np.float32), False),
        lambda: _kernels.flat(values.astype(np.float64), queries, False),
        lambda: _kernels.flat(values, queries, False, "abacus"),
        lambda: _kernels.quantize(np.zeros((1, 63), np.float32), 1),
        lambda: _kernels.quantize(np.zeros((1, 64), np.float32), 3),
        lambda: _kernels.rotate(np.zeros((1, 65), np.float32), signs_of(64)),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(TypeError):
        _kernels.flat(values[:, ::2], queries[:, ::2], False)


def test_packed_shapes_are_checked_against_each_other() -> None:
    """Too few groups, rows of factors, tables or digits raise ValueError."""
    factors = np.zeros((1, 4))
    scale = np.ones(17, dtype=np.float32)
    groups = np.zeros((2, 8, 16), dtype=np.uint8)
    tables = np.zeros((1, 16, 16), dtype=np.uint8)
    _kernels.packed(groups, tables, factors, scale, scale)
    codes, digits = np.zeros((17, 8), np.uint8), np.zeros((1, 2, 8), np.int8)
    whole, entries = np.zeros((1, 8, 64), np.uint8), np.zeros((1, 8, 256), np.uint8)
    _kernels.looked_up(whole, entries, factors, scale, scale)
    books, bias = np.ones((2, 3, 16), np.float32), np.ones((2, 8), np.float32)
    _kernels.octets(codes, digits, factors, scale, scale)
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: _kernels.packed(groups[:1], tables, factors, scale, None),
        lambda: _kernels.packed(groups, tables[:, :8].copy(), factors, scale, None),
        lambda: _kernels.packed(groups, tables, factors, scale, scale[:16]),
        lambda: _kernels.packed(groups, tables, np.zeros((2, 4)), scale, None),
        lambda: _kernels.packed(groups, tables, factors, None, scale[:16]),
        lambda: _kernels.packed(groups[:, :6].copy(), tables[:, :12].copy(), factors, scale, None),
        lambda: _kernels.looked_up(groups, entries, factors, scale, None),
        lambda: _kernels.looked_up(whole, entries[:, :7].copy(), factors, scale, None),
        lambda: _kernels.looked_up(whole, entries[:, :, :16].copy(), factors, scale, None),
        lambda: _kernels.looked_up(whole, entries, factors, np.ones(65, np.float32), None),
        lambda: _kernels.looked_up(whole[:, :0].copy(), entries[:, :0].copy(), factors, None, None),
        lambda: _kernels.products(np.ones((3, 7), np.float32), books),
        lambda: _kernels.products(np.ones((3, 0), np.float32), books[:0].copy()),
        lambda: _kernels.nearest(np.ones((3, 6), np.float32), books, books[:, 0, :15].copy()),
        lambda: _kernels.nearest(np.ones((3, 6), np.float32), books[:, :, :8].copy(), bias),
        lambda: _kernels.octets(codes, digits[:, :, :7].copy(), factors, scale, None),
        lambda: _kernels.octets(codes, digits[:, :1].copy(), factors, scale, None),
        lambda: _kernels.nibbles(codes, digits, factors, scale[:16], None),
        lambda: _kernels.nibbles(codes, digits, np.full((1, 4), np.nan), scale, None),
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected"):
            wrong()


def test_signs_and_totals_are_checked() -> None:
    """Too few signs, lengths, entries, rows, queries or gains raise ValueError."""
    codes, signs = np.zeros((17, 8), np.uint8), np.zeros((1, 8), np.uint8)
    one, each = np.ones(1, dtype=np.float32), np.ones(17, dtype=np.float32)
    table = np.zeros(65, dtype=np.float32)
    term = _kernels.signs(codes, signs, one, table, each, True)
    other = _kernels.signs(codes[:16], signs, one, table, None, False)
    slow = _kernels.signs(codes, signs, one, table, each, True, VARIANTS[0])
    both = _kernels.total([term, term], [None, each], each, one)
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: _kernels.signs(codes, signs[:, :7].copy(), one, table, None, False),
        lambda: _kernels.signs(codes, signs, each, table, None, False),
        lambda: _kernels.signs(codes, signs, one, table[:64], None, False),
        lambda: _kernels.signs(codes, signs, one, table, None, True),
        lambda: _kernels.signs(codes, signs, one, table, one, False),
        lambda: _kernels.total([], [], None, None),
        lambda: _kernels.total([term, other], [None, None], None, None),
        lambda: _kernels.total([term, both], [None, None], None, None),
        lambda: _kernels.total([term], [None, None], None, None),
        lambda: _kernels.total([term], [each], None, None),
        lambda: _kernels.total([term, term], [None, one], None, None),
        lambda: _kernels.total([term], [None], each, None),
        lambda: _kernels.total([term], [None], one, one),
        lambda: _kernels.octets(
            codes, np.zeros((1, 2, 8), np.int8), np.zeros((1, 4)), None, None, None, each
        ),
        lambda: _kernels.octets(
            codes, np.zeros((1, 2, 8), np.int8), np.zeros((1, 5)), None, None, None, one
        ),
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected"):
            wrong()
    if len(VARIANTS) > 1:
        with pytest.raises(ValueError, match="variant"):
            _kernels.total([term, slow], [None, None], None, None)


@given(st.integers(0, 3 * 4096 + 1))
def test_read_pages_reads_any_length(size: int) -> None:
    """Bytes of any length can be read ahead, and stay as they were."""
    data = np.arange(size, dtype=np.uint64).astype(np.uint8)
    _kernels.read_pages(data)
    np.testing.assert_array_equal(data, np.arange(size, dtype=np.uint64).astype(np.uint8))
