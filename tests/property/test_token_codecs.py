"""Codecs of tokens: what codes keep, and that MaxSim over them is the twin's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.property.kernel_cases import VARIANTS
from tests.reference import codecs as vectors_twin
from tests.reference import maxsim as maxsim_twin
from tests.reference import tokens as twin
from vecstore.codec import build_codec, parse_spec, train_codec
from vecstore.codec.base import PreparedTokens, TokenCodec, layout_of
from vecstore.codec.centroid import CentroidCodec
from vecstore.codec.centroid_training import (
    centroids_for,
)
from vecstore.codec.digits import DIGITS, RADIXES, packed, unpacked
from vecstore.codec.drift import drift
from vecstore.codec.spec import TOKENS
from vecstore.errors import SchemaError
from vecstore.kernels import _kernels
from vecstore.types import Float32, Metric, Uint8, Uint64

SEEDS = st.integers(0, 2**32)
METRICS: tuple[Metric, ...] = ("cosine", "dot")
ROWS = ("sign", "int8", "float16", "float32")
DIGITAL = tuple(RADIXES)
FEW = examples(max_examples=40, deadline=None)


def tokens_of(rows: int, dim: int, metric: Metric, seed: int) -> Float32:
    """Tokens around 40 topics: of unit length, or of many lengths."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(99).standard_normal((40, dim))
    found = topics[rng.integers(0, 40, rows)] + 0.8 * rng.standard_normal((rows, dim))
    if metric == "cosine":
        return vectors_twin.unit(found.astype(np.float32))
    return (found * rng.uniform(0.3, 5, (rows, 1))).astype(np.float32)


def built(text: str, metric: Metric, sample: Float32) -> TokenCodec:
    dim = sample.shape[1]
    spec = parse_spec(text, dim)
    codec = build_codec(spec, dim, metric, train_codec(spec, dim, metric, sample, 7))
    assert isinstance(codec, TokenCodec)
    return codec


def centroid_codec(text: str, metric: Metric, sample: Float32) -> CentroidCodec:
    codec = built(text, metric, sample)
    assert isinstance(codec, CentroidCodec)
    return codec


def ragged(rng: np.random.Generator, tokens: int) -> Uint64:
    """Offsets of documents of 0 to 9 tokens, that begin and end with all tokens."""
    cuts = np.cumsum(rng.integers(0, 10, tokens + 1))
    inner = cuts[cuts < tokens]
    return np.concatenate([[0], inner, [tokens]]).astype(np.uint64)


def scored(
    prepared: PreparedTokens, parts: dict[str, object], offsets: Uint64, query: int
) -> Float32:
    kernel = prepared.documents(parts, offsets, query, None)  # type: ignore[arg-type]
    return kernel.score(0, np.arange(len(offsets) - 1))


