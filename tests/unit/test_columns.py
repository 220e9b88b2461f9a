"""Ragged bytes, packed bits and columns."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError
from vecstore.segment.bits import pack_mask, unpack_mask
from vecstore.segment.columns import ColumnData, is_list, item_type, parse_timestamp
from vecstore.segment.ragged import Ragged
from vecstore.types import Array, ColumnType

INT64 = st.integers(-(2**63), 2**63 - 1)
ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "int": INT64,
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "keyword": st.sampled_from(["", "a", "b", "né", "\U0001f600", "zz"]),
    "timestamp": INT64,
}
TYPES: tuple[ColumnType, ...] = get_args(ColumnType)


def values_of(type_: ColumnType) -> st.SearchStrategy[list[Any]]:
    item = ITEMS[item_type(type_)]
    value = st.lists(item, max_size=3) if is_list(type_) else item
    return st.lists(st.none() | value, max_size=12)


def same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return left.keys() == right.keys() and all(
        array.dtype == right[name].dtype and array.tobytes() == right[name].tobytes()
        for name, array in left.items()
    )


@st.composite
def _column(draw: st.DrawFn) -> tuple[ColumnType, list[Any]]:
    type_ = draw(st.sampled_from(TYPES))
    return type_, draw(values_of(type_))


@given(st.lists(st.binary(max_size=80)), st.data())
def test_ragged_rows(items: list[bytes], data: st.DataObject) -> None:
    """Byte strings come back one by one, all at once, chosen, joined, and from arrays."""
    ragged = Ragged.from_list(items)
    assert (len(ragged), ragged.to_list()) == (len(items), items)
    assert [ragged.get(row) for row in range(len(items))] == items
    rows = data.draw(st.lists(st.integers(0, len(items) - 1)) if items else st.just([]))
    chosen = ragged.take(np.array(rows, dtype=np.int64))
    assert chosen.to_list() == [items[row] for row in rows]
    assert Ragged.concat([ragged, chosen]).to_list() == items + chosen.to_list()
    assert Ragged.from_arrays(ragged.to_arrays("x/"), "x/").to_list() == items


@pytest.mark.parametrize(
    "offsets", [[], [0], [1, 4], [0, 3, 2, 4], [0, 5], [0, 2**64 - 1, 4], [0, 2**63, 4]]
)
def test_damaged_bounds_are_found(offsets: list[int]) -> None:
    """Bounds that do not ascend over the data raise CorruptionError, also where nobody checked."""
    bounds = np.array(offsets, dtype=np.uint64)
    octets = np.zeros(4, dtype=np.uint8)
    with pytest.raises(CorruptionError):
        Ragged.from_arrays({"offsets": bounds, "data": octets}, "")
    damaged = Ragged(offsets=bounds, data=octets)
    with pytest.raises(CorruptionError):
        damaged.to_list()
    if max(offsets, default=0) > 4:
        with pytest.raises(CorruptionError):
            damaged.get(0)
        with pytest.raises(CorruptionError):
            damaged.take(np.array([0]))


@given(_column())
def test_columns_come_back_from_arrays(column: tuple[ColumnType, list[Any]]) -> None:
    """A column reads back from its stored arrays as it was."""
    type_, values = column
    arrays = ColumnData.from_values(type_, values).to_arrays("c/")
    found = ColumnData.from_arrays(type_, arrays, "c/")
    assert len(found) == len(values)
    assert same(found.to_arrays("c/"), arrays)


@given(_column(), st.data())
def test_taking_rows_is_taking_values(
    column: tuple[ColumnType, list[Any]], data: st.DataObject
) -> None:
    """Chosen rows of a column are the column of the chosen values."""
    type_, values = column
    rows = data.draw(st.lists(st.integers(0, len(values) - 1)) if values else st.just([]))
    chosen = ColumnData.from_values(type_, values).take(np.array(rows, dtype=np.int64))
    expected = ColumnData.from_values(type_, [values[row] for row in rows])
    assert same(chosen.to_arrays(""), expected.to_arrays(""))


@given(_column(), st.data())
def test_joining_columns_is_joining_values(
    column: tuple[ColumnType, list[Any]], data: st.DataObject
) -> None:
    """Joined columns are the column of the joined values."""
    type_, values = column
    more = data.draw(values_of(type_))
    joined = ColumnData.concat([ColumnData.from_values(type_, part) for part in (values, more)])
    assert same(joined.to_arrays(""), ColumnData.from_values(type_, values + more).to_arrays(""))


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("count", [0, 9])
def test_nulls(type_: ColumnType, count: int) -> None:
    """A column of nulls is the column of that many None."""
    expected = ColumnData.from_values(type_, [None] * count)
    assert same(ColumnData.nulls(type_, count).to_arrays(""), expected.to_arrays(""))


def test_keyword_arrays_stay_as_they_are() -> None:
    """A list of keywords is stored in the bytes that older databases hold."""
    arrays = ColumnData.from_values("list[keyword]", [["b", "a"], None, []]).to_arrays("c/")
    assert {name: (str(array.dtype), array.tolist()) for name, array in arrays.items()} == {
        "c/present": ("uint8", [0b101]),
        "c/values": ("uint32", [1, 0]),
        "c/offsets": ("uint64", [0, 2, 2, 2]),
        "c/words/offsets": ("uint64", [0, 1, 2]),
        "c/words/data": ("uint8", [97, 98]),
    }


@pytest.mark.parametrize("type_", TYPES)
def test_damaged_columns_are_found(type_: ColumnType) -> None:
    """Each array that is missing, short, of another dtype or out of bounds is a CorruptionError."""
    value = {"keyword": "a", "float": 1.5, "bool": True}.get(item_type(type_), 1)
    values = [[value], None, [value, value]] if is_list(type_) else [value, None, value]
    arrays = ColumnData.from_values(type_, values).to_arrays("")
    for name, array in arrays.items():
        damages = [array[:-1], array.astype(np.int16), array[None]]
        if name in ("offsets", "words/offsets"):
            damages += [array + np.uint64(1), array[::-1].copy()]
        if array.dtype in (np.uint8, np.uint32) and name == "values":
            damages.append(array + array.dtype.type(2))
        for damaged in damages:
            if name == "values" and not is_list(type_) and damaged is damages[0]:
                continue  # a shorter column; rows.py compares lengths
            with pytest.raises(CorruptionError):
                ColumnData.from_arrays(type_, {**arrays, name: damaged}, "")
        with pytest.raises(CorruptionError):
            ColumnData.from_arrays(type_, {k: v for k, v in arrays.items() if k != name}, "")


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T23:59:59.999999", -1),
    ],
)
def test_timestamps(text: str, microseconds: int) -> None:
    """ISO 8601 text is microseconds since 1970; without an offset it is UTC."""
    assert parse_timestamp(text) == microseconds


@given(st.lists(st.booleans(), max_size=200))
def test_masks_come_back_from_bits(mask: list[bool]) -> None:
    """Packed bits hold a mask, least significant bit first, with 0 beyond its end."""
    bits = pack_mask(np.array(mask, dtype=np.bool_))
    assert len(bits) == (len(mask) + 63) // 64
    number = sum(int(word) << 64 * place for place, word in enumerate(bits))
    assert number == sum(1 << row for row, allowed in enumerate(mask) if allowed)
    assert unpack_mask(bits, len(mask)).tolist() == mask
