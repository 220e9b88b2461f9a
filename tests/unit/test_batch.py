"""The caller's arrays to a batch: what is kept, and what is refused in which words."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from vecstore.errors import (
    DimensionError,
    IdError,
    InvalidInputError,
    NotFoundError,
    PayloadError,
    RequestError,
    VectorError,
)
from vecstore.ingest.batch import Batch, check_ids, check_queries, make_batch
from vecstore.options import BATCH_ROWS_MAX, PAYLOAD_BYTES_MAX
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.ids import decode_id, encode_id
from vecstore.types import Metric

COLUMNS = (
    Column("year", "int"),
    Column("price", "float"),
    Column("sold", "bool"),
    Column("lang", "keyword"),
    Column("time", "timestamp"),
    Column("tags", "list[keyword]"),
    Column("scores", "list[float]"),
)


def _schema(metric: Metric = "l2", *representations: str) -> Schema:
    return Schema([Vector("text", 2, metric, representations)], COLUMNS)


def _make(schema: Schema, ids: object, vectors: object, payloads: object) -> Batch:
    """A batch that keeps float32 where that is a representation of the field, else float16."""
    dtypes = {
        field.name: np.dtype("float32" if "float32" in field.representations else "float16")
        for field in schema.vectors
    }
    return make_batch(schema, ids, vectors, payloads, dtypes=dtypes)


def _ids(batch: Batch) -> list[int | str]:
    return [decode_id(data) for data in batch.ids.to_list()]


def _payloads(*payloads: Any) -> Batch:
    return _make(_schema(), list(range(len(payloads))), None, list(payloads))


def test_rows_get_their_seqs() -> None:
    """A batch becomes rows with ascending seqs, and holds each part of its records."""
    batch = _make(_schema(), [7, "a"], [[1, 2], [3, 4]], [{"year": 1}, None])
    rows = batch.rows(40)
    assert rows.seqs.tolist() == [40, 41]
    assert _ids(batch) == [7, "a"]
    assert rows.payloads.to_list() == [b'{"year":1}', b""]
    assert rows.columns["year"].present.tolist() == [True, False]
    assert rows.vectors["text"].values.tolist() == [[1, 2], [3, 4]]


def test_an_empty_batch() -> None:
    """A batch of nothing is fine, in whichever way it is given."""
    every: list[Any] = [{}, None, [], np.empty((0, 2)), {"text": []}]
    for vectors in every:
        batch = _make(_schema(), [], vectors, [])
        assert len(batch.rows(0)) == 0
        assert batch.vectors["text"].values.shape == (0, 2)


def test_the_last_of_equal_ids_wins() -> None:
    """Of records with one id the last is kept, at its own place."""
    vectors = [[1, 1], None, [3, 3], [4, 4]]
    payloads = [{"year": year} for year in range(4)]
    batch = _make(_schema(), ["a", "b", np.int64(5), "a"], vectors, payloads)
    assert _ids(batch) == ["b", 5, "a"]
    assert batch.columns["year"].values.tolist() == [1, 2, 3]
    assert batch.payloads.to_list() == [b'{"year":1}', b'{"year":2}', b'{"year":3}']
    assert batch.vectors["text"].values.tolist() == [[3, 3], [4, 4]]
    assert batch.vectors["text"].rows is not None
    assert batch.vectors["text"].rows.tolist() == [1, 2]


@pytest.mark.parametrize(
    "ids", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1, 2], dtype=np.uint8)]
)
def test_ids_in_any_sequence(ids: object) -> None:
    """Ids come in a list, tuple, range or array."""
    assert check_ids(ids) == [encode_id(1), encode_id(2)]
    assert check_ids(np.array(["a", "bc"])) == [encode_id("a"), encode_id("bc")]


@pytest.mark.parametrize("ids", ["abc", b"abc", {1: 2}, {1, 2}, 5, None, np.zeros((2, 2)), [1.5]])
def test_what_is_no_list_of_ids(ids: object) -> None:
    """A str, dict, set, number or matrix is not taken for a list of ids."""
    with pytest.raises(IdError, match="expected"):
        check_ids(ids)
    with pytest.raises(IdError, match="expected"):
        _make(_schema(), ids, {}, None)


def test_too_many_records() -> None:
    """A batch beyond the limit raises RequestError."""
    with pytest.raises(RequestError, match="100,001 records, expected at most 100,000"):
        _make(_schema(), range(BATCH_ROWS_MAX + 1), {}, None)


# Vectors


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "u8", "i8"])
def test_vectors_of_any_number_type(dtype: str) -> None:
    """Floats and ints of any width and byte order become floats of the wanted width."""
    given = np.array([[1, 2], [3, 4]], dtype=dtype, order="F")
    for wanted in (np.float16, np.float32):
        dtypes = {"text": np.dtype(wanted)}
        batch = make_batch(_schema(), [1, 2], given, None, dtypes=dtypes)
        assert batch.vectors["text"].values.dtype == wanted
        assert batch.vectors["text"].values.tolist() == given.tolist()
        assert batch.vectors["text"].rows is None


def test_float32_is_kept_by_default() -> None:
    """A field without a dtype keeps float32."""
    schema = Schema([Vector("a", 1, "l2"), Vector("b", 1, "l2")])
    batch = make_batch(schema, [1], {"a": [[1e18]]}, None)
    assert batch.vectors["a"].values.tolist() == [[np.float32(1e18)]]
    assert batch.vectors["b"].values.dtype == np.float32


def test_nothing_given_is_changed_or_kept() -> None:
    """The caller's array stays as it is, and changing it later changes no batch."""
    given = np.array([[3, 4]], dtype=np.float32)
    cosine = _make(_schema("cosine", "float32"), [1], given, None)
    dot = _make(_schema("dot", "float32"), [1], given, None)
    assert given.tolist() == [[3, 4]]
    given[:] = 9
    assert cosine.vectors["text"].values[0] == pytest.approx([0.6, 0.8])
    assert dot.vectors["text"].values.tolist() == [[3, 4]]


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1, 1e30, 2e38])
def test_cosine_vectors_get_unit_length(scale: float) -> None:
    """Vectors and queries of cosine fields have length 1, however short or long they came."""
    given = np.array([[1.5, 0.5], [-1, 1]]) * scale
    exact = given.astype(np.float32).astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    schema = _schema("cosine", "float32")
    kept = _make(schema, [1, 2], given, None).vectors["text"].values
    assert kept == pytest.approx(exact, rel=2e-7)
    assert check_queries(schema, given, many=True)[1] == pytest.approx(exact, rel=2e-7)
    assert check_queries(schema, given[1], many=False)[1] == pytest.approx(exact[1:], rel=2e-7)


