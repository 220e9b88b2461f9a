"""Codes that are refused: of another codec, of another shape, or standing for no vector."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vecstore as vs
from tests.unit.test_coded import DIM, METRICS, make, train, vectors
from vecstore.codec import build_codec, fingerprint_of, parse_spec, train_codec
from vecstore.database import Database
from vecstore.errors import (
    CodecError,
    DimensionError,
    NotFoundError,
    RequestError,
    VectorError,
)
from vecstore.ingest.batch import make_batch
from vecstore.ingest.coded import FieldCodec, take_codes
from vecstore.ingest.encoders import current_codecs
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.types import Metric

SPECS = ("bits1", "bits2", "bits4", "bits8", "int8", "prefix16/bits4", "pca8/int8", "float16")
FACTORED = ("bits1", "bits8", "lvq4", "lvq8", "lvq4x8", "bebr1", "bebr4", "sign", "pq8")


def codec_of(spec: str, metric: Metric = "dot", seed: int = 0) -> FieldCodec:
    parsed = parse_spec(spec, DIM)
    sample = vectors(50, seed)
    params = train_codec(parsed, DIM, metric, sample, 0) if parsed.trained else {}
    return FieldCodec(field="v", spec=spec, dim=DIM, metric=metric, params=params)


def test_fingerprints_tell_codecs_apart() -> None:
    """Codecs of other specs, dimensions, metrics or samples have other fingerprints."""
    made = [codec_of(spec, metric) for spec in SPECS for metric in METRICS]
    made += [codec_of("int8", seed=3), FieldCodec(field="v", spec="bits1", dim=31, metric="dot")]
    prints = [codec.fingerprint for codec in made]
    assert len(set(prints)) == len(prints)
    assert all(len(bytes.fromhex(text)) == 32 for text in prints)


@pytest.mark.parametrize("spec", SPECS)
def test_fingerprints_depend_on_nothing_else(spec: str) -> None:
    """A codec made again of copied parameters, in any order of bytes, has the same fingerprint."""
    one = codec_of(spec)
    params = {
        name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
        for name, array in reversed(one.params.items())
    }
    assert fingerprint_of(spec, DIM, "dot", params) == one.fingerprint


def test_codes_of_another_codec_are_refused(foreground: Database) -> None:
    """Codes with another fingerprint are refused, and the message says what was expected."""
    items = make(foreground, ["bits1", "int8"])
    codec = items.codec("v")
    codes = codec.encode(vectors(2))
    with pytest.raises(CodecError, match=f"fingerprint 'f00', expected '{codec.fingerprint}'"):
        items.upsert([1, 2], {"v": vs.Codes("int8", "f00", codes.codes)})
    foreign = codec_of("int8", seed=5).encode(vectors(2))
    with pytest.raises(CodecError, match=r"get the codec with collection.codec\('v'\)"):
        items.upsert([1, 2], {"v": foreign})
    assert items.get([1, 2]) == [None, None]


def test_codes_of_a_coarser_representation_are_refused(foreground: Database) -> None:
    """Only codes of the finest representation are taken."""
    items = make(foreground, ["bits1", "bits8"])
    codes = items.codec("v", "bits1").encode(vectors(2))
    with pytest.raises(CodecError, match="are 'bits1', expected 'bits8', its finest"):
        items.upsert([1, 2], {"v": codes})


def test_codec_of_what_is_not_there(foreground: Database) -> None:
    """Asking for the codec of no field, no representation or an untrained one says what to do."""
    schema = Schema([Vector("v", DIM, "dot", ["bits1", "int8"])])
    items = foreground.create_collection("items", schema)
    with pytest.raises(NotFoundError, match="no vector field 'w'"):
        items.codec("w")
    with pytest.raises(NotFoundError, match=r"no representation 'bits2' .* it has 'bits1', 'int8'"):
        items.codec("v", "bits2")
    with pytest.raises(NotFoundError, match=r"learns from vectors; upsert .* flush\(\)"):
        items.codec("v")
    with pytest.raises(CodecError, match="expected none yet"):
        items.upsert([1], {"v": codec_of("int8").encode(vectors(1))})
    train(items, range(50))
    assert items.codec("v").spec == "int8"


def test_codes_of_another_shape_are_refused(foreground: Database) -> None:
    """Codes of another length, number or dtype are refused."""
    items = make(foreground, ["bits8"])
    codec = items.codec("v")
    codes = codec.encode(vectors(2))
    short = vs.Codes("bits8", codec.fingerprint, codes.codes[:, :-1].copy())
    with pytest.raises(DimensionError, match=r"shape \(2, 69\) .* expected \(2, 70\)"):
        items.upsert([1, 2], {"v": short})
    with pytest.raises(DimensionError, match=r"\(2, 70\) for 3 ids"):
        items.upsert([1, 2, 3], {"v": codes})
    with pytest.raises(VectorError, match="dtype int8, expected an array of uint8"):
        vs.Codes("bits8", codec.fingerprint, codes.codes.view(np.int8))  # type: ignore[arg-type]
    with pytest.raises(DimensionError, match=r"shape \(70,\)"):
        vs.Codes("bits8", codec.fingerprint, codes.codes[0])
    with pytest.raises(RequestError, match="two strings"):
        vs.Codes("bits8", None, codes.codes)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no vector field 'w'"):
        items.upsert([1, 2], {"w": codes})


def test_codes_of_a_codec_dropped_meanwhile_are_refused(foreground: Database) -> None:
    """Codes that were checked before their codec was dropped are refused, and nothing changed."""
    items = make(foreground, ["bits1", "int8"])
    codes = items.codec("v").encode(vectors(2))
    store = items._store
    taken = take_codes(items.schema, {"v": codes}, partial(current_codecs, store))
    batch = make_batch(items.schema, [1, 2], taken, None)
    train(items, range(1000, 1500))
    items.compact()
    with pytest.raises(CodecError, match="dropped meanwhile"):
        store.upsert(batch)
    assert items.get([1, 2]) == [None, None]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spec", ["bits1", "bits8", "prefix16/bits4", "float16", "float32"])
def test_codes_that_are_not_finite_are_refused(spec: str, value: float, metric: Metric) -> None:
    """A code whose floats are NaN or infinite is refused, by its number."""
    codec = codec_of(spec, metric)
    codes = codec.encode(vectors(5)).codes
    dtype = "<f2" if spec == "float16" else "<f4"
    start = codec.code_bytes - (10 if metric == "l2" else 6) if "bits" in spec else 8
    codes[3, start : start + np.dtype(dtype).itemsize] = np.array([value], dtype).view(np.uint8)
    with pytest.raises(VectorError, match="code 3 for field 'v' does not stand for"):
        take(codec, vs.Codes(spec, codec.fingerprint, codes))


def test_cosine_codes_of_floats_have_unit_length() -> None:
    """Floats of a cosine field that are neither of unit length nor zeros are refused as codes."""
    codec = codec_of("float16", "cosine")
    longer = vectors(2).astype(np.float16).view(np.uint8)
    with pytest.raises(VectorError, match=r"code 0 .* a vector of unit length, or zeros"):
        take(codec, vs.Codes("float16", codec.fingerprint, longer))
    take(codec, codec.encode(np.zeros((2, DIM))))


def take(codec: FieldCodec, codes: vs.Codes) -> Any:
    """What an upsert makes of codes for a field that has that codec."""
    spec = parse_spec(codec.spec, DIM)
    built = build_codec(spec, DIM, codec.metric, codec.params)
    stored = StoredCodec(id=3, codec=built, params=codec.params)
    schema = Schema([Vector("v", DIM, codec.metric, [codec.spec])])
    return take_codes(schema, {"v": codes}, lambda vector, text: [stored])


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(SPECS),
    st.sampled_from(METRICS),
    hnp.arrays(np.uint8, (4, 200), elements=st.integers(0, 255), fill=st.integers(0, 255)),
)
def test_hostile_codes_never_crash(spec: str, metric: Metric, noise: Any) -> None:
    """Codes of any bytes are refused, or have finite scores for queries of unit length."""
    codec = codec_of(spec, metric)
    given_codes = np.ascontiguousarray(noise[:, : codec.code_bytes])
    try:
        taken = take(codec, vs.Codes(spec, codec.fingerprint, given_codes))["v"]
    except VectorError:
        return
    assert np.ascontiguousarray(taken.values).view(np.uint8).tobytes() == given_codes.tobytes()
    built = build_codec(parse_spec(spec, DIM), DIM, metric, codec.params)
    parts = built.pack(given_codes)
    queries = vectors(3, 7)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for rows, scores in built.prepare(queries).scan(parts, (0, 4), None, 4):
        assert len(rows) == 4
        assert not np.isnan(scores).any()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FACTORED),
    st.sampled_from(METRICS),
    st.sampled_from([1e3, 1e12, 1e19, 1e30, 3e38]),
    st.integers(0, 2**32),
)
def test_huge_factors_never_overflow(spec: str, metric: Metric, size: float, seed: int) -> None:
    """Codes any bytes of which are huge floats are refused, or score finite for unit queries."""
    codec = codec_of(spec, metric)
    rng = np.random.default_rng(seed)
    codes = codec.encode(vectors(4, seed)).codes
    for row in codes[1:]:
        place = 4 * int(rng.integers(codec.code_bytes // 4)) + codec.code_bytes % 4
        huge = np.array([rng.choice([-1, 1]) * size], "<f4").view(np.uint8)
        row[place : place + 4] = huge[: len(row) - place]
    try:
        take(codec, vs.Codes(spec, codec.fingerprint, codes))
    except VectorError:
        return
    built = build_codec(parse_spec(spec, DIM), DIM, metric, codec.params)
    queries = np.concatenate([np.eye(DIM), np.ones((1, DIM)) / np.sqrt(DIM)]).astype(np.float32)
    prepared = built.prepare(queries)
    for query in range(len(queries)):
        score = prepared.score(built.pack(codes), query, np.arange(4))
        assert np.isfinite(score).all()
        assert metric != "cosine" or np.abs(score).max() < 1e12


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spec", FACTORED)
def test_codes_of_the_longest_vectors_are_taken(spec: str, metric: Metric) -> None:
    """Codes of the longest and shortest vectors that may be stored are taken."""
    codec = codec_of(spec, metric)
    some = vectors(6, 1)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    some[:3] *= np.float32(2.0**60.9)
    some[3:5] *= np.float32(1e-30)
    some[5] = 0
    take(codec, codec.encode(some))


def test_wrong_vectors_are_refused_where_they_are_encoded() -> None:
    """`FieldCodec.encode` refuses what an upsert would, by the number of the row."""
    codec = codec_of("bits8")
    wrong = vectors(3)
    wrong[2, 1] = np.nan
    with pytest.raises(VectorError, match="vector of id 2 of field 'v' has nan at 1"):
        codec.encode(wrong)
    with pytest.raises(DimensionError):
        codec.encode(vectors(3)[:, :9])
    for alone in (np.array(3.0), 3.0, vectors(1)[0]):
        with pytest.raises(DimensionError):
            codec.encode(alone)
    with pytest.raises(VectorError):
        codec.encode("text")
    with pytest.raises(RequestError, match="has no params, expected what it learned"):
        FieldCodec(field="v", spec="int8", dim=DIM)
    with pytest.raises(VectorError, match="hold None"):
        codec.encode([None, vectors(1)[0]])
    with pytest.raises(CodecError, match="another codec"):
        codec.decode(codec_of("bits4").encode(vectors(1)))


def test_codes_are_no_queries(foreground: Database) -> None:
    """A search refuses codes."""
    items = make(foreground, ["bits8"])
    with pytest.raises(VectorError):
        items.search({"v": items.codec("v").encode(vectors(1))})
