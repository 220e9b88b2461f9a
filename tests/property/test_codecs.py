"""Codecs: what codes keep, what scores mean, and how far they may be off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.reference import codecs as twin
from vecstore.codec import Codec, build_codec, parse_spec, train_codec
from vecstore.codec.spec import CODECS
from vecstore.errors import SchemaError
from vecstore.types import Float32, Int64, Metric

METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
BITS = ("bits1", "bits2", "bits4", "bits8")
SPECS = (*CODECS, "prefix5/bits4", "prefix5/float32", "pca5/int8", "pca5/bits1", "pca5/lvq4x8")


def built(text: str, dim: int, metric: Metric, sample: Float32) -> Codec:
    spec = parse_spec(text, dim)
    return build_codec(spec, dim, metric, train_codec(spec, dim, metric, sample, 7))


def gaussian(rows: int, dim: int, metric: Metric, seed: int) -> Float32:
    """Vectors as a field of that metric holds them: of unit length, or of many lengths."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim), dtype=np.float32)
    if metric == "cosine":
        return twin.unit(vectors)
    return vectors * rng.uniform(0.1, 10, (rows, 1)).astype(np.float32)


def clustered(rows: int, dim: int, seed: int) -> Float32:
    """Unit vectors in 50 clusters whose spread decays over a rotated spectrum."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    points = centres[rng.integers(0, 50, rows)] + 1.5 * rng.standard_normal((rows, dim))
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return twin.unit(((points * np.arange(1, dim + 1) ** -0.5) @ axes).astype(np.float32))


def scores_of(codec: Codec, queries: Float32, vectors: Float32) -> Float32:
    """All scores [Q, N]."""
    parts = codec.pack(codec.encode(vectors))
    prepared = codec.prepare(queries)
    every = np.arange(len(vectors))
    return np.stack([prepared.score(parts, query, every) for query in range(len(queries))])


def overlap(codec: Codec, queries: Float32, vectors: Float32) -> float:
    """Share of the exact top 10 that the codec's own top 10 holds."""
    parts = codec.pack(codec.encode(vectors))
    found = codec.prepare(queries).scan(parts, (0, len(vectors)), None, 10)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    shared = [len(np.intersect1d(a, b)) for a, (b, _) in zip(exact, found, strict=True)]
    return float(np.mean(shared)) / 10


