"""Laws of pruning, pooling and the order of importance, and their kernels against the twins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.kernel_cases import tied
from tests.reference import sets as twin
from vecstore.kernels import _kernels
from vecstore.multivector import pool as pooling
from vecstore.multivector.policy import Policy, parse
from vecstore.multivector.prune import by_importance, coverage_order, idf
from vecstore.multivector.reduce import apply
from vecstore.multivector.sets import TokenSets, offsets_of, products
from vecstore.types import Array, Float32

SEEDS = st.integers(0, 2**32)
BY_SALIENCE = ("salience0.5", "salience1", "salience+1.0std", "salience-0.5std")
PRUNING = ("first3", "fixed4", "share0.5", "coverage0.3", "coverage1", *BY_SALIENCE)
POOLING = ("ward1", "ward2", "ward2.5", "kmeans3", "fixed4")
POLICIES = st.sampled_from(
    [("pruning", text) for text in PRUNING] + [("pooling", text) for text in POOLING]
)


def policy_of(work_and_text: tuple[str, str]) -> Policy:
    work, text = work_and_text
    policy = parse(text, "pruning" if work == "pruning" else "pooling")
    assert policy is not None
    return policy


def some_vectors(rng: np.random.Generator, tokens: int) -> Float32:
    """Random, tied, all equal, zero or enormous."""
    dim = int(rng.integers(1, 20))
    kind = rng.integers(0, 6)
    if kind == 0:
        return np.zeros((tokens, dim), dtype=np.float32)
    if kind == 1:
        return np.repeat(rng.standard_normal((1, dim), dtype=np.float32), tokens, axis=0)
    if kind == 2:
        return tied(rng, (tokens, dim))
    scale = np.float32({3: 1e18, 4: 1e-20}.get(int(kind), 1))
    return rng.standard_normal((tokens, dim), dtype=np.float32) * scale


def some_sets(rng: np.random.Generator, *, weighed: bool, unit: bool = False) -> TokenSets:
    lengths = rng.choice([0, 1, 2, 3, 8, 30], int(rng.integers(0, 6))).tolist()
    vectors = some_vectors(rng, sum(lengths))
    if unit:
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        vectors = np.where(norms > 0, vectors / np.where(norms > 0, norms, 1), 1.0)
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    salience = tied(rng, (sum(lengths),)).astype(np.float16) if weighed else None
    return TokenSets(vectors=vectors, offsets=offsets_of(lengths), salience=salience)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(0, 40))
def test_ward_equals_its_twin(seed: int, count: int) -> None:
    """The kernel makes the clusters that the twin makes, whatever the products."""
    rng = np.random.default_rng(seed)
    rows = some_vectors(rng, count)
    between = products(rows, rows)
    sizes = rng.integers(1, 9, count).astype(np.float32)
    for clusters in {1, count // 2, count} - {0} if count else set():
        with np.errstate(all="ignore"):
            expected = twin.ward_clusters(between, sizes, clusters)
        np.testing.assert_array_equal(_kernels.ward_clusters(between, sizes, clusters), expected)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 10))
def test_chains_find_what_ward_finds(seed: int, count: int) -> None:
    """Clusters are as tight as those that merging the cheapest pair of all makes."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 4)).astype(np.float32)
    clusters = int(rng.integers(1, count + 1))
    labels = pooling.ward_labels(rows, clusters)
    found = sum(twin.spread(rows[labels == label].astype(np.float64)) for label in range(clusters))
    expected = twin.greedy_ward_cost(rows.astype(np.float64), clusters)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(0, 30), st.integers(0, 40))
def test_coverage_equals_its_twin(seed: int, count: int, points: int) -> None:
    """The lazy kernel finds the order that trying every vector each time finds, ties and all."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if rng.random() < 0.5 else lambda shape: tied(rng, shape)
    scores = np.asarray(draw((count, points)), dtype=np.float32)
    assert _kernels.coverage_order(scores).tolist() == twin.coverage_order(scores)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([np.nan, np.inf, -np.inf]))
def test_hostile_numbers_are_survived(seed: int, value: float) -> None:
    """NaN and infinities still give a permutation, and as many clusters as were asked for."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((9, 9)).astype(np.float32)
    scores[rng.random((9, 9)) < 0.5] = value
    assert sorted(_kernels.coverage_order(scores).tolist()) == list(range(9))
    labels = _kernels.ward_clusters(scores, np.ones(9, dtype=np.float32), 4)
    assert sorted(set(labels.tolist())) == [0, 1, 2, 3]


