"""Policies as text, reports, and pictures of sets of vectors."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vecstore.errors import DimensionError, SchemaError, VectorError
from vecstore.multivector.draw import draw_heat, draw_report
from vecstore.multivector.heat import matched_scores, matches, token_scores
from vecstore.multivector.policy import parse
from vecstore.multivector.reduce import apply
from vecstore.multivector.report import ndcg, reciprocal_rank, token_report
from vecstore.multivector.sets import TokenSets, offsets_of
from vecstore.types import Float32, TokenMatches


@pytest.mark.parametrize(
    ("text", "count"),
    [("first128", 7), ("fixed3", 3), ("share0.5", 4), ("coverage0.1", 1), ("share1", 7)],
)
def test_pruning_says_how_many_stay(text: str, count: int) -> None:
    """A pruning policy is read, and leaves so many of 7 tokens."""
    policy = parse(text, "pruning")
    assert policy is not None
    assert policy.count(7) == count
    assert policy.count(0) == 0


@pytest.mark.parametrize(("text", "count"), [("ward3", 3), ("ward2.5", 3), ("kmeans8", 7)])
def test_pooling_says_how_many_are_left(text: str, count: int) -> None:
    """A pooling policy is read, and leaves so many of 7 tokens."""
    policy = parse(text, "pooling")
    assert policy is not None
    assert policy.count(7) == count


def test_shares_are_exact() -> None:
    """A share of 7 hundredths of 100 tokens is 7, though 0.07 * 100 is more in floating point."""
    policy = parse("share0.07", "pruning")
    assert policy is not None
    assert policy.amount == Fraction(7, 100)
    assert policy.count(100) == 7


def test_no_policy_is_none() -> None:
    """Empty text is no policy, which leaves everything as it is."""
    sets = TokenSets(vectors=np.ones((2, 2), dtype=np.float32), offsets=offsets_of([2]))
    assert parse("", "pruning") is None
    assert apply(None, sets, "dot") is sets


@pytest.mark.parametrize(
    "text",
    ["first", "first0", "first1.5", "first65536", "share0", "share1.1", "salience+std", "ward2"],
)
def test_unknown_pruning_is_refused(text: str) -> None:
    """What is not in the grammar of pruning is refused with what is expected."""
    with pytest.raises(SchemaError, match=r"policy .*expected"):
        parse(text, "pruning")


@pytest.mark.parametrize("text", ["ward0.5", "ward", "kmeans0", "coverage0.5", "ward3 "])
def test_unknown_pooling_is_refused(text: str) -> None:
    """What is not in the grammar of pooling is refused with what is expected."""
    with pytest.raises(SchemaError, match=r"policy .*expected"):
        parse(text, "pooling")


def test_salience_is_asked_for() -> None:
    """A policy by salience says that there is none."""
    sets = TokenSets(vectors=np.ones((2, 2), dtype=np.float32), offsets=offsets_of([2]))
    with pytest.raises(VectorError, match="needs the salience"):
        apply(parse("salience0.5", "pruning"), sets, "dot")


def some_sets(seed: int, records: int) -> tuple[TokenSets, list[Float32]]:
    """Records of 0 to 12 tokens, and queries made of some of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 13, records).tolist()
    vectors = rng.standard_normal((sum(lengths), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sets = TokenSets(vectors=vectors, offsets=offsets_of(lengths))
    return sets, [vectors[rows] for rows in sets.records() if rows.stop > rows.start][:9]


def test_report_does_not_depend_on_blocks() -> None:
    """A report of blocks of records is that of all at once; its first row is all tokens."""
    sets, queries = some_sets(1, 40)
    first = TokenSets(vectors=sets.vectors[: int(sets.offsets[17])], offsets=sets.offsets[:18])
    rest = TokenSets(
        vectors=sets.vectors[int(sets.offsets[17]) :], offsets=sets.offsets[17:] - sets.offsets[17]
    )
    records = [i for i, tokens in enumerate(sets.lengths) if tokens][:9]
    found = [
        token_report(
            blocks,
            queries,
            "cosine",
            policies=[("coverage0.5", ""), ("", "ward2")],
            budgets=[3],
            judgments=[{record: 1} for record in records],
        )
        for blocks in ([sets], [first, rest])
    ]
    assert found[0] == found[1]
    full, *others = found[0].rows
    assert (full.kept, full.overlap, full.ndcg, full.mrr) == (1, 1, 1, 1)
    assert len(others) == 5
    assert all(0 < row.kept < 1 and 0 <= row.overlap <= 1 for row in others)
    assert found[0].tokens == len(sets.vectors)


def test_report_without_judgments_has_overlap_alone() -> None:
    """Without judgments nDCG and MRR are unknown."""
    sets, queries = some_sets(2, 8)
    (row,) = token_report([sets], queries, "dot").rows
    assert (row.overlap, row.ndcg, row.mrr) == (1, None, None)


def test_measures_are_those_of_the_books() -> None:
    """nDCG@10 and MRR@10 of a ranking worked out by hand."""
    found = np.array([5, 3, 9])
    grades = {3: 2.0, 7: 1.0}
    assert reciprocal_rank(found, grades) == 0.5
    assert reciprocal_rank(found, {1: 1}) == 0
    assert ndcg(found, grades) == pytest.approx((2 / np.log2(3)) / (2 + 1 / np.log2(3)))


def test_matches_name_the_best_token() -> None:
    """Each vector of a query is matched with the first of its best tokens, as they were given."""
    query = np.array([[1, 0], [0, 2]], dtype=np.float32)
    tokens = np.array([[0, 1], [1, 0], [0.5, 1]], dtype=np.float16)
    found = matches(query, tokens)
    assert found.tokens.tolist() == [1, 0]
    assert found.scores.tolist() == [1, 2]
    placed = matches(query, tokens, places=np.array([7, 4, 5], dtype=np.uint16))
    assert placed.tokens.tolist() == [4, 5]
    assert token_scores(query, tokens).tolist() == [[0, 1, 0.5], [2, 0, 2]]


def test_what_matched_adds_up() -> None:
    """Tokens score the sum of what they match; those that match nothing, and are asked for, 0."""
    found = TokenMatches(np.array([2, 0, 2]), np.array([1, 2, 4], dtype=np.float32))
    assert matched_scores(found, range(1, 5)).tolist() == [0, 5, 0, 0]
    assert matched_scores(found, range(3)).sum() == found.scores.sum()
    assert matched_scores(found, range(0)).shape == (0,)


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """A report and a heat map become PNG files; scores that are no grid are refused."""
    pytest.importorskip("matplotlib")
    sets, queries = some_sets(3, 12)
    for judgments in (None, [{0: 1}] * len(queries)):
        report = token_report(
            [sets], queries, "dot", policies=[("", "ward2")], budgets=[2], judgments=judgments
        )
        path = draw_report(report, tmp_path / "report.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    page = np.zeros((40, 30, 3), dtype=np.uint8)
    scores = np.linspace(0, 1, 12, dtype=np.float32)
    assert draw_heat(page, (4, 3), scores, tmp_path / "heat.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(DimensionError, match="grid of 4 x 4"):
        draw_heat(page, (4, 4), scores, tmp_path / "heat.png")
