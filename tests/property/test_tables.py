"""Codecs of the table family: codes, look-up tables, and what training learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.property.test_codecs import METRICS, clustered, gaussian, overlap, scores_of
from tests.reference import tables as twin
from vecstore.codec import Codec, build_codec, parse_spec, train_codec
from vecstore.codec.bits import unpack_bits
from vecstore.codec.product import ProductCodec
from vecstore.codec.residual import ResidualCodec
from vecstore.codec.training import MATRIX_DIM_MAX, balanced_pca
from vecstore.errors import SchemaError
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Metric, Uint8

# Of vectors whose dimensions are a multiple of twelve.
SPECS = ("pq4", "pq6x4", "opq3", "opq4x4", "rq3", "pq4+balanced", "pq2x4+balanced")
SHORTENED = ("prefix8/pq4", "pca8/pq2x4", "pca8/rq2")


def learned(text: str, dim: int, metric: Metric, sample: Float32) -> dict[str, Array]:
    return dict(train_codec(parse_spec(text, dim), dim, metric, sample, 7))


def built(text: str, dim: int, metric: Metric, sample: Float32) -> Codec:
    return build_codec(parse_spec(text, dim), dim, metric, learned(text, dim, metric, sample))


def indices_of(codec: ProductCodec | ResidualCodec, codes: Uint8) -> Uint8:
    four = isinstance(codec, ProductCodec) and codec.bits == 4
    return unpack_bits(codes, 4) if four else codes


@given(
    text=st.sampled_from((*SPECS, *SHORTENED)),
    metric=st.sampled_from(METRICS),
    parts=st.integers(1, 4),
    rows=st.integers(1, 200),
    seed=st.integers(0, 2**32),
)
@examples(max_examples=50)
def test_codes_survive_their_layout(
    text: str, metric: Metric, parts: int, rows: int, seed: int
) -> None:
    """Codes come back from any rows of the scan layout, a scan gives the scores of `score`, and a
    row's code does not depend on the rows beside it.
    """
    vectors = gaussian(rows, 12 * parts, metric, seed)
    codec = built(text, 12 * parts, metric, vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (rows, codec.code_bytes)
    assert codes.dtype == np.uint8
    packed = codec.pack(codes)
    some = np.random.default_rng(seed).integers(0, rows, 7)
    np.testing.assert_array_equal(codec.unpack(packed, some), codes[some])
    prepared = codec.prepare(vectors[:2])
    for query, (found, scores) in enumerate(prepared.scan(packed, (0, rows), None, rows)):
        assert sorted(found.tolist()) == list(range(rows))
        np.testing.assert_array_equal(scores, prepared.score(packed, query, found))
        assert prepared.bound(packed, query, found) is None
    if not text.startswith("pca"):  # whose product may be summed in another order
        alone = np.concatenate([codec.encode(vectors[i : i + 1]) for i in range(min(rows, 3))])
        np.testing.assert_array_equal(alone, codes[:3])


@given(
    text=st.sampled_from(SPECS),
    metric=st.sampled_from(METRICS),
    rows=st.integers(1, 60),
    exponent=st.integers(-8, 8),
    seed=st.integers(0, 2**32),
)
@examples(max_examples=50)
def test_codes_and_scores_are_the_twins(
    text: str, metric: Metric, rows: int, exponent: int, seed: int
) -> None:
    """Indices of product codes are those of the definition; what codes decode to and score is
    theirs but for the rounding of look-up tables to 8 bits.
    """
    factor = np.float32(1 if metric == "cosine" else 10.0**exponent)
    vectors = gaussian(rows, 24, metric, seed) * factor
    queries = gaussian(3, 24, metric, seed + 1) * factor
    codec = built(text, 24, metric, vectors[: max(1, rows // 2)])
    assert isinstance(codec, ProductCodec | ResidualCodec)
    codes = codec.encode(vectors)
    indices = indices_of(codec, codes)
    if isinstance(codec, ProductCodec):
        expected = twin.product_indices(vectors, codec.books, codec.rotation, codec.potential)
        np.testing.assert_array_equal(indices, expected)
        sums = twin.product_sums(indices, codec.books, codec.rotation)
    else:
        sums = twin.residual_sums(indices, codec.books)
    largest = np.abs(sums).max() + 1e-30
    lengths = np.linalg.norm(sums, axis=1)
    if metric == "cosine":
        sums = sums / np.where(lengths > 0, lengths, 1)[:, None]
        largest, lengths = 1.0, lengths / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(codec.decode(codes), sums, atol=1e-5 * largest)
    exact = twin.scores(queries, sums, metric)
    products = queries.astype(np.float64) @ sums.T
    off = np.abs(scores_of(codec, queries, vectors) - exact)
    # Half a step of 255 for each subquantizer, the largest table of which spans 4 |q| |x| at most;
    # half as many steps where two share a byte.
    reach = np.linalg.norm(queries, axis=1)[:, None] * (np.abs(vectors).max() * 24 + largest)
    coarse = 2 if "x4" in text else 1
    assert (off <= coarse * len(codec.books) * 8 * reach / 255 + 1e-4 * np.abs(products)).all()


@given(
    columns=st.sampled_from([16, 256]),
    count=st.integers(1, 5),
    depth=st.integers(1, 9),
    queries=st.integers(0, 9),
    exponent=st.integers(-44, 12),
    seed=st.integers(0, 2**32),
)
def test_query_tables_equal_the_twin(
    columns: int, count: int, depth: int, queries: int, exponent: int, seed: int
) -> None:
    """Tables and factors of queries are the twin's in every variant, of tiny, huge and zero ones
    and of codebooks far from the origin too, whatever lies beside them.
    """
    rng = np.random.default_rng(seed)
    count *= 2 if columns == 16 else 1
    books = rng.standard_normal((count, depth, columns), dtype=np.float32) + np.float32(seed % 50)
    width = depth if seed % 2 else count * depth
    asked = rng.standard_normal((queries, 24), dtype=np.float32) * np.float32(10.0**exponent)
    asked[: queries // 3] = 0
    rotation = rng.standard_normal((24, width), dtype=np.float32) if seed % 3 else None
    if rotation is None:
        asked = np.ascontiguousarray(np.tile(asked, -(-width // 24))[:, :width])
    tables, factors = twin.table_queries(asked, rotation, books)
    for variant in _kernels.variants():
        for some in (slice(None), slice(1)):
            found = _kernels.table_queries(asked[some], rotation, books, variant)
            np.testing.assert_array_equal(found[0], tables[some])
            np.testing.assert_array_equal(found[1], factors[some])


def test_query_tables_check_their_books() -> None:
    """Codebooks and rotations that do not fit the queries raise ValueError."""
    asked = np.ones((2, 24), dtype=np.float32)
    axes = np.eye(24, dtype=np.float32)
    for shape in ((5, 5, 256), (3, 8, 16), (4, 6, 32), (0, 24, 256), (4, 0, 16), (2, 12, 0)):
        with pytest.raises(ValueError, match="books"):
            _kernels.table_queries(asked, axes, np.ones(shape, dtype=np.float32))
    with pytest.raises(ValueError, match="rotation"):
        _kernels.table_queries(asked, axes[1:], np.ones((4, 6, 256), dtype=np.float32))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", SPECS)
def test_rounding_tables_loses_little(text: str, metric: Metric) -> None:
    """Scores lie nearer to those of decoded vectors than a tenth of these vectors' own error."""
    vectors, queries = clustered(1500, 96, 1), clustered(20, 96, 2)
    codec = built(text, 96, metric, vectors)
    decoded = codec.decode(codec.encode(vectors)).astype(np.float64)
    wanted = twin.scores(queries, decoded, metric)
    rounding = scores_of(codec, queries, vectors) - wanted
    coding = wanted - twin.scores(queries, vectors.astype(np.float64), metric)
    assert rounding.std() < 0.1 * coding.std()