def test_kernels_refuse_what_does_not_fit() -> None:
    """Shapes, sizes and numbers of clusters that cannot be are refused."""
    square, ones = np.zeros((3, 3), dtype=np.float32), np.ones(3, dtype=np.float32)
    wrong: list[tuple[Float32, Float32, int]] = [
        (square[:2], ones, 1),
        (square, ones[:2], 1),
        (square, ones * 0, 1),
        (square, ones * np.float32(np.nan), 1),
        (square, ones, 0),
        (square, ones, 4),
    ]
    for between, sizes, clusters in wrong:
        with pytest.raises(ValueError, match="expected"):
            _kernels.ward_clusters(between, sizes, clusters)


@settings(deadline=None, max_examples=40)
@given(SEEDS, POLICIES, st.booleans(), st.sampled_from(["cosine", "dot"]))
def test_no_record_loses_all_tokens(
    seed: int, policy_text: tuple[str, str], weighed: bool, metric: str
) -> None:
    """A record that has tokens keeps some, as many as the policy says, of finite numbers."""
    policy = policy_of(policy_text)
    sets = some_sets(np.random.default_rng(seed), weighed=weighed or policy.needs_salience)
    found = apply(policy, sets, "cosine" if metric == "cosine" else "dot")
    assert len(found) == len(sets)
    assert (found.lengths <= sets.lengths).all()
    assert ((found.lengths > 0) == (sets.lengths > 0)).all()
    if not policy.needs_salience:
        most = [policy.count(tokens) for tokens in sets.lengths.tolist()]
        if policy.method == "kmeans":
            assert (found.lengths <= most).all()
        else:
            assert found.lengths.tolist() == most
    assert len(found.vectors) == int(found.offsets[-1])
    assert np.isfinite(found.vectors).all()
    assert found.vectors.dtype == sets.vectors.dtype
    assert (found.salience is None) == (sets.salience is None)


@settings(deadline=None, max_examples=40)
@given(SEEDS, POLICIES, st.booleans())
def test_places_point_to_the_tokens_given(
    seed: int, policy_text: tuple[str, str], weighed: bool
) -> None:
    """Places are distinct within a record, and those of pruned tokens lead to these tokens."""
    policy = policy_of(policy_text)
    sets = some_sets(np.random.default_rng(seed), weighed=weighed or policy.needs_salience)
    found = apply(policy, sets, "dot")
    places = found.all_places()
    for before, after in zip(sets.records(), found.records(), strict=True):
        own = places[after].tolist()
        assert len(set(own)) == len(own)
        assert all(0 <= place < before.stop - before.start for place in own)
        if policy.work == "pruning":
            np.testing.assert_array_equal(sets.vectors[before][own], found.vectors[after])
            if sets.salience is not None and found.salience is not None:
                np.testing.assert_array_equal(sets.salience[before][own], found.salience[after])


