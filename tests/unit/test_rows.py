"""Whole records in columnar form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.columns import ColumnData
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import Encoding, FieldVectors, Rows, some_expire
from vecstore.types import Array

SCHEMA = Schema(
    vectors=(Vector("text", 2), Vector("image-1.0", 3)),
    columns=(Column("year", "int"), Column("tags", "list[keyword]")),
)
DTYPES = {"text": "float16", "image-1.0": "float32"}


def _build(records: list[dict[str, Any]]) -> Rows:
    """The rows of records that have all of seq, id, payload, columns and fields, or None."""
    vectors = {}
    for field in SCHEMA.vectors:
        owners = [row for row, record in enumerate(records) if record[field.name] is not None]
        values = np.array([[records[row][field.name]] * field.dim for row in owners])
        vectors[field.name] = FieldVectors(
            rows=None if len(owners) == len(records) else np.array(owners, dtype=np.uint32),
            values=values.reshape(len(owners), field.dim).astype(DTYPES[field.name]),
        )
    return Rows(
        seqs=np.array([record["seq"] for record in records], dtype=np.uint64),
        ids=Ragged.from_list([record["id"] for record in records]),
        payloads=Ragged.from_list([record["payload"] for record in records]),
        columns={
            column.name: ColumnData.from_values(
                column.type, [record[column.name] for record in records]
            )
            for column in SCHEMA.columns
        },
        vectors=vectors,
        expires=some_expire(
            np.array([record.get("expires", 0) for record in records], dtype=np.int64)
        ),
    )


@st.composite
def _records(draw: st.DrawFn) -> list[dict[str, Any]]:
    record = st.fixed_dictionaries(
        {
            "id": st.binary(min_size=2, max_size=9),
            "payload": st.sampled_from([b"", b'{"a":1}']),
            "year": st.none() | st.integers(0, 3),
            "tags": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2),
            "text": st.none() | st.integers(0, 9),
            "image-1.0": st.none() | st.integers(0, 9),
            "expires": st.sampled_from([0, 0, 1, 2**60]),
        }
    )
    records = draw(st.lists(record, max_size=8))
    return [{"seq": 3 * place, **found} for place, found in enumerate(records)]


def _same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return left.keys() == right.keys() and all(
        array.dtype == right[name].dtype
        and array.shape == right[name].shape
        and array.tobytes() == right[name].tobytes()
        for name, array in left.items()
    )


@given(_records())
def test_rows_come_back_from_arrays(records: list[dict[str, Any]]) -> None:
    """Rows read back from their stored arrays as they were."""
    arrays = _build(records).to_arrays()
    found = Rows.from_arrays(arrays, SCHEMA)
    assert len(found) == len(records)
    assert _same(found.to_arrays(), arrays)


@given(_records(), st.data())
def test_taking_rows_is_taking_records(records: list[dict[str, Any]], data: st.DataObject) -> None:
    """Chosen rows are the rows of the chosen records."""
    chosen = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    kept = np.flatnonzero(chosen)
    expected = _build([records[row] for row in kept])
    assert _same(_build(records).take(kept).to_arrays(), expected.to_arrays())


@given(_records(), st.integers(0, 8), st.integers(0, 8))
def test_joining_rows_undoes_cutting(
    records: list[dict[str, Any]], first: int, second: int
) -> None:
    """Rows that are cut in three and joined again are as they were."""
    first, second = sorted((first, second))
    parts = [records[:first], records[first:second], records[second:]]
    joined = Rows.concat([_build(part) for part in parts])
    assert _same(joined.to_arrays(), _build(records).to_arrays())


def _sample() -> dict[str, Array]:
    record = {"id": b"\x02a", "payload": b"", "year": 1, "tags": ["a"], "text": 1}
    records = [
        {"seq": 4, **record, "image-1.0": None},
        {"seq": 7, **record, "image-1.0": 2},
    ]
    return _build(records).to_arrays()


def test_names_of_arrays_stay_as_they_are() -> None:
    """The stored arrays have the names and dtypes that older databases hold."""
    assert {name: str(array.dtype) for name, array in _sample().items()} == {
        "seqs": "uint64",
        "ids/offsets": "uint64",
        "ids/data": "uint8",
        "payloads/offsets": "uint64",
        "payloads/data": "uint8",
        "columns/year/present": "uint8",
        "columns/year/values": "int64",
        "columns/tags/present": "uint8",
        "columns/tags/values": "uint32",
        "columns/tags/offsets": "uint64",
        "columns/tags/words/offsets": "uint64",
        "columns/tags/words/data": "uint8",
        "vectors/text/values": "float16",
        "vectors/image-1.0/values": "float32",
        "vectors/image-1.0/rows": "uint32",
    }


def test_expires_is_there_where_a_row_expires() -> None:
    """When rows expire is an array where one does, and nothing where none does."""
    record = {"id": b"\x02a", "payload": b"", "year": 1, "tags": [], "text": 1, "image-1.0": 1}
    rows = _build([{"seq": 1, **record}, {"seq": 2, "expires": 9, **record}])
    assert rows.to_arrays()["expires"].tolist() == [0, 9]
    first = rows.take(np.array([0]))
    assert first.expires is None
    assert "expires" not in first.to_arrays()
    assert Rows.from_arrays(first.to_arrays(), SCHEMA).expires is None


def test_later_columns_and_fields_are_null() -> None:
    """A column or field that the stored arrays lack is one that no row has."""
    arrays = {name: array for name, array in _sample().items() if "year" not in name}
    arrays = {name: array for name, array in arrays.items() if "text" not in name}
    rows = Rows.from_arrays(arrays, SCHEMA)
    assert rows.columns["year"].present.tolist() == [False, False]
    assert rows.vectors["text"].values.shape == (0, 2)
    assert rows.vectors["text"].rows is not None


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("seqs", np.array([7, 4], dtype=np.uint64)),
        ("seqs", np.array([4], dtype=np.uint64)),
        ("seqs", np.array([4, 7], dtype=np.int64)),
        ("columns/year/values", np.array([1], dtype=np.int64)),
        ("vectors/image-1.0/rows", np.array([2], dtype=np.uint32)),
        ("vectors/image-1.0/rows", np.array([1, 0], dtype=np.uint32)),
        ("vectors/image-1.0/rows", np.array([0, 1], dtype=np.uint32)),
        ("vectors/text/values", np.zeros((2, 3), dtype=np.float16)),
        ("vectors/text/values", np.zeros((1, 2), dtype=np.float16)),
        ("vectors/text/values", np.zeros(4, dtype=np.float16)),
        ("vectors/text/values", np.zeros((2, 2), dtype=np.float64)),
        ("expires", np.array([1], dtype=np.int64)),
        ("expires", np.array([1, -1], dtype=np.int64)),
        ("expires", np.array([1, 1], dtype=np.float64)),
    ],
)
def test_damaged_rows_are_found(name: str, array: Array) -> None:
    """An array that does not fit the others raises CorruptionError."""
    with pytest.raises(CorruptionError):
        Rows.from_arrays({**_sample(), name: array}, SCHEMA)


CODES: dict[str, Array] = {
    "vectors/text/codes": np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8),
    "vectors/text/spec": np.frombuffer(b"int8", dtype=np.uint8),
    "vectors/text/codec": np.array([7], dtype=np.uint64),
}


def _coded() -> dict[str, Array]:
    sample = _sample()
    del sample["vectors/text/values"]
    return sample | CODES


def test_ready_made_codes_come_back() -> None:
    """Codes that came ready-made are stored and read with what made them, also taken and joined."""
    rows = Rows.from_arrays(_coded(), SCHEMA)
    assert rows.encodings["text"] == Encoding("int8", 7)
    assert rows.codecs == {7}
    assert _same(rows.to_arrays(), _coded())
    parts = [rows.take(np.array([0])), rows.take(np.array([1]))]
    assert _same(Rows.concat(parts).to_arrays(), _coded())
    none = rows.take(np.empty(0, dtype=np.int64))
    assert "text" not in none.encodings
    assert _same(Rows.concat([none, rows]).to_arrays(), _coded())


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("codes", np.zeros((1, 3), dtype=np.uint8)),
        ("codes", np.zeros(6, dtype=np.uint8)),
        ("codes", np.zeros((2, 3), dtype=np.float32)),
        ("spec", np.empty(0, dtype=np.uint8)),
        ("spec", np.array([255], dtype=np.uint8)),
        ("spec", np.zeros((1, 1), dtype=np.uint8)),
        ("spec", np.frombuffer(b"bits4", dtype=np.uint8)),
        ("spec", np.frombuffer(b"bits9", dtype=np.uint8)),
        ("codec", np.zeros(1, dtype=np.uint64)),
        ("codec", np.empty(0, dtype=np.uint64)),
        ("codec", np.array([1, 2], dtype=np.uint64)),
        ("codec", np.array([-1], dtype=np.int64)),
    ],
)
def test_damaged_codes_are_found(name: str, array: Array) -> None:
    """Codes that do not fit, or that nothing names as whose they are, raise CorruptionError."""
    with pytest.raises(CorruptionError):
        Rows.from_arrays({**_coded(), f"vectors/text/{name}": array}, SCHEMA)


@pytest.mark.parametrize("name", ["seqs", "ids/data", "payloads/offsets", "columns/tags/present"])
def test_missing_arrays_are_found(name: str) -> None:
    """An array that is missing raises CorruptionError."""
    arrays = {known: array for known, array in _sample().items() if known != name}
    with pytest.raises(CorruptionError, match=name):
        Rows.from_arrays(arrays, SCHEMA)