@given(
    text=st.sampled_from(SPECS),
    metric=st.sampled_from(METRICS),
    dim=st.integers(6, 150),
    rows=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
@examples(max_examples=60)
def test_codes_survive_their_layout(
    text: str, metric: Metric, dim: int, rows: int, seed: int
) -> None:
    """Codes come back from any rows of the scan layout, a scan gives the scores of `score`, and a
    row's code does not depend on the rows beside it.
    """
    vectors = gaussian(rows, dim, metric, seed)
    codec = built(text, dim, metric, vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (rows, codec.code_bytes)
    assert codes.dtype == np.uint8
    parts = codec.pack(codes)
    some: Int64 = np.random.default_rng(seed).integers(0, rows, 7)
    np.testing.assert_array_equal(codec.unpack(parts, some), codes[some])
    prepared = codec.prepare(vectors[:2])
    for query, (found, scores) in enumerate(prepared.scan(parts, (0, rows), None, rows)):
        assert sorted(found.tolist()) == list(range(rows))
        np.testing.assert_array_equal(scores, prepared.score(parts, query, found))
    if not text.startswith("pca"):  # whose product may be summed in another order
        alone = np.concatenate([codec.encode(vectors[i : i + 1]) for i in range(min(rows, 3))])
        np.testing.assert_array_equal(alone, codes[:3])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", CODECS)
def test_scores_are_near_exact_and_of_decoded_vectors(text: str, metric: Metric) -> None:
    """Scores estimate the metric in original units; decoding keeps lengths and direction."""
    vectors, queries = gaussian(300, 96, metric, 1), gaussian(20, 96, metric, 2)
    codec = built(text, 96, metric, vectors)
    exact = twin.exact_scores(queries, vectors, metric)
    estimated = scores_of(codec, queries, vectors)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    off = (estimated - exact) / lengths / (2 if metric == "l2" else 1)
    tolerance = {"sign": 0.12, "bits1": 0.08, "bits2": 0.04, "bits4": 0.012, "bits8": 0.001}
    tolerance |= {"bebr1": 0.08, "bebr2": 0.04, "bebr3": 0.025, "bebr4": 0.018, "int8": 0.005}
    tolerance |= {"lvq4": 0.03, "lvq4x4": 0.002, "lvq8": 0.002}
    if text == "int8" and metric != "cosine":
        return  # its ranges do not follow the length of a row, so short ones are rough
    assert np.sqrt(np.mean(off**2)) < tolerance.get(text, 2e-4)
    decoded = codec.decode(codec.encode(vectors))
    cosines = np.einsum("nd,nd->n", twin.unit(decoded), twin.unit(vectors))
    near = {"sign": 0.78, "bits1": 0.78, "bebr1": 0.78, "bits2": 0.93, "bebr2": 0.93}
    near |= {"bebr3": 0.96, "bebr4": 0.975, "bits4": 0.99, "lvq4": 0.99}
    assert cosines.mean() > near.get(text, 0.999)
    if text != "int8":
        kept = np.linalg.norm(decoded, axis=1) / np.linalg.norm(vectors, axis=1)
        np.testing.assert_allclose(kept, 1, rtol={"bits1": 0.02, "lvq4": 0.06}.get(text, 0.005))


@pytest.mark.parametrize("dim", [64, 96, 200])
@pytest.mark.parametrize("text", BITS)
def test_bits_choose_nearly_the_best_step(text: str, dim: int) -> None:
    """The angle to the code is near the best of a fine grid of steps, and the estimates are as
    good as those of the definition.
    """
    vectors, queries = gaussian(40, dim, "dot", 3), gaussian(5, dim, "dot", 4)
    codec = built(text, dim, "dot", vectors)
    bits = int(text.removeprefix("bits"))
    rotated = vectors.astype(np.float64) @ twin.rotation_matrix(dim).T
    best = np.array([twin.best_bits(x, bits) for x in rotated])
    decoded = codec.decode(codec.encode(vectors)).astype(np.float64)
    own = 1 - np.einsum("nd,nd->n", twin.unit(decoded.astype(np.float32)), twin.unit(vectors))
    ideal = 1 - np.einsum("nd,nd->n", rotated, best) / (
        np.linalg.norm(rotated, axis=1) * np.linalg.norm(best, axis=1)
    )
    # Decoding leaves out the padding dimensions, which can only help.
    assert own.mean() < (1.15 if bits == 8 else 1.03) * ideal.mean()
    estimated = scores_of(codec, queries, vectors)
    defined = twin.bits_products(queries, vectors, bits)
    exact = twin.exact_scores(queries, vectors, "dot")
    limit = 1.4 if bits == 8 else 1.1  # the grid overfits so few dimensions of so many levels
    assert np.std(estimated - exact) < limit * np.std(defined - exact)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", BITS)
def test_bits_are_unbiased_and_their_bounds_hold(text: str, metric: Metric) -> None:
    """Errors have mean zero whatever the score; 99 % lie within three standard deviations, about
    two thirds within one.
    """
    vectors = clustered(2000, 128, 5)
    queries = vectors[:60] + np.float32(0.05) * gaussian(60, 128, "cosine", 6)
    if metric == "cosine":
        queries = twin.unit(queries)
    else:
        vectors = vectors * np.random.default_rng(0).uniform(0.5, 3, (2000, 1)).astype(np.float32)
    codec = built(text, 128, metric, vectors)
    parts = codec.pack(codec.encode(vectors))
    prepared = codec.prepare(queries)
    every = np.arange(2000)
    exact = twin.exact_scores(queries, vectors, metric)
    errors, bounds = np.empty_like(exact), np.empty_like(exact)
    for query in range(60):
        errors[query] = prepared.score(parts, query, every) - exact[query]
        bound = prepared.bound(parts, query, every)
        assert bound is not None
        bounds[query] = bound
    spread = errors.std()
    assert abs(errors.mean()) < 0.05 * spread
    high = exact > np.quantile(exact, 0.9)
    assert abs(errors[high].mean()) < 0.25 * spread
    assert np.mean(np.abs(errors) <= bounds) > 0.99
    assert 0.6 < np.mean(np.abs(errors) <= bounds / 3) < 0.8


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", CODECS)
def test_odd_vectors_survive(text: str, metric: Metric) -> None:
    """Zero, constant, one-hot, tiny, duplicate and one-dimensional vectors have finite scores,
    equal ones for duplicates, zero for zeros under an inner product where codes keep lengths.
    """
    for dim in (1, 2, 64, 100):
        vectors = np.zeros((7, dim), dtype=np.float32)
        vectors[1] = 1
        vectors[2, 0] = -1
        vectors[3] = 1e-30
        vectors[4:6] = gaussian(1, dim, metric, 8)
        if metric == "cosine":
            vectors = twin.unit(vectors)
        codec = built(text, dim, metric, vectors[4:5])
        scores = scores_of(codec, vectors, vectors)
        assert np.isfinite(scores).all()
        assert np.isfinite(codec.decode(codec.encode(vectors))).all()
        np.testing.assert_array_equal(scores[:, 4], scores[:, 5])
        if metric != "l2" and text != "int8":
            np.testing.assert_array_equal(scores[[0, 6]], 0)
        keeps_zeros = text.startswith(("bits", "bebr", "float")) or (text, metric) == (
            "sign",
            "dot",
        )
        if metric != "l2" and keeps_zeros:
            np.testing.assert_array_equal(scores[:, [0, 6]], 0)
        if dim == 1 and text.startswith("bits"):
            exact = twin.exact_scores(vectors, vectors, metric)
            lengths = np.abs(vectors) + np.abs(vectors.T)
            assert (np.abs(scores - exact) <= 0.01 * lengths**2 + 1e-6).all()


def test_no_vector_is_refused() -> None:
    """Whatever an upsert lets through is encoded with finite scores; float16 saturates."""
    vectors = np.full((2, 8), 1e17, dtype=np.float32)
    vectors[1] = -1e5
    for text in CODECS:
        codec = built(text, 8, "dot", vectors)
        parts = codec.pack(codec.encode(vectors))
        assert np.isfinite(codec.prepare(vectors).score(parts, 0, np.arange(2))).all()
    half = built("float16", 8, "dot", vectors)
    np.testing.assert_array_equal(half.decode(half.encode(vectors)), [[65504] * 8, [-65504] * 8])


@pytest.mark.parametrize("metric", METRICS)
def test_floats_count_as_exact(metric: Metric) -> None:
    """float32 keeps every bit, float16 rounds by a relative 2^-11; both have bounds of zero."""
    vectors, queries = gaussian(200, 33, metric, 9), gaussian(3, 33, metric, 10)
    for text in ("float32", "float16"):
        codec = built(text, 33, metric, vectors)
        parts = codec.pack(codec.encode(vectors))
        np.testing.assert_array_equal(codec.prepare(queries).bound(parts, 0, np.arange(5)), 0)
        np.testing.assert_allclose(parts["values"], vectors, rtol=2**-11 * (text == "float16"))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("transform", ["prefix20", "pca20"])
def test_reduced_codecs_score_the_kept_dimensions(transform: str, metric: Metric) -> None:
    """Kept dimensions are scored as a field of so many dimensions, of unit length for cosine;
    bounds are unknown.
    """
    vectors, queries = gaussian(50, 70, metric, 11), gaussian(4, 70, metric, 12)
    spec = parse_spec(f"{transform}/float32", 70)
    params = train_codec(spec, 70, metric, vectors, 0)
    codec = build_codec(spec, 70, metric, params)
    basis = params["basis"] if spec.transform == "pca" else np.eye(70, 20, dtype=np.float32)
    kept, asked = vectors @ basis, queries @ basis
    if metric == "cosine":
        kept, asked = twin.unit(kept), twin.unit(asked)
    expected = twin.exact_scores(asked, kept, metric)
    np.testing.assert_allclose(
        scores_of(codec, queries, vectors), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )
    decoded = codec.decode(codec.encode(vectors))
    np.testing.assert_allclose(decoded, kept @ basis.T, rtol=1e-4, atol=1e-4)
    parts = codec.pack(codec.encode(vectors))
    assert codec.prepare(queries).bound(parts, 0, np.arange(3)) is None


@given(dim=st.integers(2, 40), rows=st.integers(1, 60), seed=st.integers(0, 2**32))
@examples(max_examples=25)
def test_principal_directions_are_orthonormal_and_best(dim: int, rows: int, seed: int) -> None:
    """From any number of samples the basis is orthonormal, the same every time, and holds at
    least as much of the sample as the first dimensions do.
    """
    vectors = gaussian(rows, dim, "dot", seed)
    spec = parse_spec(f"pca{dim - 1}/int8", dim)
    params = train_codec(spec, dim, "dot", vectors, 3)
    again = train_codec(spec, dim, "dot", vectors.copy(), 3)
    assert params.keys() == {"basis", "low", "step"}
    for name, array in params.items():
        assert array.tobytes() == again[name].tobytes()
    basis = params["basis"]
    np.testing.assert_allclose(basis.T @ basis, np.eye(dim - 1), atol=1e-5)
    held = np.linalg.norm(vectors @ basis)
    assert held >= np.linalg.norm(vectors[:, : dim - 1]) * (1 - 1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", SPECS)
def test_no_rows_and_no_queries_are_fine(text: str, metric: Metric) -> None:
    """Nothing encodes to nothing, is found by nothing and finds nothing."""
    vectors = gaussian(3, 9, metric, 17)
    codec = built(text, 9, metric, vectors)
    nothing, no_rows = vectors[:0], np.zeros(0, dtype=np.int64)
    parts = codec.pack(codec.encode(nothing))
    assert codec.decode(codec.encode(nothing)).shape == (0, 9)
    assert codec.unpack(parts, no_rows).shape == (0, codec.code_bytes)
    ((rows, scores),) = codec.prepare(vectors[:1]).scan(parts, (0, 0), None, 5)
    assert len(rows) == len(scores) == 0
    assert len(codec.prepare(vectors[:1]).score(parts, 0, no_rows)) == 0
    assert codec.prepare(nothing).scan(codec.pack(codec.encode(vectors)), (0, 3), None, 5) == []


def test_many_dimensions_need_no_square_matrix() -> None:
    """Principal directions of few long vectors span these vectors and stay orthonormal."""
    vectors = gaussian(20, 3000, "dot", 13)
    params = train_codec(parse_spec("pca40/float32", 3000), 3000, "dot", vectors, 0)
    basis = params["basis"]
    assert basis.shape == (3000, 40)
    np.testing.assert_allclose(basis.T @ basis, np.eye(40), atol=1e-5)
    np.testing.assert_allclose(vectors @ basis @ basis.T, vectors, atol=1e-2)


def test_int8_keeps_vectors_unlike_its_sample() -> None:
    """Ranges learned from one to ten vectors still hold nearly all of the next thousand."""
    vectors = clustered(2000, 64, 14)
    for rows in (1, 3, 10, 1000):
        codec = built("int8", 64, "cosine", vectors[:rows])
        decoded = codec.decode(codec.encode(vectors[1000:]))
        assert np.einsum("nd,nd->n", decoded, vectors[1000:]).mean() > 0.99


def test_finer_codes_find_more() -> None:
    """On clustered data each codec finds the share of the exact top 10 that it should."""
    vectors = clustered(4000, 128, 15)
    queries = twin.unit(vectors[:50] + np.float32(0.3) * gaussian(50, 128, "cosine", 16))
    wanted = {"sign": 0.4, "bits1": 0.5, "bebr1": 0.5, "bits2": 0.7, "bebr2": 0.7, "bebr3": 0.8}
    wanted |= {"bebr4": 0.85, "bits4": 0.9, "lvq4": 0.9, "int8": 0.97, "bits8": 0.98}
    wanted |= {"lvq8": 0.98, "lvq4x4": 0.98, "lvq4x8": 0.99, "float16": 0.99, "float32": 1.0}
    assert sorted(wanted) == sorted(CODECS)
    for text, share in wanted.items():
        assert overlap(built(text, 128, "cosine", vectors), queries, vectors) >= share, text
    leading = built("pca32/float16", 128, "cosine", vectors)
    first = built("prefix32/float16", 128, "cosine", vectors)
    assert overlap(leading, queries, vectors) > overlap(first, queries, vectors)


def test_code_sizes() -> None:
    """Codes of 384 dimensions have the sizes that the documentation gives."""
    sizes = {"bits1": 54, "bits2": 102, "bits4": 198, "bits8": 390, "int8": 384, "float16": 768}
    sizes |= {"lvq4": 200, "lvq8": 392, "lvq4x4": 392, "lvq4x8": 584, "sign": 48}
    sizes |= {"bebr1": 52, "bebr2": 108, "bebr3": 164, "bebr4": 220}
    sample = np.ones((1, 384), dtype=np.float32)
    for text, size in sizes.items():
        assert built(text, 384, "cosine", sample).code_bytes == size
        assert built(f"prefix64/{text}", 384, "dot", sample).code_bytes < size
    assert [built(t, 384, "l2", sample).code_bytes for t in ("bits1", "sign", "bebr1")] == [
        58,
        52,
        56,
    ]


def test_codes_are_the_same_everywhere() -> None:
    """The code of a fixed vector has not changed since it was first written down."""
    vector = np.linspace(-1, 1, 24, dtype=np.float32)[None]
    codes = {
        text: built(text, 24, "dot", vector).encode(vector).tobytes().hex() for text in BITS[:3]
    }
    assert codes == {
        "bits1": "4d72f2355db9a90e7387683f893e",
        "bits2": "e265197e59ab334ae623869f92d8f954b60ac63ef33d",
        "bits4": "18b87759a606eb6c9665aba93c1b99704ab83f1879a4cdb709a792c686db72757cfcd03dea3c",
    }


def test_specs_are_parsed_and_ordered() -> None:
    """Every spec prints as it was written, sorts from coarse to fine, and says if it trains."""
    ordered = ["prefix64/bits1", "pca64/float32", "prefix128/bits1", *CODECS]
    specs = [parse_spec(text, 384) for text in ordered]
    assert [str(spec) for spec in specs] == ordered
    assert sorted(specs, key=lambda spec: spec.fineness) == specs
    trained = ["pca64/float32", "lvq4", "int8", "lvq4x4", "lvq8", "lvq4x8"]
    assert [str(spec) for spec in specs if spec.trained] == trained


def test_table_codecs_are_ordered_by_bits() -> None:
    """A table codec sorts by the bits that it keeps of a dimension, after others of as many."""
    ordered = ["pq16x4", "pq16", "sign", "bits1", "pq96x4", "pq48", "opq48", "rq48", "bits2",
               "pq96", "bits4", "pq192", "bits8", "pq384", "float16"]  # fmt: skip
    specs = [parse_spec(text, 384) for text in ordered]
    assert sorted(specs, key=lambda spec: spec.fineness) == specs
    assert not specs[2].makes(specs[-2])
    assert specs[-1].makes(specs[-2])


def test_codebooks_are_limited() -> None:
    """Residual codebooks beyond 64 MiB are refused, naming what is allowed."""
    parse_spec("rq170", 384)
    with pytest.raises(SchemaError, match="expected at most 67,108,864: write 'rq170'"):
        parse_spec("rq171", 384)


@pytest.mark.parametrize(
    "text",
    ["", "bits3", "Bits1", "float16 ", "prefix/bits1", "prefix0/bits1", "prefix064/bits1",
     "prefix384/bits1", "pca500/bits1", "prefix64/pca32/bits1", "prefix64/", "pq385", None],
)  # fmt: skip
def test_other_specs_are_refused(text: str) -> None:
    """What is no representation of the field raises SchemaError with got and expected."""
    with pytest.raises(SchemaError, match="expected"):
        parse_spec(text, 384)