@pytest.mark.parametrize("text", [*SPECS, *SHORTENED])
def test_training_gives_the_same_bytes(text: str) -> None:
    """From one row, a few or many, training twice gives equal bytes and finite values."""
    for rows in (1, 3, 40, 700):
        sample = clustered(rows, 24, 3)
        first, again = (learned(text, 24, "cosine", each) for each in (sample, sample.copy()))
        assert first.keys() == again.keys()
        for name, array in first.items():
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
            assert array.tobytes() == again[name].tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", ["pq4", "opq3", "rq3", "pq4+balanced"])
def test_few_rows_are_their_own_centroids(text: str, metric: Metric) -> None:
    """Where there are no more rows than centroids, these rows come back nearly as they were."""
    sample = gaussian(100, 24, metric, 4)
    codec = built(text, 24, metric, sample)
    decoded = codec.decode(codec.encode(sample))
    np.testing.assert_allclose(decoded, sample, atol=2e-5 * np.abs(sample).max())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", SPECS)
def test_odd_vectors_survive(text: str, metric: Metric) -> None:
    """Zero, constant, one-hot, tiny, huge and duplicate vectors have finite scores, equal ones
    for duplicates; a query of zeros scores zero under an inner product.
    """
    vectors = np.zeros((9, 24), dtype=np.float32)
    vectors[1] = 1
    vectors[2, 0] = -1
    vectors[3] = 1e-30
    vectors[4:6] = gaussian(1, 24, metric, 8)
    if metric != "cosine":
        vectors[6], vectors[7] = 1e17, -1e5
    else:
        vectors[1:] /= np.maximum(np.linalg.norm(vectors[1:], axis=1, keepdims=True), 1e-30)
    for sample in (vectors, vectors[:1], vectors[4:5], np.repeat(vectors[1:2], 300, axis=0)):
        codec = built(text, 24, metric, sample)
        scores = scores_of(codec, vectors, vectors)
        assert np.isfinite(scores).all()
        assert np.isfinite(codec.decode(codec.encode(vectors))).all()
        np.testing.assert_array_equal(scores[:, 4], scores[:, 5])
        if metric != "l2":
            np.testing.assert_array_equal(scores[[0, 8]], 0)