def test_zeros_stay_zeros() -> None:
    """A zero vector or query of a cosine field stays zero."""
    batch = _make(_schema("cosine"), [1, 2], [[0, 0], [0, 2]], None)
    assert batch.vectors["text"].values.tolist() == [[0, 0], [0, 1]]
    assert check_queries(_schema("cosine"), [0, 0], many=False)[1].tolist() == [[0, 0]]


def test_records_may_lack_a_field() -> None:
    """A field may be left out as a whole, or be None for some records."""
    schema = Schema([Vector("a", 2, "dot"), Vector("b", 1, "dot")])
    vectors = {"a": [None, np.array([1, 2]), None]}
    batch = _make(schema, [1, 2, 3], vectors, None)
    assert batch.vectors["a"].values.tolist() == [[1, 2]]
    assert batch.vectors["a"].rows is not None
    assert batch.vectors["a"].rows.tolist() == [1]
    assert batch.vectors["b"].values.shape == (0, 1)
    nobody = _make(schema, [1, 2], {"a": [None, None]}, None)
    assert nobody.vectors["a"].values.shape == (0, 2)


@pytest.mark.parametrize(
    ("vectors", "error", "words"),
    [
        (np.zeros((2, 3)), DimensionError, r"shape \(2, 3\) .* 'text', expected \(2, 2\)"),
        (np.zeros((3, 2)), DimensionError, r"shape \(3, 2\) for 2 ids"),
        (np.zeros(2), DimensionError, r"shape \(2,\)"),
        ([], DimensionError, r"shape \(0, 2\)"),
        ([None], DimensionError, r"shape \(1, 2\) for 2 ids"),
        ([[1, 2], [3]], DimensionError, r"id 'b' \(row 1\) of field 'text' has 1 .* expected 2"),
        ([[1, 2], 3], DimensionError, "id 'b' .* has no dimensions"),
        ([[1, 2], [3, math.nan]], VectorError, "id 'b' of field 'text' has nan at 1, expected a f"),
        ([None, [3, -math.inf]], VectorError, "id 'b' of field 'text' has -inf at 1"),
        ([[1, 2], [3, 1e39]], VectorError, r"id 'b' .* 1e\+39 at 1, .* range of float32"),
        ([[1, 2], [3, 65505]], VectorError, '65505.0 at 1, .* 65504; add the "float32" repr'),
        ([[1, 2], [-7e4, 4]], VectorError, "id 'b' of field 'text' has -70000.0 at 0"),
        ([["a", "b"], ["c", "d"]], VectorError, "dtype <U1, expected floats or ints"),
        (np.zeros((2, 2), dtype=bool), VectorError, "dtype bool"),
        (np.zeros((2, 2), dtype=complex), VectorError, "dtype complex128"),
        (np.zeros((2, 2), dtype=object), VectorError, "dtype object"),
        ([[1, None], [1, 2]], VectorError, "dtype object"),
        ([[1, 2], [1, 10**30]], VectorError, "dtype object"),
        ({"txet": np.zeros((2, 2))}, NotFoundError, "no vector field 'txet'"),
        ("ab", VectorError, "dtype <U2"),
    ],
)
def test_unusable_vectors(vectors: object, error: type[Exception], words: str) -> None:
    """Vectors of another shape, dtype or range raise an error that names record and field."""
    with pytest.raises(error, match=words):
        _make(_schema(), ["a", "b"], vectors, None)