@given(
    rows=st.integers(0, 80),
    size=st.integers(1, 40),
    dim=st.sampled_from([1, 2, 3, 4, 5, 31, 64, 129]),
    seed=SEEDS,
)
@FEW
def test_nearest_octets_is_the_twins(rows: int, size: int, dim: int, seed: int) -> None:
    """Every variant finds the first of the centroids whose product plus bias is largest."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-128, 128, (rows, dim), dtype=np.int8)
    centroids = rng.integers(0, 256, (size, dim), dtype=np.uint8)
    centroids[size // 2] = centroids[0]
    bias = rng.integers(-(2 ** int(rng.integers(1, 30))), 2**20, size).astype(np.int32)
    bias[size // 2] = bias[0]
    expected = twin.nearest_octets(vectors, centroids, bias)
    for name in VARIANTS:
        found = _kernels.nearest_octets(vectors, centroids, bias, name)
        np.testing.assert_array_equal(found, expected)


def test_nearest_octets_checks_what_it_is_given() -> None:
    """Centroids and biases that do not fit raise ValueError; the largest sums are exact."""
    vectors, bias = np.zeros((2, 3), dtype=np.int8), np.zeros(4, dtype=np.int32)
    for shape, own in (
        ((4, 2), bias),
        ((0, 3), bias[:0]),
        ((4, 3), bias[1:]),
        ((4, 3), bias + 2**30 + 1),
    ):
        with pytest.raises(ValueError, match="expected"):
            _kernels.nearest_octets(vectors, np.zeros(shape, dtype=np.uint8), own)
    with pytest.raises(ValueError, match=r"32,768"):
        _kernels.nearest_octets(
            np.zeros((1, 32769), np.int8), np.zeros((1, 32769), np.uint8), bias[:1]
        )
    wide = np.repeat(np.array([[-128], [127]], dtype=np.int8), 32768, axis=1)
    octets = np.repeat(np.array([[0], [255]], dtype=np.uint8), 32768, axis=1)
    for name in VARIANTS:
        found = _kernels.nearest_octets(wide, octets, bias[:2] + 2**30, name)
        np.testing.assert_array_equal(found, [0, 1])


@given(
    radix=st.sampled_from(list(DIGITS)),
    dim=st.integers(1, 140),
    rows=st.integers(0, 20),
    seed=SEEDS,
)
@FEW
def test_digits_survive_their_bytes(radix: int, dim: int, rows: int, seed: int) -> None:
    """Digits come back from their bytes, and the kernels' twin reads the same ones."""
    digits = np.random.default_rng(seed).integers(0, radix, (rows, dim), dtype=np.uint8)
    codes = packed(digits, radix)
    assert codes.shape == (rows, -(-dim // DIGITS[radix]))
    np.testing.assert_array_equal(unpacked(codes, radix, dim), digits)
    levels = np.arange(16, dtype=np.uint8)
    np.testing.assert_array_equal(maxsim_twin.octets(codes, radix, dim, levels, None, None), digits)


@given(
    text=st.sampled_from([*TOKENS, "prefix5/res2", "pca5/ids", "prefix6/ternary"]),
    metric=st.sampled_from(METRICS),
    dim=st.integers(7, 70),
    rows=st.integers(1, 200),
    seed=SEEDS,
)
@FEW
def test_codes_survive_their_layout(
    text: str, metric: Metric, dim: int, rows: int, seed: int
) -> None:
    """Codes come back from any rows of the layout, have the bytes that their name says, and do not
    depend on the rows beside them.
    """
    vectors = tokens_of(rows, dim, metric, seed)
    codec = built(text, metric, vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (rows, codec.code_bytes)
    parts = codec.pack(codes)
    kept = 5 if "5" in text else 6 if "6/" in text else dim
    digits = DIGITS.get(RADIXES.get(text.rsplit("/", maxsplit=1)[-1], 0))
    expected = 1 if text == "ids256" else 2 if digits is None else 3 + -(-kept // digits)
    assert codec.code_bytes == expected
    assert layout_of(codec) == (("ids",) if digits is None else ("ids", "codes", "inverse"))
    assert parts["ids"].dtype == (np.uint8 if text == "ids256" else np.uint16)
    some = np.random.default_rng(seed).integers(0, rows, 7)
    np.testing.assert_array_equal(codec.unpack(parts, some), codes[some])
    if not text.startswith("pca"):  # whose product may be summed in another order
        alone = np.concatenate([codec.encode(vectors[i : i + 1]) for i in range(min(rows, 3))])
        np.testing.assert_array_equal(alone, codes[:3])
    assert codec.decode(codec.encode(vectors[:0])).shape == (0, dim)
    assert codec.unpack(parts, some[:0]).shape == (0, codec.code_bytes)


@given(
    text=st.sampled_from(list(TOKENS)),
    metric=st.sampled_from(METRICS),
    dim=st.integers(1, 70),
    rows=st.integers(1, 300),
    seed=SEEDS,
)
@FEW
def test_codes_are_the_nearest(text: str, metric: Metric, dim: int, rows: int, seed: int) -> None:
    """Ids are of the nearest centroids, digits of the nearest levels, and inverses give a decoded
    token the length that it had, as far as there are such.
    """
    vectors = tokens_of(rows, dim, metric, seed)
    codec = centroid_codec(text, metric, vectors)
    parts = codec.pack(codec.encode(vectors))
    decoded = codec.decode(codec.encode(vectors))
    ids = twin.ids_of(codec, vectors)
    np.testing.assert_array_equal(parts["ids"], ids)
    if codec.levels is None or codec.inverses is None:
        near = (codec.centroids[ids] - np.float64(128)) * codec.scale
    else:
        digits = np.array(twin.digits_of(codec, parts["codes"]))
        left = vectors / codec.scale - (codec.centroids[ids] - np.float64(128))
        levels = codec.levels[: codec.radix].astype(np.float64)
        off = np.abs(left[:, :, None] - levels)
        own = np.take_along_axis(off, digits[:, :, None], axis=2)[:, :, 0]
        beyond = np.abs(left) > 254
        assert (own <= off.min(axis=2) + 0.1)[~beyond].all()
        integers = twin.integers_of(codec, ids, parts["codes"])
        assert np.abs(integers).max() <= 128
        near = integers * (codec.inverses[parts["inverse"]] * codec.scale)[:, None]
        kept = np.linalg.norm(near, axis=1) / np.linalg.norm(vectors, axis=1)
        inside = (parts["inverse"] > 1) & (parts["inverse"] < 255)
        assert (np.abs(kept[inside] - 1) < 0.06).all()
    if metric == "cosine":
        near = vectors_twin.unit(near.astype(np.float32))
    np.testing.assert_allclose(decoded, near, atol=1e-5 * np.abs(near).max() + 1e-12)


@given(
    text=st.sampled_from(list(TOKENS)),
    metric=st.sampled_from(METRICS),
    dim=st.integers(1, 70),
    rows=st.integers(1, 120),
    vectors=st.sampled_from([1, 2, 31, 33, 65]),
    seed=SEEDS,
)
@FEW
def test_documents_score_as_the_twin(
    text: str, metric: Metric, dim: int, rows: int, vectors: int, seed: int
) -> None:
    """MaxSim of several queries is the twin's, bit for bit, for documents of any tokens."""
    rng = np.random.default_rng(seed)
    tokens = tokens_of(rows, dim, metric, seed)
    codec = centroid_codec(text, metric, tokens)
    parts = dict(codec.pack(codec.encode(tokens)))
    offsets = ragged(rng, rows)
    queries = [tokens_of(count, dim, metric, seed + count) for count in (vectors, 3)]
    queries.append(np.zeros((2, dim), dtype=np.float32))
    expected = twin.scores(codec, parts, offsets, queries)
    prepared = codec.prepare_tokens(queries)
    for query in range(3):
        np.testing.assert_array_equal(scored(prepared, parts, offsets, query), expected[query])
    ((found, scores),) = prepared.documents(parts, offsets, 0, 2).scan(0, len(offsets) - 1, None, 5)
    assert len(found) == len(scores) == min(5, (np.diff(offsets.astype(int)) > 0).sum())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", [*ROWS, "prefix20/float32", "pca20/int8"])
def test_rows_score_as_tokens(text: str, metric: Metric) -> None:
    """Codecs of vectors score documents by the sum of the largest scores of their rows."""
    rng = np.random.default_rng(1)
    tokens = tokens_of(200, 48, metric, 2)
    codec = built(text, metric, tokens)
    parts = dict(codec.pack(codec.encode(tokens)))
    offsets = ragged(rng, 200)
    runs = maxsim_twin.runs(offsets, 200, None)
    queries = [tokens_of(count, 48, metric, count) for count in (1, 5, 33)]
    prepared = codec.prepare_tokens(queries)
    for number, query in enumerate(queries):
        rows = codec.prepare(query)
        every = np.stack([rows.score(parts, q, np.arange(200)) for q in range(len(query))])
        found = scored(prepared, parts, offsets, number)
        expected = maxsim_twin.row_scores(runs, every)
        if "float" in text:  # whose sums are in another order where there are several vectors
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(found, expected)


def maxsim(queries: Float32, tokens: Float32, offsets: Uint64) -> Float32:
    """Exact scores of documents that all have tokens."""
    products = queries.astype(np.float64) @ tokens.T.astype(np.float64)
    return np.maximum.reduceat(products, offsets[:-1].astype(int), axis=1).sum(axis=0)


@pytest.mark.parametrize("metric", METRICS)
def test_finer_codes_score_nearer(metric: Metric) -> None:
    """Each finer codec errs less than ids alone; the finest one by a hundredth at most."""
    tokens, query = tokens_of(8000, 64, metric, 3), tokens_of(20, 64, metric, 4)
    offsets = np.arange(0, 8001, 20, dtype=np.uint64)
    exact = maxsim(query, tokens, offsets)
    errors = []
    for text in ("ids", *DIGITAL):
        codec = built(text, metric, tokens)
        parts = dict(codec.pack(codec.encode(tokens)))
        got = scored(codec.prepare_tokens([query]), parts, offsets, 0)
        errors.append(float(np.std((got - exact) / exact)))
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < 0.01 < errors[0]


@pytest.mark.parametrize("text", DIGITAL)
def test_ids_are_read_from_what_contains_them(text: str) -> None:
    """The ids of a codec with digits score as those of `ids` with its parameters."""
    tokens, query = tokens_of(500, 32, "cosine", 5), tokens_of(4, 32, "cosine", 6)
    spec = parse_spec(text, 32)
    params = train_codec(spec, 32, "cosine", tokens, 0)
    assert spec.contained == ("ids",)
    assert params.keys() == {"centroids", "scale", "left", "levels", "inverses"}
    fine, coarse = (
        build_codec(parse_spec(each, 32), 32, "cosine", params) for each in (text, "ids")
    )
    assert isinstance(coarse, TokenCodec)
    parts, own = dict(fine.pack(fine.encode(tokens))), dict(coarse.pack(coarse.encode(tokens)))
    offsets = np.arange(0, 501, 10, dtype=np.uint64)
    prepared = coarse.prepare_tokens([query])
    np.testing.assert_array_equal(
        scored(prepared, parts, offsets, 0), scored(prepared, own, offsets, 0)
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", [*TOKENS, *ROWS])
def test_odd_tokens_survive(text: str, metric: Metric) -> None:
    """Zero, constant, tiny, huge, one-hot and duplicate tokens have finite scores, equal ones for
    duplicates, whatever the sample; a query of zeros scores zero.
    """
    tokens = np.zeros((9, 24), dtype=np.float32)
    tokens[1] = 1
    tokens[2, 0] = -1
    tokens[3] = 1e-30
    tokens[4:6] = tokens_of(1, 24, metric, 8)
    if metric == "cosine":
        tokens = vectors_twin.unit(tokens)
    else:
        tokens[6], tokens[7] = 1e17, -1e5
    offsets = np.arange(10, dtype=np.uint64)
    samples = [tokens, tokens[:1], tokens[4:5], np.repeat(tokens[1:2], 300, axis=0)]
    if text != "int8":  # whose ranges are those of the sample
        samples.append(tokens[3:4])
    for sample in samples:
        codec = built(text, metric, np.ascontiguousarray(sample))
        parts = dict(codec.pack(codec.encode(tokens)))
        prepared = codec.prepare_tokens([tokens[:1], tokens, tokens[6:7]])
        assert np.isfinite(codec.decode(codec.encode(tokens))).all()
        for query in range(3):
            scores = scored(prepared, parts, offsets, query)
            assert np.isfinite(scores).all()
            assert scores[4] == scores[5]
        if text != "int8":
            np.testing.assert_array_equal(scored(prepared, parts, offsets, 0), 0)
        if text in DIGITAL:
            np.testing.assert_array_equal(scored(prepared, parts, offsets, 1)[[0, 8]], 0)


@pytest.mark.parametrize("text", TOKENS)
def test_training_gives_the_same_bytes(text: str) -> None:
    """From one token, a few or many, training twice gives equal bytes, and rests in between."""
    rests = []
    for rows in (1, 3, 40, 3000):
        sample = tokens_of(rows, 24, "cosine", 3)
        spec = parse_spec(text, 24)
        first = train_codec(spec, 24, "cosine", sample, 3, lambda: rests.append(1))
        again = train_codec(spec, 24, "cosine", sample.copy(), 3)
        assert first.keys() == again.keys()
        for name, array in first.items():
            assert array.tobytes() == again[name].tobytes()
        assert len(first["centroids"]) == centroids_for(text, rows)
    assert len(rests) > 8


def test_lengths_are_kept() -> None:
    """Under an inner product tokens of lengths ten times apart keep theirs."""
    tokens = tokens_of(2000, 32, "dot", 11)
    tokens[::10] *= 10
    codec = built("res4", "dot", tokens)
    decoded = codec.decode(codec.encode(tokens))
    kept = np.linalg.norm(decoded, axis=1) / np.linalg.norm(tokens, axis=1)
    assert np.quantile(np.abs(kept - 1), 0.95) < 0.05


def test_drift_tells_other_tokens() -> None:
    """Tokens like those of the sample drift by a tenth at most, others by half as much again;
    zeros, and codecs that learn nothing, do not say.
    """
    sample, like = tokens_of(4000, 32, "cosine", 14), tokens_of(1000, 32, "cosine", 15)
    other = np.random.default_rng(16).standard_normal((1000, 32)).astype(np.float32)
    for text in ("res2", "ids", "pca20/res1"):
        codec = built(text, "cosine", sample)
        assert abs((drift(codec, like) or 0) - 1) < 0.1
        assert (drift(codec, vectors_twin.unit(other)) or 0) > 1.5
        assert drift(codec, other * 0) is None
    assert drift(built("sign", "cosine", sample), like) is None


def test_wrong_codes_read_no_memory() -> None:
    """Ids, digits and inverses that no codec makes still decode and score to finite values."""
    tokens = tokens_of(300, 30, "cosine", 12)
    for text in TOKENS:
        codec = built(text, "cosine", tokens)
        codes: Uint8 = np.full((4, codec.code_bytes), 255, dtype=np.uint8)
        parts = dict(codec.pack(codes))
        assert np.isfinite(codec.decode(codes)).all()
        prepared = codec.prepare_tokens([tokens[:3]])
        offsets = np.array([0, 4], dtype=np.uint64)
        assert np.isfinite(scored(prepared, parts, offsets, 0)).all()


def test_vectors_are_not_tokens() -> None:
    """A codec of tokens refuses to prepare queries of one vector, and says which there are."""
    codec = built("res2", "cosine", tokens_of(50, 8, "cosine", 13))
    with pytest.raises(SchemaError, match="multivector"):
        codec.prepare(np.zeros((1, 8), dtype=np.float32))
