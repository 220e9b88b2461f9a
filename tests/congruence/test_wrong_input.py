"""Wrong input raises the same error with the same text on both, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.congruence.pair import Pair
from vecstore import errors

SCHEMA = vs.Schema(
    vectors=[vs.Vector("text", 4, representations=["bits4", "float16"]), vs.Vector("pic", 2, "l2")],
    columns=[
        vs.Column("year", "int"),
        vs.Column("lang", "keyword"),
        vs.Column("tags", "list[keyword]"),
        vs.Column("seen", "timestamp"),
    ],
)
ONE = vs.Schema(vectors=[vs.Vector("v", 3, "dot")])
ROWS = np.eye(4, dtype=np.float32)

Call = Callable[[Any], Any]

BATCHES: dict[str, tuple[type[Exception], str, Any]] = {
    "wrong dim": (errors.DimensionError, "4", ([1, 2], {"text": np.ones((2, 3))})),
    "one axis": (errors.DimensionError, "text", ([1], {"text": np.ones(4)})),
    "three axes": (errors.DimensionError, "text", ([1], {"text": np.ones((1, 1, 4))})),
    "no axis": (errors.DimensionError, "text", ([1], {"text": np.float32(1)})),
    "too few rows": (errors.DimensionError, "text", ([1, 2], {"text": ROWS[:1]})),
    "too few in a list": (errors.DimensionError, "text", ([1, 2], {"text": [None]})),
    "ragged": (errors.DimensionError, "text", ([1, 2], {"text": [[1, 2, 3, 4], [1, 2]]})),
    "ragged with None": (
        errors.DimensionError,
        "text",
        ([1, 2, 3], {"text": [[1, 2, 3, 4], None, [1]]}),
    ),
    "nan": (errors.VectorError, "'b'", (["a", "b"], {"text": [[0, 0, 0, 1], [0, 0, np.nan, 0]]})),
    "infinity": (errors.VectorError, "inf", ([1], {"pic": [[np.inf, 0]]})),
    "too large for float32": (errors.VectorError, "1e", ([1], {"text": [[1e300, 0, 0, 0]]})),
    "too large for float16": (errors.VectorError, "float32", ([1], {"pic": [[1e6, 0]]})),
    "strings": (errors.VectorError, "text", ([1], {"text": [["1", "2", "3", "4"]]})),
    "a string": (errors.VectorError, "text", ([1], {"text": "text"})),
    "complex": (errors.VectorError, "complex", ([1], {"text": ROWS[:1].astype(complex)})),
    "objects": (errors.VectorError, "object", ([1], {"text": ROWS[:1].astype(object)})),
    "bools": (errors.VectorError, "bool", ([1], {"text": ROWS[:1].astype(bool)})),
    "unknown field": (errors.NotFoundError, "words", ([1], {"words": ROWS[:1]})),
    "a field that is no str": (errors.NotFoundError, "7", ([1], {7: ROWS[:1]})),
    "no field named": (errors.RequestError, "text", ([1], ROWS[:1])),
    "bool id": (errors.IdError, "True", ([True], {"text": ROWS[:1]})),
    "float id": (errors.IdError, "1.5", ([1, 1.5], {"text": ROWS[:2]})),
    "None as id": (errors.IdError, "None", ([None], None)),
    "large id": (errors.IdError, "2", ([2**63], None)),
    "empty id": (errors.IdError, "''", ([""], None)),
    "long id": (errors.IdError, "255", (["é" * 128], None)),
    "surrogate id": (errors.IdError, "UTF-8", (["\ud800"], None)),
    "ids are a string": (errors.IdError, "str", ("ab", None)),
    "ids are a number": (errors.IdError, "int", (7, None)),
    "ids are None": (errors.IdError, "NoneType", (None, None)),
    "ids of two axes": (errors.IdError, "[N]", (np.ones((2, 2), int), None)),
    "payload is a list": (errors.PayloadError, "list", ([1], None, [[1]])),
    "payloads are a dict": (errors.PayloadError, "dict", ([1], None, {"year": 1})),
    "too few payloads": (errors.PayloadError, "1", ([1, 2], None, [{}])),
    "payload with nan": (errors.PayloadError, "nan", ([1], None, [{"x": float("nan")}])),
    "payload with int key": (errors.PayloadError, "str", ([1], None, [{1: 2}])),
    "payload with an object": (errors.PayloadError, "object", ([1], None, [{"x": object()}])),
    "payload with a set": (errors.PayloadError, "set", ([1], None, [{"x": {1}}])),
    "payload with bytes": (errors.PayloadError, "bytes", ([1], None, [{"x": b"a"}])),
    "payload with a surrogate": (errors.PayloadError, "1", ([1], None, [{"x": "\ud800"}])),
    "payload that is not JSON": (errors.PayloadError, "JSON", ([1], None, [b"{"])),
    "payload of no bytes": (errors.PayloadError, "JSON", ([1], None, [b""])),
    "large payload": (errors.PayloadError, "1,048,576", ([1], None, [{"x": "a" * (1 << 20)}])),
    "int column": (errors.PayloadError, "year", ([1], None, [{"year": "2000"}])),
    "bool in int column": (errors.PayloadError, "year", ([1], None, [{"year": True}])),
    "large int in column": (errors.PayloadError, "year", ([1], None, [{"year": 2**63}])),
    "keyword column": (errors.PayloadError, "lang", ([1], None, [{"lang": 3}])),
    "list column": (errors.PayloadError, "tags", ([1], None, [{"tags": "x"}])),
    "item of list column": (errors.PayloadError, "tags", ([1], None, [{"tags": ["x", 1]}])),
    "timestamp column": (errors.PayloadError, "seen", ([1], None, [{"seen": "yesterday"}])),
    "too many records": (errors.RequestError, "100,000", (range(100_001), None)),
    "too many records with vectors": (
        errors.RequestError,
        "100,001",
        (range(100_001), {"text": np.ones((100_001, 4), np.float32)}),
    ),
}

LIVES: dict[str, tuple[str, Any]] = {
    "zero": ("ttl_s is 0,", 0),
    "zero in a list": ("ttl_s is 0.0,", [1, 0.0]),
    "negative": ("-1.5", -1.5),
    "nan": ("nan", [float("nan"), None]),
    "infinity": ("inf", float("inf")),
    "too long": ("3,162,240,000", 4e9),
    "huge": ("3,162,240,000", 10**400),
    "bool": ("True", True),
    "NumPy's bool": ("True", np.array([True, False])),
    "str": ("'5'", "5"),
    "list of str": ("'5'", ["5", None]),
    "too few": ("1 items for 2 ids", [5]),
    "too many": ("3 items for 2 ids", np.ones(3)),
    "of two axes": ("array([1., 1.])", np.ones((2, 2))),
    "of no axis": ("array(5.)", np.array(5.0)),
    "a dict": ("{}", {}),
}

QUERY = {"text": [1, 0, 0, 0]}
CALLS: dict[str, tuple[type[Exception], str, Call]] = {
    "wrong dim": (errors.DimensionError, "4", lambda c: c.search({"text": [1, 2]})),
    "many for one": (errors.DimensionError, "4", lambda c: c.search({"text": ROWS})),
    "one for many": (errors.DimensionError, "4", lambda c: c.search_batch(QUERY)),
    "ragged": (errors.VecstoreError, "text", lambda c: c.search_batch({"text": [[1], [1, 2]]})),
    "nan": (errors.VectorError, "nan", lambda c: c.search({"text": [np.nan, 0, 0, 0]})),
    "nan in a batch": (
        errors.VectorError,
        "query 2",
        lambda c: c.search_batch({"text": [[1, 0, 0, 0]] * 2 + [[np.inf, 0, 0, 0]]}),
    ),
    "strings": (errors.VectorError, "text", lambda c: c.search({"text": ["a"] * 4})),
    "None": (errors.VecstoreError, "", lambda c: c.search(None)),
    "None in a field": (errors.VecstoreError, "", lambda c: c.search({"text": None})),
    "None in a list": (errors.VecstoreError, "", lambda c: c.search({"text": [1, 0, None, 0]})),
    "unknown field": (errors.NotFoundError, "words", lambda c: c.search({"words": [1]})),
    "no field": (errors.VecstoreError, "", lambda c: c.search([1, 0, 0, 0])),
    "no fields": (errors.RequestError, "0", lambda c: c.search({})),
    "two fields": (errors.RequestError, "2", lambda c: c.search(QUERY | {"pic": [1, 0]})),
    "limit 0": (errors.RequestError, "10,000", lambda c: c.search(QUERY, limit=0)),
    "limit -1": (errors.RequestError, "-1", lambda c: c.search(QUERY, limit=-1)),
    "huge limit": (errors.RequestError, "10,000", lambda c: c.search(QUERY, limit=10_001)),
    "giant limit": (errors.RequestError, "10,000", lambda c: c.search(QUERY, limit=1 << 70)),
    "bool limit": (errors.RequestError, "True", lambda c: c.search(QUERY, limit=True)),
    "float limit": (errors.RequestError, "1.0", lambda c: c.search(QUERY, limit=1.0)),
    "str limit": (errors.RequestError, "'1'", lambda c: c.search_batch({"text": ROWS}, limit="1")),
    "unknown representation": (
        errors.NotFoundError,
        "bits1",
        lambda c: c.search(QUERY, plan=vs.Cascade([vs.Scan("bits1", keep=5)])),
    ),
    "no plan": (errors.RequestError, "plan", lambda c: c.search(QUERY, plan="fast")),
    "plan and exact": (
        errors.RequestError,
        "exact",
        lambda c: c.search(QUERY, exact=True, plan=vs.Cascade([vs.Scan("bits4", keep=20)])),
    ),
    "malformed where": (errors.FilterError, "^", lambda c: c.search(QUERY, where="year >")),
    "where in count": (errors.FilterError, "^", lambda c: c.count("(year = 1")),
    "where in delete": (errors.FilterError, "^", lambda c: c.delete(where="é漢 = 1")),
    "where in scroll": (errors.FilterError, "^", lambda c: list(c.scroll(where="year == 1"))),
    "unknown column": (errors.FilterError, "lang", lambda c: c.count("lung = 'en'")),
    "wrong type in where": (errors.FilterError, "^", lambda c: c.count("year = 'x'")),
    "empty where": (errors.FilterError, "", lambda c: c.count("")),
    "where of lines": (errors.FilterError, "^", lambda c: c.count("year = 1\nAND lang = 2\n")),
    "where of two words": (errors.FilterError, "^", lambda c: c.count("year\tx\x00")),
    "where is a number": (errors.FilterError, "5", lambda c: c.count(5)),
    "where is bytes": (errors.RequestError, "b'", lambda c: c.search(QUERY, where=b"year = 1")),
    "where with a surrogate": (errors.FilterError, "", lambda c: c.count("lang = '\ud800")),
    "long where": (errors.FilterError, "10,000", lambda c: c.count("year = 1" + " " * 10_000)),
    "deep where": (errors.FilterError, "", lambda c: c.count("(" * 2_000)),
    "delete nothing": (errors.RequestError, "ids", lambda c: c.delete()),
    "delete both": (errors.RequestError, "ids", lambda c: c.delete([1], where="year = 1")),
    "delete bool": (errors.IdError, "True", lambda c: c.delete([1, True])),
    "delete str": (errors.IdError, "str", lambda c: c.delete("ab")),
    "get None": (errors.IdError, "None", lambda c: c.get([None])),
    "get a number": (errors.IdError, "int", lambda c: c.get(1)),
    "get of too many": (errors.RequestError, "100,001", lambda c: c.get(range(100_001))),
    "get of an empty id": (errors.IdError, "''", lambda c: c.get(["", 1])),
    "scroll of 0": (errors.RequestError, "0", lambda c: list(c.scroll(batch=0))),
    "page of 0": (errors.RequestError, "0", lambda c: c.scroll_page(0, 0)),
    "page of a str": (errors.RequestError, "'9'", lambda c: c.scroll_page(0, "9")),
    "page after -1": (errors.RequestError, "-1", lambda c: c.scroll_page(-1, 1)),
    "page after True": (errors.RequestError, "True", lambda c: c.scroll_page(True, 1)),
    "alter an unknown field": (errors.NotFoundError, "'words'", lambda c: c.alter("words", [])),
    "alter a field that is no str": (errors.NotFoundError, "[7]", lambda c: c.alter([7], [])),
    "alter to a str": (errors.SchemaError, "['bits2']", lambda c: c.alter("text", "bits2")),
    "alter to None": (errors.RequestError, "for nothing", lambda c: c.alter("text", None)),
    "alter to no policy": (
        errors.SchemaError,
        "'text' ",
        lambda c: c.alter("text", pruning="share0.5"),
    ),
    "alter to a policy that is no text": (
        errors.SchemaError,
        "'text' ",
        lambda c: c.alter("text", pooling=3),
    ),
    "alter to a policy with a surrogate": (
        errors.SchemaError,
        "'text' ",
        lambda c: c.alter("text", pooling="\ud800"),
    ),
    "alter to a set": (
        errors.SchemaError,
        "a list or a tuple",
        lambda c: c.alter("text", {"bits1"}),
    ),
    "alter, wait 0": (errors.RequestError, "wait is 0", lambda c: c.alter("text", [], wait=0)),
    "alter to a number": (errors.SchemaError, "7", lambda c: c.alter("text", ["bits1", 7])),
    "alter to an unknown": (errors.SchemaError, "'bits3'", lambda c: c.alter("text", ["bits3"])),
    "alter to a surrogate": (errors.SchemaError, "ud800", lambda c: c.alter("text", ["\ud800"])),
    "alter to the same twice": (
        errors.SchemaError,
        "each once",
        lambda c: c.alter("text", ["bits1", "bits1"]),
    ),
    "alter to too many": (
        errors.SchemaError,
        "at most 16",
        lambda c: c.alter("text", [f"prefix{n}/bits1" for n in range(17)]),
    ),
    "alter to something finer": (
        errors.SchemaError,
        "the original vectors are gone",
        lambda c: c.alter("text", ["float32"], wait=False),
    ),
    "page after a lot": (errors.RequestError, "after", lambda c: c.scroll_page(1 << 64, 1)),
}

DATABASE_CALLS: dict[str, tuple[type[Exception], str, Call]] = {
    "path": (errors.SchemaError, "../x", lambda d: d.create_collection("../x", ONE)),
    "dots": (errors.SchemaError, "'..'", lambda d: d.create_collection("..", ONE)),
    "no name": (errors.SchemaError, "''", lambda d: d.create_collection("", ONE)),
    "long name": (errors.SchemaError, "128", lambda d: d.create_collection("a" * 129, ONE)),
    "a name with a NUL": (errors.SchemaError, "x00", lambda d: d.create_collection("a\0", ONE)),
    "number as name": (errors.SchemaError, "7", lambda d: d.create_collection(7, ONE)),
    "surrogate as name": (errors.SchemaError, "ud8", lambda d: d.create_collection("\ud800", ONE)),
    "no schema": (errors.SchemaError, "None", lambda d: d.create_collection("n", None)),
    "unknown representation": (
        errors.SchemaError,
        "bits3",
        lambda d: d.create_collection(
            "n", vs.Schema(vectors=[vs.Vector("v", 8, representations=["bits3"])])
        ),
    ),
    "surrogate as representation": (
        errors.SchemaError,
        "ud800",
        lambda d: d.create_collection(
            "n", vs.Schema(vectors=[vs.Vector("v", 8, representations=["\ud800"])])
        ),
    ),
    "prefix too long": (
        errors.SchemaError,
        "prefix99",
        lambda d: d.create_collection(
            "n", vs.Schema(vectors=[vs.Vector("v", 8, representations=["prefix99/bits4"])])
        ),
    ),
    "exists": (errors.AlreadyExistsError, "books", lambda d: d.create_collection("books", ONE)),
    "unknown": (errors.NotFoundError, "movies", lambda d: d.collection("movies")),
    "unknown path": (errors.VecstoreError, "../books", lambda d: d.collection("../books")),
    "unknown to drop": (errors.NotFoundError, "movies", lambda d: d.drop_collection("movies")),
    "number": (errors.VecstoreError, "7", lambda d: d.collection(7)),
    "surrogate": (errors.VecstoreError, "ud800", lambda d: d.drop_collection("\ud800")),
}


@pytest.fixture(scope="module")
def books(pair: Pair) -> Pair:
    """A collection of two records, one in a segment and one in the write buffer."""
    made = pair.collection("create_collection", "books", SCHEMA)
    made("upsert", [1], {"text": ROWS[:1]}, [{"year": 2000, "tags": ["a"]}])
    made("flush")
    made("upsert", ["b"], {"pic": [[1, 2]]}, [{"lang": "en", "seen": "2020-01-01T00:00:00Z"}])
    return made


def refused(pair: Pair, kind: type[Exception], words: str, call: Call, state: Call) -> None:
    """Both raise the same error, of that kind and with these words, and nothing changes."""
    before = pair.run(state)
    found = pair.run(call)
    assert isinstance(found, tuple), f"nothing was raised: {found}"
    assert issubclass(found[0], kind), found
    assert words in found[1]
    assert pair.run(state) == before


def _records(collection: Any) -> Any:
    return list(collection.scroll(with_vectors=True)), collection.stats()


@pytest.mark.parametrize("case", BATCHES)
def test_wrong_batches(books: Pair, case: str) -> None:
    """A batch that cannot be stored is refused with the same words, and nothing is written."""
    kind, words, arguments = BATCHES[case]
    refused(books, kind, words, lambda c: c.upsert(*arguments), _records)


@pytest.mark.parametrize("case", LIVES)
def test_wrong_lives(books: Pair, case: str) -> None:
    """Seconds that no record can live are refused with the same words, and nothing is written."""
    words, ttl_s = LIVES[case]
    refused(
        books,
        errors.RequestError,
        words,
        lambda c: c.upsert([1, 2], {"text": ROWS[:2]}, ttl_s=ttl_s),
        _records,
    )


@pytest.mark.parametrize("case", CALLS)
def test_wrong_calls(books: Pair, case: str) -> None:
    """A search, read or delete that cannot be is refused with the same words."""
    refused(books, *CALLS[case], _records)


MEASUREMENTS: dict[str, tuple[type[Exception], str, Call]] = {
    "nothing was asked": (errors.RequestError, "search first", lambda c: c.measure_recall()),
    "nothing of a field": (
        errors.RequestError,
        "'pic'",
        lambda c: c.measure_recall(field="pic", where="year = 1"),
    ),
    "limit": (errors.RequestError, "limit is 0", lambda c: c.measure_recall(limit=0)),
    "where": (errors.FilterError, "yeer", lambda c: c.measure_recall(where="yeer = 1")),
    "no str": (errors.FilterError, "7", lambda c: c.measure_recall({"text": ROWS}, where=7)),
    "progress": (errors.RequestError, "'x'", lambda c: c.measure_recall(progress="x")),
    "field": (errors.NotFoundError, "words", lambda c: c.measure_recall(field="words")),
    "two ways": (
        errors.RequestError,
        "omit it",
        lambda c: c.measure_recall({"text": ROWS}, field="text"),
    ),
    "one query": (errors.DimensionError, "4", lambda c: c.measure_recall({"text": ROWS[0]})),
    "none": (errors.RequestError, "0 queries", lambda c: c.measure_recall({"text": ROWS[:0]})),
    "many": (
        errors.RequestError,
        "1,001 queries",
        lambda c: c.measure_recall({"text": np.ones((1_001, 4))}),
    ),
    "nothing to find": (
        errors.RequestError,
        "something to find",
        lambda c: c.measure_recall({"text": ROWS}, where="year = 99"),
    ),
}


@pytest.mark.parametrize("case", MEASUREMENTS)
def test_wrong_measurements(books: Pair, case: str) -> None:
    """Recall that cannot be measured is refused with the same words, and none is stored."""
    refused(books, *MEASUREMENTS[case], lambda c: c.stats().recalls)


@pytest.mark.parametrize("case", DATABASE_CALLS)
def test_wrong_database_calls(pair: Pair, books: Pair, case: str) -> None:
    """A name or schema that cannot be is refused with the same words, and nothing is made."""
    assert books.embedded.name == "books"
    refused(pair, *DATABASE_CALLS[case], lambda d: d.collections())


def test_too_many_bytes(pair: Pair) -> None:
    """A batch of more than 1 GiB of vectors is refused before it is sent."""
    wide = pair.collection(
        "create_collection", "wide", vs.Schema(vectors=[vs.Vector("v", 65_536, "dot", ["float32"])])
    )
    vectors = np.broadcast_to(np.float32(1), (4_097, 65_536))
    refused(
        wide,
        errors.RequestError,
        "1,073,741,824",
        lambda c: c.upsert(range(4_097), vectors),
        lambda c: c.count(),
    )


@pytest.mark.parametrize("again", [False, True])
def test_a_dropped_collection_says_so(pair: Pair, again: bool) -> None:
    """The handle of a dropped collection raises the same error, its name reused or not."""
    gone = pair.collection("create_collection", "gone", ONE)
    pair("drop_collection", "gone")
    new = pair.collection("create_collection", "gone", ONE) if again else None
    many = range(50_000), np.ones((50_000, 3))
    uses: list[Call] = [
        lambda c: c.count(),
        lambda c: c.upsert([1], [[1, 2, 3]]),
        lambda c: c.upsert(*many),
        lambda c: c.delete([1]),
        lambda c: c.flush(),
        lambda c: c.compact(),
        lambda c: c.alter("v", ["bits1"]),
        lambda c: c.get([1]),
        lambda c: c.get([]),
        lambda c: c.scroll_page(0, 1),
        lambda c: c.stats(),
        lambda c: c.search([1, 2, 3]),
        lambda c: c.search_batch([[1, 2, 3]]),
    ]
    for use in uses:
        assert gone.run(use) == (errors.NotFoundError, "no collection 'gone'; it was dropped")
    if new is not None:
        assert new("count") == ("int", 0)
        pair("drop_collection", "gone")