@pytest.mark.parametrize("text", [*SPECS, *SHORTENED])
def test_no_rows_and_no_queries_are_fine(text: str) -> None:
    """Nothing encodes to nothing, is found by nothing and finds nothing."""
    vectors = gaussian(3, 24, "l2", 17)
    codec = built(text, 24, "l2", vectors)
    nothing, no_rows = vectors[:0], np.zeros(0, dtype=np.int64)
    parts = codec.pack(codec.encode(nothing))
    assert codec.decode(codec.encode(nothing)).shape == (0, 24)
    assert codec.unpack(parts, no_rows).shape == (0, codec.code_bytes)
    ((rows, scores),) = codec.prepare(vectors[:1]).scan(parts, (0, 0), None, 5)
    assert len(rows) == len(scores) == 0
    assert len(codec.prepare(vectors[:1]).score(parts, 0, no_rows)) == 0
    assert codec.prepare(nothing).scan(codec.pack(codec.encode(vectors)), (0, 3), None, 5) == []


@given(dim=st.sampled_from([2, 6, 24, 60]), rows=st.integers(1, 50), seed=st.integers(0, 2**32))
@examples(max_examples=20)
def test_rotations_keep_lengths(dim: int, rows: int, seed: int) -> None:
    """Balanced and learned rotations are orthogonal, from any number of rows."""
    sample = gaussian(rows, dim, "dot", seed)
    for text in ("pq2", "opq2"):
        rotation = learned(text, dim, "dot", sample)["rotation"]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(dim), atol=2e-5)