def test_float32_fields_keep_large_values() -> None:
    """A value beyond float16 is kept where float32 is a representation."""
    batch = _make(_schema("l2", "float32"), [1], [[1e17, -3e17]], None)
    assert batch.vectors["text"].values[0] == pytest.approx([1e17, -3e17])


def test_vectors_whose_scores_would_overflow_are_refused() -> None:
    """A vector or query so long that its scores leave float32 is refused; cosine takes any."""
    for metric in ("dot", "l2"):
        with pytest.raises(VectorError, match=r"id 1 .*scale your vectors down"):
            _make(_schema(metric, "float32"), [1], [[1e38, 0]], None)
        with pytest.raises(VectorError, match=r"query 0 .*scale your vectors down"):
            check_queries(_schema(metric, "float32"), [1e38, 0], many=False)
    _make(_schema("cosine", "float32"), [1], [[1e38, 0]], None)


def test_bare_vectors_need_one_field() -> None:
    """Vectors without a field name are refused where there are two fields."""
    schema = Schema([Vector("a", 2), Vector("b", 1)])
    with pytest.raises(RequestError, match="fields 'a', 'b', expected a dict"):
        _make(schema, [1], [[1, 2]], None)
    with pytest.raises(RequestError, match="for 2 vector fields, expected one"):
        check_queries(schema, {"a": [1, 2], "b": [1]}, many=False)
    assert check_queries(schema, {"b": [3]}, many=False)[0] == "b"


