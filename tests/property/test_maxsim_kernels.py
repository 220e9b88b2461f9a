"""Late interaction in C++ against its NumPy twin, bit for bit, in every variant that runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.kernel_cases import VARIANTS, bitmap, tied
from tests.reference import kernels as rows_twin
from tests.reference import maxsim as twin
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Uint8, Uint64

SEEDS = st.integers(0, 2**32)
VECTORS = st.integers(1, 40) | st.sampled_from([64, 65, 96, 97, 129, 257])
DIGITS = {2: 8, 3: 5, 4: 4, 16: 2, 256: 1}


@dataclass(frozen=True)
class Case:
    """One kernel of each variant for the same documents and queries, and the twin's scores."""

    scores: Float32
    kernels: list[_kernels.MaxSim]


@dataclass(frozen=True)
class Documents:
    """Documents of 0 to 90 tokens, some longer, some of whose offsets may be wrong."""

    offsets: Uint64
    tokens: int
    budget: int | None

    @property
    def runs(self) -> list[range]:
        return twin.runs(self.offsets, self.tokens, self.budget)


def documents(rng: np.random.Generator, count: int) -> Documents:
    lengths = rng.choice([0, 1, 2, 5, 31, 32, 33, 90], count)
    lengths[rng.integers(0, count)] += int(rng.integers(0, 200))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    tokens = int(offsets[-1])
    if rng.random() < 0.3:
        offsets[rng.integers(0, count + 1, 2)] = rng.choice(
            np.array([0, tokens, tokens + 9, 2**63, 2**64 - 1], dtype=np.uint64), 2
        )
    budget = None if rng.random() < 0.5 else int(rng.integers(1, 70))
    return Documents(offsets, tokens, budget)


def some_ids(rng: np.random.Generator, tokens: int, centroids: int) -> Array:
    """Ids of centroids, in one case of three beyond the last one, too."""
    kind = np.uint16 if centroids > 256 or rng.random() < 0.5 else np.uint8
    most = np.iinfo(kind).max + 1 if rng.random() < 0.3 else centroids
    return rng.integers(0, most, tokens).astype(kind)


