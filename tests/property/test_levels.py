"""Codecs of several levels or planes, and those that they contain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.property.test_codecs import METRICS, built, clustered, gaussian, scores_of
from tests.reference import codecs as twin
from vecstore.codec import build_codec, parse_spec
from vecstore.codec.base import layout_of
from vecstore.codec.rotation import rotate
from vecstore.codec.spec import CODECS
from vecstore.types import Float32, Float64, Metric

CONTAINING = tuple(text for text in CODECS if parse_spec(text, 384).contained)
LVQ = ("lvq4", "lvq8", "lvq4x4", "lvq4x8")
BEBR = ("bebr1", "bebr2", "bebr3", "bebr4")


def affine(queries: Float32, values: Float64, metric: Metric, lengths: Float64) -> Float64:
    """Scores [Q, N] of what codes stand for, [N, D], of rows with these squared lengths."""
    products = queries.astype(np.float64) @ values.T
    if metric != "l2":
        return products
    squared = (queries.astype(np.float64) ** 2).sum(axis=1)
    scores: Float64 = 2 * products - lengths - squared[:, None]
    return scores


@given(
    text=st.sampled_from(CONTAINING),
    transform=st.sampled_from(["", "prefix5/", "pca5/"]),
    metric=st.sampled_from(METRICS),
    dim=st.integers(6, 150),
    rows=st.integers(1, 70),
    seed=st.integers(0, 2**32),
)
@examples(max_examples=60)
def test_codes_begin_with_those_they_contain(
    text: str, transform: str, metric: Metric, dim: int, rows: int, seed: int
) -> None:
    """A shorter code is the beginning of the longer one, byte for byte, and its arrays are among
    those of the longer one, so that it scores the same from either.
    """
    vectors = gaussian(rows, dim, metric, seed)
    codec = built(transform + text, dim, metric, vectors)
    codes = codec.encode(vectors)
    parts = codec.pack(codes)
    for name in parse_spec(transform + text, dim).contained:
        shorter = built(name, dim, metric, vectors)
        begin = codes[:, : shorter.code_bytes]
        np.testing.assert_array_equal(shorter.encode(vectors), begin)
        own = shorter.pack(begin)
        assert set(own) == set(layout_of(shorter)) < set(parts)
        for array in own:
            np.testing.assert_array_equal(own[array], parts[array])
        prepared = shorter.prepare(vectors[:1])
        every = np.arange(rows)
        np.testing.assert_array_equal(
            prepared.score(own, 0, every), prepared.score(parts, 0, every)
        )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", LVQ)
def test_lvq_is_what_its_paper_defines(text: str, metric: Metric) -> None:
    """Decoded rows are those of the definition, but for ties, and scores are those of what codes
    stand for, up to the rounding of the query.
    """
    vectors, queries = clustered(200, 75, 1), gaussian(10, 75, metric, 2)
    bits = [int(level) for level in text.removeprefix("lvq").split("x")]
    values = twin.lvq_values(vectors, vectors.sum(axis=0) / 210, bits)[-1]
    plain = built(text, 75, "dot", vectors)
    decoded = plain.decode(plain.encode(vectors)).astype(np.float64)
    step = np.ptp(vectors, axis=1).max() / np.prod([2**level - 1 for level in bits])
    off = np.abs(decoded - values)
    # A value between two levels may be rounded to either; the greatest and the least always are.
    assert np.mean(off > 0.02 * step) < 0.05
    assert off.max() < 1.01 * step
    codec = built(text, 75, metric, vectors)
    lengths = (decoded**2).sum(axis=1)
    rounding = np.linalg.norm(queries, axis=1)[:, None] * {"lvq4": 1e-2, "lvq8": 1e-4}.get(
        text, 1e-3
    )
    scores = scores_of(codec, queries, vectors)
    assert (np.abs(scores - affine(queries, decoded, metric, lengths)) < rounding).all()
    if metric == "cosine":
        unit = codec.decode(codec.encode(vectors))
        np.testing.assert_allclose(unit, twin.unit(decoded.astype(np.float32)), atol=1e-6)


def test_second_level_stays_within_a_step() -> None:
    """What the second level leaves is at most half of its own step, of any row."""
    vectors = gaussian(50, 33, "dot", 3)
    steps = np.ptp(vectors - vectors.sum(axis=0) / 60, axis=1, keepdims=True) / 15
    for text, levels in (("lvq4x4", 15), ("lvq4x8", 255)):
        codec = built(text, 33, "dot", vectors)
        off = np.abs(codec.decode(codec.encode(vectors)) - vectors)
        assert (off <= steps / levels * 0.5 + 1e-5).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", BEBR)
def test_bebr_is_what_its_paper_defines(text: str, metric: Metric) -> None:
    """Scores are those of the closed form, up to the rounding of the query."""
    vectors, queries = gaussian(100, 90, metric, 4), gaussian(10, 90, metric, 5)
    codec = built(text, 90, metric, vectors)
    values = twin.bebr_values(vectors, int(text[-1]))[-1]
    lengths = (vectors.astype(np.float64) ** 2).sum(axis=1)
    expected = affine(rotate(queries), values, metric, lengths)
    scale = np.linalg.norm(queries, axis=1)[:, None] * np.sqrt(lengths)
    off = (scores_of(codec, queries, vectors) - expected) / scale
    assert np.abs(off).max() < 0.05
    assert off.std() < 0.01


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", BEBR)
def test_bebr_is_unbiased(text: str, metric: Metric) -> None:
    """Errors have mean zero also where scores are high, and every row scores its own length."""
    vectors = clustered(2000, 128, 6)
    queries = vectors[:60] + np.float32(0.05) * gaussian(60, 128, "cosine", 7)
    codec = built(text, 128, metric, vectors)
    exact = twin.exact_scores(queries, vectors, metric)
    errors = scores_of(codec, queries, vectors) - exact
    high = exact > np.quantile(exact, 0.9)
    assert abs(errors.mean()) < 0.05 * errors.std()
    assert abs(errors[high].mean()) < 0.25 * errors.std()
    own = np.diag(scores_of(codec, vectors[:50], vectors[:50]))
    np.testing.assert_allclose(
        own, twin.exact_scores(vectors[:1], vectors[:1], metric)[0, 0], atol=0.03
    )


@pytest.mark.parametrize("metric", METRICS)
def test_sign_estimates_the_angle(metric: Metric) -> None:
    """Scores are the cosine of the share of differing signs, at the lengths of both vectors."""
    vectors, queries = gaussian(100, 90, metric, 8), gaussian(10, 90, metric, 9)
    cosines = twin.sign_cosines(queries, vectors)
    asked, kept = np.linalg.norm(queries, axis=1)[:, None], np.linalg.norm(vectors, axis=1)
    expected = cosines * asked * kept
    if metric == "l2":
        expected = 2 * expected - kept**2 - asked**2
    found = scores_of(built("sign", 90, metric, vectors), queries, vectors)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(kept.max() ** 2))


def test_sign_is_unbiased_for_every_angle() -> None:
    """Over many pairs of vectors at an angle, the mean of the estimates is near its cosine."""
    rng = np.random.default_rng(10)
    codec = build_codec(parse_spec("sign", 256), 256, "cosine", {})
    vectors = gaussian(400, 256, "cosine", 11)
    other = rng.standard_normal((400, 256)).astype(np.float32)
    other = twin.unit(other - np.einsum("nd,nd->n", other, vectors)[:, None] * vectors)
    for cosine in (-0.9, -0.3, 0.0, 0.5, 0.8, 0.95):
        queries = np.float32(cosine) * vectors + np.float32((1 - cosine**2) ** 0.5) * other
        parts = codec.pack(codec.encode(vectors))
        prepared = codec.prepare(queries)
        found = [prepared.score(parts, each, np.array([each]))[0] for each in range(400)]
        assert abs(np.mean(found) - cosine) < 0.015


def test_level_codes_are_the_same_everywhere() -> None:
    """The code of a fixed vector has not changed since it was first written down."""
    vector = np.linspace(-1, 1, 24, dtype=np.float32)[None]
    codes = {
        text: built(text, 24, "dot", vector).encode(vector).tobytes().hex()
        for text in ("lvq4", "lvq4x4", "sign", "bebr2")
    }
    assert codes == {
        "lvq4": "10213354657788a9baccedfe000000000f3ef83d",
        "lvq4x4": "10213354657788a9baccedfe000000000f3ef83d287cb2166ba0f5499ed4388d",
        "sign": "4d72f2355db9a90ec8b93c40",
        "bebr2": "4d72f2355db9a90e7387e83e64210b41b8f51d8518f2c4ed77ac8d3ee89f483f",
    }
