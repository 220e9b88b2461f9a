"""Codecs are told and codes are taken alike, embedded and remote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.congruence.pair import Pair, paired
from vecstore import options
from vecstore.errors import CodecError
from vecstore.ingest import batch
from vecstore_client.inputs import make_codec
from vecstore_proto import results
from vecstore_proto.codecs import CodecValues
from vecstore_server import receiving

DIM = 24
SCHEMA = vs.Schema(
    vectors=[
        vs.Vector("free", DIM, "cosine", ["bits1", "bits8"]),
        vs.Vector("learned", DIM, "l2", ["prefix4/bits2", "pca8/int8"]),
        vs.Vector("whole", DIM, "dot"),
    ]
)

CODECS = (("free", None), ("learned", None), ("learned", "prefix4/bits2"), ("whole", None))


def vectors(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def trained(database: Any) -> Any:
    """A collection with 50 records and every codec."""
    items = database.create_collection("items", SCHEMA)
    fields = ("free", "learned", "whole")
    items.upsert(range(50), {name: vectors(50, seed) for seed, name in enumerate(fields)})
    items.flush()
    return items


def test_codecs_encode_alike(either: Any) -> None:
    """A codec from an embedded database or a server makes the codes that the database makes."""
    items = trained(either)
    for field, spec in CODECS:
        codec = items.codec(field, spec)
        vector = SCHEMA.vector(field)
        ladder = vector.representations or ("bits2", "float16")
        assert (codec.spec, codec.dim, codec.metric) == (spec or ladder[-1], DIM, vector.metric)
        codes = codec.encode(vectors(5, 77))
        assert (len(codes), codes.codes.shape[1]) == (5, codec.code_bytes)
        items.upsert(range(100, 105), {field: vectors(5, 77)})
        if spec is None:
            items.upsert(range(200, 205), {field: codes})
            items.flush()
            coded, plain = (items.get([id_], with_vectors=True)[0] for id_ in (203, 103))
            expected = codec.decode(codes)[3]  # of pca a row alone may be rounded otherwise
            np.testing.assert_allclose(coded.vectors[field], expected, atol=1e-5)
            np.testing.assert_allclose(plain.vectors[field], expected, atol=1e-5)
            assert set(items.search({field: vectors(5, 77)[3]}, limit=2).ids.tolist()) == {103, 203}


def test_codes_of_only_one_field(either: Any) -> None:
    """Where a collection has one vector field, codes need not name it."""
    items = either.create_collection("one", vs.Schema([vs.Vector("v", DIM, "dot", ["bits4"])]))
    codec = items.codec("v")
    assert items.upsert([1, "b"], codec.encode(vectors(2)), [{"x": 1}, None]) == 2
    assert items.search(vectors(2)[1], limit=1).ids.tolist() == ["b"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that hold little."""
    monkeypatch.setattr(options, "REQUEST_BYTES_TARGET", 2_000)
    monkeypatch.setattr(results, "PART_BYTES_MAX", 300)


@pytest.mark.usefixtures("small")
def test_large_batches_and_codecs_come_in_parts(either: Any) -> None:
    """Codes and codecs that one message cannot hold arrive whole."""
    items = trained(either)
    codec = items.codec("learned")
    assert sum(array.nbytes for array in codec.params.values()) > 300
    codes = {"learned": codec.encode(vectors(500)), "free": vectors(500)}
    assert items.upsert(range(1000, 1500), codes) == 500
    found = items.get(range(1000, 1500), with_vectors=True)
    np.testing.assert_allclose(
        np.stack([record.vectors["learned"] for record in found]),
        codec.decode(codes["learned"]),
        atol=1e-5,
    )


def test_codes_count_by_their_bytes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of codes may have as many bytes of codes as one of vectors has of vectors."""
    monkeypatch.setattr(options, "REQUEST_BYTES_TARGET", 2_000)
    monkeypatch.setattr(options, "BATCH_BYTES_MAX", 5_000)
    monkeypatch.setattr(batch, "BATCH_BYTES_MAX", 5_000)
    schema = vs.Schema([vs.Vector("v", DIM, "dot", ["prefix8/float16"])])
    with paired(tmp_path, vs.Options(background=False)) as pair:
        items = pair.collection("create_collection", "items", schema)
        codes = items.embedded.codec("v").encode(vectors(400))
        assert items("upsert", range(300), codes[:300]) == ("int", 300)
        assert items("upsert", range(400), codes)[0] is vs.errors.RequestError
        assert items("upsert", range(300), vectors(300))[0] is vs.errors.RequestError


def test_what_is_refused(pair: Pair) -> None:
    """Codes and codecs are refused with the same words, embedded and remote."""
    items = pair.collection("create_collection", "refused", SCHEMA)
    for field, spec in (("learned", None), ("x", None), ("free", "bits2"), (7, None), ("free", 7)):
        assert items("codec", field, spec)[0] is vs.errors.NotFoundError
    assert items("codec", "free", "bits\ud800")[0] is vs.errors.NotFoundError
    codec = items.embedded.codec("free")
    codes = codec.encode(vectors(3))
    wrong = codes.codes.copy()
    wrong[1, -6:-2] = np.array([np.nan], "<f4").view(np.uint8)
    for given in (
        vs.Codes("bits8", "0" * 64, codes.codes),
        vs.Codes("bits4", codec.fingerprint, codes.codes),
        vs.Codes("", "", codes.codes),
        vs.Codes("bits8", codec.fingerprint, wrong),
        vs.Codes("bits8", codec.fingerprint, codes.codes[:, 1:]),
        codes[:2],
    ):
        assert issubclass(
            items("upsert", [1, 2, 3], {"free": given})[0], vs.errors.InvalidInputError
        )
    assert items("upsert", [1], {"nothing": codes[:1]})[0] is vs.errors.NotFoundError
    assert items("upsert", [1], codes[:1])[0] is vs.errors.RequestError
    assert items("upsert", [1], {"free": codes[:1]}, [{1: 2}])[0] is vs.errors.PayloadError
    assert items("search", {"free": codes[:1]})[0] is vs.errors.VectorError
    assert items("count") == ("int", 0)


def test_codecs_are_equal(pair: Pair) -> None:
    """A codec is the same value, embedded and remote."""
    items = Pair(trained(pair.embedded), trained(pair.remote), pair.tell)
    for field, spec in CODECS:
        items("codec", field, spec)


def test_mixed_parts_are_refused() -> None:
    """Parts of a stream that have codes and vectors, or codes of two codecs, are not joined."""
    codes = vs.Codes("bits8", "a", np.zeros((2, 4), np.uint8))
    others = [np.zeros((2, 4)), vs.Codes("bits8", "b", codes.codes), [None, None]]
    for other in others:
        for parts in ([codes, other], [other, codes]):
            with pytest.raises(vs.errors.RequestError, match="different codecs"):
                receiving._end_to_end(parts)
    assert len(receiving._end_to_end([codes, codes])) == 4


def test_another_version_is_told() -> None:
    """A client whose codec would make other codes than the server's refuses to encode."""
    values = CodecValues("bits8", DIM, "dot", {}, "f00")
    with pytest.raises(CodecError, match="expected 'f00', as in the server"):
        make_codec("v", values)