@pytest.mark.parametrize(
    ("query", "many", "error", "words"),
    [
        ([1, 2, 3], False, DimensionError, r"query of shape \(3,\) .*, expected \(2,\)"),
        ([[1, 2]], False, DimensionError, r"query of shape \(1, 2\)"),
        ([1, 2], True, DimensionError, r"queries of shape \(2,\) .*, expected \(Q, 2\)"),
        ([[1, 2], [3]], True, DimensionError, "query 1 of field 'text' has 1 dimensions"),
        ([1, math.nan], False, VectorError, "query of field 'text' has nan at 1"),
        ([[1, 2], [math.inf, 1]], True, VectorError, "query 1 of field 'text' has inf at 0"),
        ([1, -1e300], False, VectorError, r"has -1e\+300 at 1, .* range of float32"),
        (["a", "b"], False, VectorError, "dtype <U1"),
        (None, False, VectorError, "dtype object"),
    ],
)
def test_unusable_queries(query: object, *, many: bool, error: type[Exception], words: str) -> None:
    """Queries of another shape, dtype or range raise an error that says which one."""
    with pytest.raises(error, match=words):
        check_queries(_schema("cosine"), query, many=many)


def test_many_queries() -> None:
    """Queries are float32 [Q, D], also where there are none."""
    name, queries, _ = check_queries(_schema(), np.ones((3, 2), dtype=np.float16), many=True)
    assert (name, str(queries.dtype), queries.shape) == ("text", "float32", (3, 2))
    assert check_queries(_schema(), np.ones((0, 2)), many=True)[1].shape == (0, 2)


# Payloads


def test_columns_come_from_payloads() -> None:
    """Each column takes the payload's value of its name; absent or null is null."""
    moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    batch = _payloads(
        {"year": -(2**63), "price": 2, "sold": True, "lang": "en", "time": moment, "tags": ["b"]},
        {"year": np.int32(5), "price": np.float32(0.5), "time": "1970-01-01", "scores": [1, 2.5]},
        {"year": None, "time": 7, "tags": (), "else": {"a": [1, None, "x"]}},
        None,
    )
    columns = batch.columns
    assert columns["year"].values.tolist() == [-(2**63), 5, 0, 0]
    assert columns["year"].present.tolist() == [True, True, False, False]
    assert columns["price"].values.tolist() == [2, 0.5, 0, 0]
    assert columns["sold"].values.tolist() == [1, 0, 0, 0]
    assert columns["time"].values.tolist() == [1_000_000, 0, 7, 0]
    assert columns["tags"].present.tolist() == [True, False, True, False]
    assert columns["scores"].values.tolist() == [1, 2.5]
    assert json.loads(batch.payloads.get(0))["time"] == "1970-01-01T00:00:01Z"
    assert json.loads(batch.payloads.get(2))["else"] == {"a": [1, None, "x"]}