def ids_case(rng: np.random.Generator, given: Documents, vectors: int) -> Case:
    centroids = int(rng.choice([1, 7, 256, 300]))
    queries = int(rng.integers(1, 4))
    width = -(-vectors // 32) * 32
    tables = rng.integers(0, 256, (queries, centroids, width), dtype=np.uint8)
    if rng.random() < 0.3:
        tables[:] = rng.integers(0, 2)
    factors = rng.standard_normal((queries, 2))
    ids = some_ids(rng, given.tokens, centroids)
    return Case(
        twin.id_scores(given.runs, ids, tables, factors),
        [
            _kernels.maxsim_ids(given.offsets, given.budget, ids, tables, factors, name)
            for name in VARIANTS
        ],
    )


def octets_case(rng: np.random.Generator, given: Documents, vectors: int) -> Case:
    dim = int(rng.choice([1, 3, 8, 30, 64, 100, 128, 130, 256, 259]))
    radix = int(rng.choice(list(DIGITS)))
    shape = (given.tokens, -(-dim // DIGITS[radix]))
    codes = rng.integers(0, 256, shape, dtype=np.uint8)
    levels = rng.integers(0, 256, 16, dtype=np.uint8)
    count = int(rng.choice([1, 5, 256, 300]))
    centred = radix != 256 and rng.random() < 0.7
    ids = some_ids(rng, given.tokens, count) if centred else None
    centroids = rng.integers(0, 256, (count, dim), dtype=np.uint8) if centred else None
    scaled = rng.random() < 0.7
    inverse = rng.integers(0, 256, given.tokens, dtype=np.uint8) if scaled else None
    inverses = rng.random(256, dtype=np.float32) * 2 if scaled else None
    asked = rng.integers(-128, 128, (int(rng.integers(1, 3)), vectors, dim), dtype=np.int8)
    steps = rng.random(len(asked))
    own = np.ones(given.tokens, dtype=np.float32)
    if inverse is not None and inverses is not None:
        own = inverses[inverse]
    tokens = twin.octets(codes, radix, dim, levels, ids, centroids)
    return Case(
        twin.octet_scores(given.runs, tokens, own, asked, steps),
        [
            _kernels.maxsim_octets(
                given.offsets,
                given.budget,
                codes,
                radix,
                levels,
                ids,
                centroids,
                inverse,
                inverses,
                asked,
                steps,
                name,
            )
            for name in VARIANTS
        ],
    )


def floats_case(rng: np.random.Generator, given: Documents, vectors: int) -> Case:
    dim = int(rng.choice([1, 15, 16, 30, 128, 1030]))
    values = tied(rng, (given.tokens, dim)).astype("f2" if rng.random() < 0.5 else "f4")
    asked = rng.standard_normal((int(rng.integers(1, 3)), vectors, dim), dtype=np.float32)
    return Case(
        twin.float_scores(given.runs, values, asked),
        [
            _kernels.maxsim_floats(given.offsets, given.budget, values, asked, name)
            for name in VARIANTS
        ],
    )


def rows_case(rng: np.random.Generator, given: Documents, vectors: int) -> Case:
    dim = int(rng.choice([1, 16, 30, 128]))
    values = tied(rng, (given.tokens, dim)).astype("f2" if rng.random() < 0.5 else "f4")
    asked = rng.standard_normal((vectors, dim), dtype=np.float32)
    scores = twin.row_scores(given.runs, rows_twin.flat_scores(values, asked, False))
    scorers = [_kernels.flat(values, asked, False, name) for name in VARIANTS]
    return Case(
        scores[None],
        [_kernels.maxsim_rows(given.offsets, given.budget, scorer) for scorer in scorers],
    )


Family = Callable[[np.random.Generator, Documents, int], Case]


@pytest.mark.parametrize("family", [ids_case, octets_case, floats_case, rows_case])
@given(count=st.integers(1, 150), vectors=VECTORS, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_documents_score_as_the_twin(family: Family, count: int, vectors: int, seed: int) -> None:
    """Every variant scores and ranks documents of any span, bitmap, budget and keep as the twin
    does, finds none without tokens, and leaves no memory, whatever the offsets and ids.
    """
    rng = np.random.default_rng(seed)
    drawn = documents(rng, count)
    case = family(rng, drawn, vectors)
    start = int(rng.integers(0, count + 1))
    stop = int(rng.integers(start, count + 1))
    keep = int(rng.choice([1, 2, 10, count]))
    allowed = bitmap(rng, count)
    some = rng.integers(0, count, 20)
    for kernel in case.kernels:
        found = kernel.scan(start, stop, allowed, keep)
        assert len(found) == len(case.scores)
        for q, (scores, (got, got_scores)) in enumerate(zip(case.scores, found, strict=True)):
            np.testing.assert_array_equal(kernel.score(q, some), scores[some])
            expected = twin.best(scores, allowed, range(start, stop), keep)
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(got_scores, scores[expected])


@given(
    centroids=st.integers(1, 70),
    dim=st.integers(1, 140),
    vectors=VECTORS,
    queries=st.integers(1, 3),
    seed=SEEDS,
)
@settings(max_examples=60, deadline=None)
def test_tables_are_the_twins(
    centroids: int, dim: int, vectors: int, queries: int, seed: int
) -> None:
    """Every variant makes the twin's tables, whose entries are at most half a step off; vectors of
    zeros, and those that fill up a table, add nothing to any document.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (centroids, dim), dtype=np.uint8)
    asked = rng.integers(-128, 128, (queries, vectors, dim), dtype=np.int8)
    asked[:, vectors // 2] = 0
    tables, factors = twin.id_tables(rows, asked)
    for name in VARIANTS:
        got, got_factors = _kernels.id_tables(rows, asked, name)
        np.testing.assert_array_equal(got, tables)
        np.testing.assert_array_equal(got_factors, factors)
    dots = (rows.astype(np.int64) - 128) @ asked.astype(np.int64).transpose(0, 2, 1)
    entries = tables[:, :, :vectors] * factors[:, :1, None] + dots.min(axis=1)[:, None]
    # Float32 rounds sums of more than 24 bits, and the products with the step.
    slack = 1e-4 * factors[:, :1, None] + 1e-6 * np.abs(dots).max()
    assert np.all(np.abs(entries - dots) <= 0.5 * factors[:, :1, None] + slack)
    assert not tables[:, :, vectors:].any()
    assert not tables[:, :, vectors // 2].any()


def test_largest_values_sum_exactly() -> None:
    """Octets and queries at their largest and least, over 4,096 dimensions, do not overflow."""
    offsets = np.array([0, 5], dtype=np.uint64)
    codes = np.repeat(np.uint8([[0], [255]]), 4096, axis=1)[[1, 0, 1, 1, 0]]
    asked = np.repeat(np.int8([[127], [-128]]), 4096, axis=1)[None, [0, 1, 0]]
    levels, steps = np.zeros(16, dtype=np.uint8), np.ones(1)
    ones = np.ones(5, dtype=np.float32)
    expected = twin.octet_scores([range(5)], codes, ones, asked, steps)
    tables, factors = twin.id_tables(codes, asked)
    for name in VARIANTS:
        kernel = _kernels.maxsim_octets(
            offsets, None, codes, 256, levels, None, None, None, None, asked, steps, name
        )
        np.testing.assert_array_equal(kernel.score(0, np.array([0])), expected[0])
        got, got_factors = _kernels.id_tables(codes, asked, name)
        np.testing.assert_array_equal(got, tables)
        np.testing.assert_array_equal(got_factors, factors)


def octets_of(codes: Uint8, asked: Array, **changed: object) -> _kernels.MaxSim:
    """A kernel of two documents of two tokens, with some arguments changed."""
    ordinary: dict[str, object] = {
        "offsets": np.array([0, 2, 4], dtype=np.uint64),
        "budget": None,
        "radix": 4,
        "levels": np.zeros(16, dtype=np.uint8),
        "ids": np.zeros(4, dtype=np.uint16),
        "centroids": np.zeros((3, 8), dtype=np.uint8),
        "inverse": np.zeros(4, dtype=np.uint8),
        "inverses": np.zeros(256, dtype=np.float32),
        "steps": np.ones(1),
    }
    make: Callable[..., _kernels.MaxSim] = _kernels.maxsim_octets
    return make(codes=codes, queries=asked, **(ordinary | changed))


def test_what_does_not_fit_is_refused() -> None:
    """Arrays of other shapes, queries, documents and budgets that cannot be raise ValueError."""
    codes, asked = np.zeros((4, 2), dtype=np.uint8), np.zeros((1, 3, 8), dtype=np.int8)
    kernel = octets_of(codes, asked)
    wrong: list[dict[str, object]] = [
        {"offsets": np.zeros(0, dtype=np.uint64)},
        {"budget": 0},
        {"radix": 5},
        {"radix": 16},
        {"levels": np.zeros(4, dtype=np.uint8)},
        {"ids": np.zeros(3, dtype=np.uint16)},
        {"ids": np.zeros(4, dtype=np.uint32)},
        {"ids": None},
        {"centroids": np.zeros((3, 7), dtype=np.uint8)},
        {"centroids": np.zeros((0, 8), dtype=np.uint8)},
        {"ids": np.zeros(4, dtype=np.uint8), "centroids": np.zeros((257, 8), dtype=np.uint8)},
        {"inverse": np.zeros(3, dtype=np.uint8)},
        {"inverses": np.zeros(255, dtype=np.float32)},
        {"inverses": None},
        {"steps": np.ones(2)},
    ]
    for changed in wrong:
        with pytest.raises(ValueError, match="expected"):
            octets_of(codes, asked, **changed)
    with pytest.raises(ValueError, match="expected queries"):
        octets_of(codes, np.zeros((1, 3, 4097), dtype=np.int8))
    for span in ((-1, 1), (2, 1), (0, 3)):
        with pytest.raises(ValueError, match="expected 0 <= start"):
            kernel.scan(*span, None, 1)
    with pytest.raises(ValueError, match="expected keep"):
        kernel.scan(0, 2, None, 0)
    with pytest.raises(ValueError, match="expected a word"):
        kernel.scan(0, 2, np.zeros(0, dtype=np.uint64), 1)
    with pytest.raises(ValueError, match="expected the position"):
        kernel.score(1, np.array([0]))
    for document in (-1, 2):
        with pytest.raises(ValueError, match="expected documents"):
            kernel.score(0, np.array([document]))


def test_tables_that_do_not_fit_are_refused() -> None:
    """Tables and scorers of other shapes than their documents' raise ValueError."""
    offsets, ids = np.array([0, 2], dtype=np.uint64), np.zeros(2, dtype=np.uint8)
    for shape, factors in (((1, 4, 31), (1, 2)), ((1, 257, 32), (1, 2)), ((1, 4, 32), (2, 2))):
        with pytest.raises(ValueError, match="expected"):
            _kernels.maxsim_ids(
                offsets, None, ids, np.zeros(shape, dtype=np.uint8), np.zeros(factors)
            )
    with pytest.raises(ValueError, match="expected centroids and queries"):
        _kernels.id_tables(np.zeros((4, 3), dtype=np.uint8), np.zeros((1, 2, 4), dtype=np.int8))
    with pytest.raises(ValueError, match="expected 1 to 65,536"):
        _kernels.id_tables(np.zeros((0, 4), dtype=np.uint8), np.zeros((1, 2, 4), dtype=np.int8))
    groups, tables = np.zeros((1, 4, 16), dtype=np.uint8), np.zeros((1, 8, 16), dtype=np.uint8)
    packed = _kernels.packed(groups, tables, np.zeros((1, 4)), None, None)
    with pytest.raises(ValueError, match="expected a scorer of rows"):
        _kernels.maxsim_rows(offsets, None, packed)
    for values, asked in (((2, 4), (1, 2, 3)), ((2, 3), (1, 0, 3)), ((2, 0), (1, 2, 0))):
        floats, queries = np.zeros(values, np.float32), np.zeros(asked, np.float32)
        with pytest.raises(ValueError, match="expected"):
            _kernels.maxsim_floats(offsets, None, floats, queries)
    with pytest.raises(ValueError, match="expected values of float32 or float16"):
        _kernels.maxsim_floats(offsets, None, np.zeros((2, 3)), np.zeros((1, 2, 3), np.float32))
    nobody = _kernels.flat(np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32), False)
    with pytest.raises(ValueError, match="expected a scorer of at least one"):
        _kernels.maxsim_rows(offsets, None, nobody)