def test_principal_directions_are_balanced() -> None:
    """Each part holds the same number of directions, and about the same product of variances."""
    sample = clustered(3000, 96, 5)
    turned = sample @ balanced_pca(sample, 8, 0)
    logs = np.log((turned.astype(np.float64) ** 2).mean(axis=0)).reshape(8, 12).sum(axis=1)
    plain = np.log((sample.astype(np.float64) ** 2).mean(axis=0)).reshape(8, 12).sum(axis=1)
    assert np.ptp(logs) < 1.5
    assert logs.sum() < plain.sum() - 1


def test_each_way_finds_what_it_should() -> None:
    """A rotation finds more than none, more bytes more than fewer, and 8 bits more than 4."""
    vectors = clustered(4000, 96, 15)
    queries = vectors[:60] + np.float32(0.2) * gaussian(60, 96, "cosine", 16)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    def found(text: str) -> float:
        return overlap(built(text, 96, "cosine", vectors), queries, vectors)

    plain = built("pq12", 96, "cosine", vectors)
    params = learned("pq12", 96, "cosine", vectors)
    assert isinstance(plain, ProductCodec)
    axes = np.eye(96, dtype=np.float32)
    unturned = ProductCodec(
        spec="pq12", dim=96, metric="cosine", books=params["books"], rotation=axes
    )
    assert found("pq12") > overlap(unturned, queries, vectors)
    shares = [found(text) for text in ("pq6", "pq12", "pq24")]
    assert sorted(shares) == shares
    assert found("pq12") > found("pq24x4") > found("pq12x4")
    assert found("opq12") > shares[0]
    assert found("rq4") > found("rq2")


def test_balanced_codes_are_used_alike() -> None:
    """Potentials raise the usage of the least used subquantizer to 7.8 of 8 bits, on rows that
    were not in the sample too, and find nearly as much.
    """
    rng = np.random.default_rng(0)
    vectors = clustered(12_000, 48, 6)
    vectors[:4_000] = vectors[0] + np.float32(0.7) * vectors[:4_000]  # a third in one place
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[rng.permutation(len(vectors))]
    queries = vectors[:100]
    used, share = [], []
    for text in ("pq6", "pq6+balanced"):
        codec = built(text, 48, "cosine", vectors[:8_000])
        used.append(twin.entropies(codec.encode(vectors[4_000:]), 256).min())
        share.append(overlap(codec, queries, vectors))
    assert used[1] > max(used[0], 7.8)
    assert share[1] > share[0] - 0.03


def test_code_sizes() -> None:
    """A code takes a byte a subquantizer, half of one with 4 bits, whatever the metric."""
    sample = np.ones((1, 96), dtype=np.float32)
    for text, size in {"pq12": 12, "pq24x4": 12, "opq8": 8, "rq5": 5, "pq6x4": 3}.items():
        for metric in METRICS:
            codec = built(text, 96, metric, sample)
            assert codec.code_bytes == size
            assert codec.encode(sample).shape == (1, size)


def test_many_dimensions_need_no_square_matrix() -> None:
    """Beyond MATRIX_DIM_MAX dimensions `pq` learns no rotation, and `opq` is refused."""
    dim = 2 * MATRIX_DIM_MAX
    vectors = gaussian(20, dim, "dot", 13)
    assert learned("pq4", dim, "dot", vectors).keys() == {"books"}
    codec = built("pq4", dim, "dot", vectors)
    np.testing.assert_allclose(codec.decode(codec.encode(vectors)), vectors, atol=1e-4)
    with pytest.raises(SchemaError, match="at most 2,048"):
        parse_spec("opq4", dim)


@pytest.mark.parametrize(
    "text", ["pq50", "pq3x4", "rq4x4", "rq4+balanced", "pq0", "pqx4", "pq1025"]
)
def test_names_that_cannot_be_are_refused(text: str) -> None:
    """Subquantizers that do not divide the dimensions, fill bytes or exist raise SchemaError."""
    with pytest.raises(SchemaError, match="representation"):
        parse_spec(text, 384)