def test_payloads_as_json_text() -> None:
    """A payload may be JSON text, which is kept as it is and read for its columns."""
    text = b' {"year": 5, "n": null, "big": 123456789012345678901234567890}'
    batch = _payloads(text, {"year": 6})
    assert batch.payloads.get(0) == text
    assert batch.columns["year"].values.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ([1], "id 0 is a list, expected a dict or None"),
        ("text", "id 0 is a str, expected a dict or None"),
        (bytearray(b"{}"), "id 0 is a bytearray, expected a dict or None"),
        (b"[1]", r"id 0 is b'\[1\]' .* expected the JSON of an object"),
        (b"", "expected the JSON of an object"),
        (b'{"a": NaN}', "expected the JSON of an object"),
        (b'{"a": 1e999}', "expected the JSON of an object"),
        (b'{"a": "\xff"}', "expected the JSON of an object"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected the JSON of an object"),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "id 0 nests more than 100 deep"),
        ({"a": math.nan, "b": None}, r"payload\['a'\] of id 0 is nan, expected a finite number"),
        ({"a": [{"b": (1, -math.inf)}]}, r"payload\['a'\]\[0\]\['b'\]\[1\] of id 0 is -inf"),
        ({"a": np.float32("nan")}, r"payload\['a'\] of id 0 is nan"),
        ({1: 2}, "payload of id 0 has the key 1, expected only str keys"),
        ({"a": {None: 2}}, r"payload\['a'\] of id 0 has the key None"),
        ({"a": {1, 2}}, r"payload\['a'\] of id 0 is a set, expected a JSON value"),
        ({"a": b"ab"}, r"payload\['a'\] of id 0 is a bytes"),
        ({"a": UUID(int=1)}, r"payload\['a'\] of id 0 is a UUID"),
        ({"a": np.zeros(2)}, r"payload\['a'\] of id 0 is a ndarray, expected a JSON value"),
        ({"a": np.datetime64("2020-01-01", "ns")}, "id 0 is a datetime64"),
        ({"a": object()}, r"payload\['a'\] of id 0 is a object"),
        ({"a": "\ud800"}, "id 0 cannot be JSON"),
        ({"a": "x" * PAYLOAD_BYTES_MAX}, "1,048,584 bytes of JSON, expected at most 1,048,576"),
        ({"year": 1.0}, r"column 'year' of id 0 is 1.0 \(float\), expected an int of 64 bits"),
        ({"year": True}, r"'year' of id 0 is True \(bool\)"),
        ({"year": "1999"}, r"'year' of id 0 is '1999' \(str\)"),
        ({"year": 2**63}, "'year' of id 0 is 9223372036854775808"),
        ({"price": "1"}, r"'price' of id 0 is '1' \(str\), expected a number"),
        ({"price": False}, r"'price' of id 0 is False \(bool\)"),
        ({"price": 10**400}, "'price' of id 0 is 1000"),
        ({"sold": 1}, r"'sold' of id 0 is 1 \(int\), expected true or false"),
        ({"lang": 1}, r"'lang' of id 0 is 1 \(int\), expected a string"),
        ({"lang": ["en"]}, r"'lang' of id 0 is \['en'\] \(list\), expected a string"),
        ({"time": "noon"}, "'time' of id 0 is 'noon' .* expected ISO 8601"),
        ({"time": 1.5}, "'time' of id 0 is 1.5"),
        ({"time": 2**63}, "'time' of id 0"),
        ({"tags": "a"}, r"'tags' of id 0 holds 'a' \(str\), expected a list, each a string"),
        ({"tags": ["a", None]}, r"'tags' of id 0 holds None \(NoneType\), expected a list"),
        ({"scores": [1, True]}, r"'scores' of id 0 holds True \(bool\)"),
    ],
)
def test_unusable_payloads(payload: object, words: str) -> None:
    """What JSON or a column cannot hold raises PayloadError that names record and place."""
    with pytest.raises(PayloadError, match=words) as caught:
        _payloads(payload)
    assert len(str(caught.value)) < 400


def test_deep_payloads_are_refused() -> None:
    """A payload that nests beyond the limit raises PayloadError, never RecursionError."""
    for depth, refused in ((99, False), (100, True), (100_000, True)):
        nested: list[Any] = []
        for _ in range(depth - 1):
            nested = [nested]
        if refused:
            with pytest.raises(PayloadError):
                _payloads({"a": nested})
        else:
            _payloads({"a": nested})
    _payloads({"a": [[[]] * 200], "b": "[" * 500})


@pytest.mark.parametrize("payloads", [[{}], [{}] * 3, {"year": 1}, "ab", 5])
def test_payloads_fit_the_ids(payloads: object) -> None:
    """Payloads that are not a list with one for each id raise PayloadError."""
    with pytest.raises(PayloadError, match="expected"):
        _make(_schema(), [1, 2], {}, payloads)


def test_errors_are_of_the_caller() -> None:
    """Each refusal is an InvalidInputError or NotFoundError, so that a server can say so."""
    for error in (DimensionError, IdError, PayloadError, RequestError, VectorError):
        assert issubclass(error, InvalidInputError)
