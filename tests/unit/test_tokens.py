"""Sets of vectors: what is refused in which words, what is kept, and what costs little."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import vecstore as vs
from tests.fault.damage import component_spans
from tests.unit.damaged import flip
from vecstore import options
from vecstore.collection import Collection
from vecstore.errors import CodecError, CorruptionError, DimensionError, VecstoreError, VectorError
from vecstore.ingest.tokens import token_count
from vecstore.segment import format as segment_format
from vecstore.segment.reader import Segment
from vecstore.segment.stream import write_component
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.vectors import code_spans

DIM = 3
ONE = np.ones((1, DIM))
IDS = ["a", "b"]
NAN, HUGE = np.full((2, DIM), np.nan), np.full((1, DIM), 1e6)


def test_lengths_become_offsets() -> None:
    """Tokens are made of lengths, also of none; those that do not fit are refused."""
    made = vs.Tokens.of_lengths(np.ones((5, DIM)), [2, 0, 3], np.arange(5))
    assert made.offsets.tolist() == [0, 2, 2, 5]
    assert made.salience is not None
    assert len(vs.Tokens.of_lengths(np.empty((0, DIM)), [])) == 0
    for lengths, words in (
        ([2, 2], "add up to 4, expected none below 0, and 5 in all"),
        ([6, -1], "lengths from -1 on add up to 5"),
        ([2.0, 3.0], "lengths are float64"),
        ([[5]], r"shape \(1, 1\), expected a list of ints"),
    ):
        with pytest.raises(DimensionError, match=words):
            vs.Tokens.of_lengths(np.ones((5, DIM)), lengths)


@pytest.fixture
def items(tmp_path: Path) -> Any:
    """A collection with a multivector field of float16, and one of float32."""
    schema = vs.Schema(
        [
            vs.MultiVector("pages", DIM, "dot", ["float16"]),
            vs.MultiVector("views", DIM, "cosine", ["float32"]),
        ]
    )
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        yield db.create_collection("items", schema)
        assert db.check() == []


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("text", DimensionError, "are a str"),
        (np.ones((2, DIM)), DimensionError, "are a ndarray"),
        ([ONE], DimensionError, "1 sets of vectors for 2 ids"),
        ([ONE, np.ones(DIM)], DimensionError, r"\(3,\) of id 'b'"),
        ([ONE, np.ones((2, 4))], DimensionError, r"\(2, 4\) of id 'b'"),
        ([ONE, np.ones((0, DIM))], DimensionError, r"\(0, 3\) of id 'b'"),
        ([ONE, []], DimensionError, r"\(0,\) of id 'b'"),
        ([ONE, 5], DimensionError, r"\(\) of id 'b'"),
        ([ONE, np.array(5)], DimensionError, r"\(\) of id 'b'"),
        ([ONE, np.ones((65_536, DIM), np.int8)], DimensionError, "of id 'b'.*65,535"),
        ([ONE, [[1, 2, 3], [1, 2]]], VectorError, "of id 'b'.*no array"),
        ([ONE, [["x", "y", "z"]]], VectorError, "of id 'b'.*dtype <U1"),
        ([ONE, [None, None]], VectorError, "of id 'b'.*dtype object"),
        ([ONE, ONE * 1j], VectorError, "of id 'b'.*dtype complex128"),
        ([ONE, NAN], VectorError, "id 'b'.*nan"),
        ([None, [[1, 2, 3], [1, np.inf, 2]]], VectorError, "id 'b'.*inf at 1"),
        ([HUGE, ONE], VectorError, "id 'a'.*at most 65504"),
        (vs.Tokens(np.ones((2, 4)), [0, 1, 2]), DimensionError, r"\(2, 4\)"),
        (vs.Tokens(np.ones(3), [0, 1, 2]), DimensionError, r"\(3,\)"),
        (vs.Tokens(np.array(3), [0, 1, 2]), DimensionError, r"\(\)"),
        (vs.Tokens([None, None], [0, 1, 2]), VectorError, "dtype object"),
        (vs.Tokens([[1, 2], [1]], [0, 1, 2]), VectorError, "no array"),
        (vs.Tokens(np.ones((2, DIM)), [0, 2]), DimensionError, "expected 3 ints"),
        (vs.Tokens(np.ones((2, DIM)), [0.0, 1.0, 2.0]), DimensionError, "float64.*3 ints"),
        (vs.Tokens(np.ones((2, DIM)), [[0, 1, 2]]), DimensionError, r"\(1, 3\)"),
        (vs.Tokens(np.ones((2, DIM)), "no"), VectorError, "offsets.*dtype"),
        (vs.Tokens(np.ones((2, DIM)), [0, 1, 3]), DimensionError, "from 0 to 3"),
        (vs.Tokens(np.ones((2, DIM)), [1, 1, 2]), DimensionError, "from 1 to 2"),
        (vs.Tokens(np.ones((2, DIM)), [0, 3, 2]), DimensionError, "ascend"),
        (
            vs.Tokens(np.ones((2, DIM)), np.array([0, 2**63 + 1, 2], np.uint64)),
            DimensionError,
            "ascend",
        ),
        (
            vs.Tokens(np.ones((65_537, DIM), np.int8), [0, 1, 65_537]),
            DimensionError,
            "'b' has 65,536",
        ),
        (vs.Tokens(np.concatenate([ONE, NAN]), [0, 1, 3]), VectorError, "id 'b'.*nan"),
        (vs.Tokens(np.ones((2, DIM)), [0, 1, 2], [1]), DimensionError, "2 numbers"),
        (vs.Tokens(np.ones((2, DIM)), [0, 1, 2], ["x", "y"]), VectorError, "salience.*dtype"),
        (vs.Tokens(np.ones((2, DIM)), [0, 1, 2], [1, np.nan]), VectorError, "id 'b'.*NaN"),
    ],
)
def test_refused(items: Collection, given: Any, error: type[VecstoreError], said: str) -> None:
    """What is no set of vectors for each id is refused with its reason, and nothing is written."""
    with pytest.raises(error, match=said) as caught:
        items.upsert(IDS, {"pages": given})
    assert "'pages'" in str(caught.value)
    assert items.count() == 0
    assert items._store.snapshot().buffer_batches == 0


def test_largest_set(items: Collection) -> None:
    """65,535 vectors of one record are kept, and come back through a flush and a compaction."""
    vectors = np.arange(65_535 * DIM).reshape(-1, DIM) % 2048
    items.upsert(IDS, {"pages": [vectors, None]})
    items.flush()
    items.compact()
    (record, other) = items.get(IDS, with_vectors=True)
    assert record.vectors["pages"].tolist() == vectors.tolist()
    assert other.vectors == {}


def test_records_without_sets(items: Collection) -> None:
    """Records that lack the field are read alone, before and after a flush."""
    items.upsert(IDS, {"pages": [ONE, None]})
    items.upsert(["c"], {"pages": vs.Tokens(np.empty((0, DIM)), [0, 0])})
    items.upsert(["d"])
    for _ in range(2):
        assert [record.vectors for record in items.get(["b"], with_vectors=True)] == [{}]
        assert [record.vectors for record in items.get(["d", "c"], with_vectors=True)] == [{}, {}]
        items.flush()
    assert items.stats().representations[0].vectors == 1


def test_kept_values(items: Collection) -> None:
    """Cosine vectors come back at unit length, zeros as zeros, and arguments stay as they are."""
    given = np.array([[3, 0, 4], [0, 0, 0], [1e30, 0, 0]], dtype=np.float32)
    tokens = vs.Tokens(given, np.array([0, 3]), np.array([1, 5, np.inf]))
    before = given.copy()
    items.upsert(["a"], {"views": tokens})
    assert (given == before).all()
    found = items.get(["a"], with_vectors=True)[0].vectors["views"]
    np.testing.assert_allclose(found, [[0.6, 0, 0.8], [0, 0, 0], [1, 0, 0]], rtol=1e-6)


def test_stats_count_tokens(items: Collection) -> None:
    """The vectors of a multivector representation are its tokens, a code each."""
    items.upsert(IDS, {"pages": [np.ones((500, DIM)), np.ones((700, DIM))]})
    items.flush()
    pages = items.stats().representations[0]
    assert pages.vectors == 1200
    assert 2 * DIM <= pages.bytes_per_vector < 2 * DIM + 1


def test_ready_made_codes_are_refused(items: Collection) -> None:
    """A multivector field takes vectors, and says so to whoever has codes or wants its codec."""
    codes = vs.Codes("float16", "0" * 64, np.zeros((2, 2 * DIM), dtype=np.uint8))
    with pytest.raises(CodecError, match="multivector field 'pages', expected vectors"):
        items.upsert(IDS, {"pages": codes})
    with pytest.raises(CodecError, match="multivector field 'pages', expected vectors"):
        items.codec("pages")
    assert items.count() == 0


@pytest.mark.parametrize("flushed", [True, False])
def test_values_that_float16_cannot_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, flushed: bool
) -> None:
    """An alteration to float16 is refused where a token is too large, and names its record."""
    monkeypatch.setattr(options, "CHUNK_BYTES", 64)
    schema = vs.Schema([vs.MultiVector("pages", DIM, "dot", ["float32"])])
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        items = db.create_collection("items", schema)
        many = [np.ones((40, DIM))] * 4
        items.upsert([*range(4), "big", 4], {"pages": [*many, np.concatenate([ONE, HUGE]), ONE]})
        if flushed:
            items.flush()
        with pytest.raises(VectorError, match=r"id 'big'.*at most 65504"):
            items.alter("pages", ["float16"])
        items.delete(["big"])
        items.alter("pages", ["float16"])
        record = items.get([3], with_vectors=True)[0]
        assert record is not None
        assert record.vectors["pages"].tolist() == many[3].tolist()
        assert db.check() == []


@pytest.mark.parametrize("most", [1, 3, 4, 100])
def test_spans_of_codes(items: Collection, most: int) -> None:
    """Rows are cut into pieces of at most so many codes, or of one row with more."""
    items.upsert(range(6), {"pages": [np.ones((count, DIM)) for count in (1, 2, 5, 1, 1, 1)]})
    items.flush()
    source = items._store.snapshot().segments[0].source
    tokens = source.tokens("pages")
    assert tokens is not None
    pieces = list(code_spans(source, "pages", np.array([0, 2, 3, 4, 5]), most))
    assert np.concatenate(pieces).tolist() == [0, 2, 3, 4, 5]
    assert all(tokens.count_of(piece) <= most or len(piece) == 1 for piece in pieces)
    assert len(pieces) == {1: 5, 3: 3, 4: 3, 100: 1}[most]


def test_what_is_read_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the places of tokens only those of the records that are asked for are verified."""
    monkeypatch.setattr(segment_format, "SMALL_BLOCKS", 0)
    count, per = 80, 1000
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        schema = vs.Schema([vs.MultiVector("pages", 1, "dot", ["float16"])])
        items = db.create_collection("items", schema)
        values = np.arange(count * per)[:, None] % 100
        offsets = np.arange(count + 1) * per
        salience = np.random.default_rng(0).random(count * per)
        items.upsert(range(count), {"pages": vs.Tokens(values, offsets, salience)})
        items.flush()
    (file,) = tmp_path.glob("segments/*/tokens-0")
    spans = {kind: (start, stop) for kind, start, stop in component_spans(file)}
    flip(file, spans["tokens: array places"][1] - 1)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        tokens = items._store.snapshot().segments[0].source.tokens("pages")
        assert tokens is not None
        assert tokens.count == count * per
        record = items.get([0], with_vectors=True)[0]
        assert record is not None
        assert record.vectors["pages"].tolist() == values[:per].tolist()
        for read in (tokens.all_places, tokens.all_salience, tokens.as_given):
            with pytest.raises(CorruptionError, match=r"tokens-0.*holds the seqs"):
                read()
        with pytest.raises(CorruptionError, match=r"tokens-0.*holds the seqs"):
            items.get([count - 1], with_vectors=True)
        assert len(db.check()) == 1


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("offsets", np.array([0, 2, 2], np.uint64), "of 0 to 2 tokens"),
        ("offsets", np.array([0, 70_000], np.uint64), "expected 1 to 65,535"),
        ("offsets", np.array([1, 2], np.uint64), "does not ascend"),
        ("offsets", np.array([0, 3, 1], np.uint64), "does not ascend|tokens"),
        ("offsets", np.array([], np.uint64), "does not ascend"),
        ("offsets", np.array([0, 2], np.int64), "expected uint64"),
        ("places", np.array([1], np.uint16), "has 1 values, expected 2"),
        ("salience", np.array([1, 2, 3], np.float16), "has 3 values, expected 2"),
        ("salience", np.array([1, 2], np.float32), "expected float16"),
    ],
)
def test_bounds_that_do_not_fit(name: str, array: Any, said: str) -> None:
    """Stored arrays that do not bound tokens are damage."""
    arrays = {"offsets": np.array([0, 2], dtype=np.uint64), name: array}
    with pytest.raises(CorruptionError, match=said):
        TokenBounds.from_arrays(arrays, "")


def test_token_count() -> None:
    """What is counted before it is checked may be anything."""
    assert token_count(vs.Tokens(np.ones((4, 2)), [0, 4])) == 4
    assert token_count(vs.Tokens(np.array(1), [0])) == 0
    assert token_count([np.ones((4, 2)), None, [[1, 2]], 5, np.array(1)]) == 5
    assert token_count(7) == 0


def test_bounds_that_are_missing(items: Collection, tmp_path: Path) -> None:
    """A component of other arrays, whose checksums match, is damage, too."""
    items.upsert(IDS, {"pages": [ONE, ONE]})
    items.flush()
    source = items._store.snapshot().segments[0].source
    assert isinstance(source, Segment)
    files, folder = items._store.environment.files, tmp_path / "forged"
    shutil.copytree(source.folder, folder)
    (folder / "tokens-0").unlink()
    made = write_component(files, folder / "tokens-0", "tokens", {"other": np.zeros(3)})
    kept = (made if item.name == made.name else item for item in source.info.components)
    info = msgspec.structs.replace(source.info, components=tuple(kept))
    forged = Segment(files, folder, info, items._store.shelf.load)
    with pytest.raises(CorruptionError, match=r"has no array 'offsets'.*holds the seqs"):
        forged.tokens("pages")