@settings(deadline=None, max_examples=40)
@given(SEEDS, POLICIES)
def test_records_are_reduced_by_themselves(seed: int, policy_text: tuple[str, str]) -> None:
    """Records one at a time are reduced to what they are reduced to together."""
    policy = policy_of(policy_text)
    sets = some_sets(np.random.default_rng(seed), weighed=policy.needs_salience)
    found = apply(policy, sets, "cosine")
    for before, after in zip(sets.records(), found.records(), strict=True):
        alone = apply(
            policy,
            TokenSets(
                vectors=sets.vectors[before],
                offsets=offsets_of([before.stop - before.start]),
                salience=None if sets.salience is None else sets.salience[before],
            ),
            "cosine",
        )
        np.testing.assert_array_equal(alone.vectors, found.vectors[after])
        np.testing.assert_array_equal(alone.all_places(), found.all_places()[after])


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from(POOLING), st.booleans())
def test_pooled_tokens_of_cosine_are_of_unit_length(seed: int, text: str, weighed: bool) -> None:
    """Means of unit vectors are brought to unit length, opposite ones too; the first ones are
    the most salient.
    """
    sets = some_sets(np.random.default_rng(seed), weighed=weighed, unit=True)
    found = apply(policy_of(("pooling", text)), sets, "cosine")
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    if found.salience is not None and text != "ward1":
        for rows in found.records():
            assert (np.diff(found.salience[rows]) <= 0).all()


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.booleans())
def test_order_is_a_permutation_that_shares_nest_in(seed: int, weighed: bool) -> None:
    """The most important tokens are the first of all in order of importance, however many."""
    sets = some_sets(np.random.default_rng(seed), weighed=weighed)
    ordered = by_importance(sets)
    kept = [apply(policy_of(("pruning", f"fixed{count}")), sets, "dot") for count in (1, 2, 5, 99)]
    for number, rows in enumerate(ordered.records()):
        places = ordered.all_places()[rows].tolist()
        assert sorted(places) == list(range(len(places)))
        for found in kept:
            own = list(found.records())[number]
            assert found.all_places()[own].tolist() == places[: own.stop - own.start]


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 25))
def test_coverage_does_not_depend_on_the_order_of_tokens(seed: int, count: int) -> None:
    """Tokens in another order cover as much with their first ones."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 8)).astype(np.float32)
    shuffled = rows[rng.permutation(count)]
    first, second = rows[coverage_order(rows)], shuffled[coverage_order(shuffled)]
    np.testing.assert_allclose(covered(first, rows), covered(second, rows), rtol=1e-3, atol=1e-4)


def covered(ordered: Array, rows: Array) -> Array:
    """What the first 1, 2 ... tokens cover."""
    return np.maximum.accumulate(ordered @ rows.T, axis=0).sum(axis=1)


@given(SEEDS, st.floats(0.01, 1), st.integers(1, 50))
def test_top_p_is_the_smallest_set(seed: int, share: float, count: int) -> None:
    """The kept tokens have the share of salience, and without the least of them they have not."""
    rng = np.random.default_rng(seed)
    salience = rng.integers(0, 64, count).astype(np.float32)
    text = f"salience{share:.6f}"
    sets = TokenSets(
        vectors=np.zeros((count, 1), dtype=np.float32),
        offsets=offsets_of([count]),
        salience=salience,
    )
    found = apply(policy_of(("pruning", text)), sets, "dot").salience
    assert found is not None
    target = float(text.removeprefix("salience")) * salience.sum(dtype=np.float64)
    assert found.sum(dtype=np.float64) >= target
    assert len(found) == 1 or found[:-1].sum(dtype=np.float64) < target


def test_deviations_keep_what_stands_out() -> None:
    """Tokens of at least mean + k deviations stay; of equal ones all do; of one, that one."""
    keep: Callable[[list[float], str], list[int]] = lambda values, text: (  # noqa: E731
        apply(
            policy_of(("pruning", text)),
            TokenSets(
                vectors=np.zeros((len(values), 2), dtype=np.float32),
                offsets=offsets_of([len(values)]),
                salience=np.array(values, dtype=np.float32),
            ),
            "dot",
        )
        .all_places()
        .tolist()
    )
    assert keep([1, 9, 1, 1], "salience+1std") == [1]
    assert keep([0.1] * 7, "salience+0.0std") == [0, 1, 2, 3, 4, 5, 6]
    assert keep([1, 2, 3, 4], "salience-1.0std") == [3, 2, 1]
    assert keep([1, 2, 3, 4], "salience+9std") == [3]


def test_pooling_merges_what_is_alike() -> None:
    """Three directions, each met several times, are the three pooled tokens, by either method."""
    rng = np.random.default_rng(5)
    rows = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 40)]
    rows = rows + rng.standard_normal((40, 3)).astype(np.float32) * 0.01
    for text in ("fixed3", "kmeans3", "ward14"):
        sets = TokenSets(vectors=rows, offsets=offsets_of([40]))
        found = apply(policy_of(("pooling", text)), sets, "cosine").vectors
        np.testing.assert_allclose(sorted(found.argmax(axis=1)), [0, 1, 2])
        np.testing.assert_allclose(found.max(axis=1), 1, atol=1e-3)


def test_long_records_are_pooled_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records longer than a run get as many clusters as asked, of what is alike."""
    monkeypatch.setattr(pooling, "_RUN", 16)
    rng = np.random.default_rng(6)
    kinds = rng.integers(0, 3, 150)
    rows = np.eye(3, dtype=np.float32)[kinds] + rng.standard_normal((150, 3)) * 0.01
    for clusters in (1, 2, 3, 40, 100, 149, 150):
        labels = pooling.ward_labels(rows, clusters)
        assert sorted(set(labels.tolist())) == list(range(clusters))
    labels = pooling.ward_labels(rows, 3)
    assert len({(kind, label) for kind, label in zip(kinds, labels, strict=True)}) == 3


def test_idf_is_less_where_more_records_have_a_token() -> None:
    """Common tokens have less salience than rare ones, stop tokens none, ids and strings alike."""
    words = ["the", "sky", "the", "the", "sea", "sky", "sky"]
    offsets = np.array([0, 2, 2, 5, 7])
    found = idf(words, offsets, stop=["the"])
    np.testing.assert_allclose(found[[1, 4]], np.log1p([4 / 2, 4 / 1]), rtol=1e-6)
    assert found[[0, 2, 3]].tolist() == [0, 0, 0]
    numbers = np.unique(words, return_inverse=True)[1]
    stopped = numbers[words.index("the")]
    np.testing.assert_array_equal(idf(numbers, offsets, stop=[stopped]), found)
    assert len(idf([], np.zeros(1))) == 0
