"""Ids as bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError, IdError
from vecstore.kernels import _kernels
from vecstore.segment.ids import decode_id, decode_ids, encode_id
from vecstore.segment.ragged import Ragged

INTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=63)


@given(INTS | TEXTS)
def test_ids_come_back(id_: int | str) -> None:
    """An id decodes to itself."""
    assert decode_id(encode_id(id_)) == id_


@given(st.lists(INTS | TEXTS))
def test_bytes_sort_as_ids(ids: list[int | str]) -> None:
    """Encoded ids sort ints by value, then strings by code point."""
    numbers = sorted(id_ for id_ in ids if isinstance(id_, int))
    texts = sorted(id_ for id_ in ids if isinstance(id_, str))
    assert [decode_id(data) for data in sorted(map(encode_id, ids))] == [*numbers, *texts]


def test_bytes_stay_as_they_are() -> None:
    """The bytes of an id are those that older databases hold."""
    assert encode_id(1) == bytes.fromhex("01 80 00 00 00 00 00 00 01")
    assert encode_id(-(2**63)) == bytes.fromhex("01 00 00 00 00 00 00 00 00")
    assert encode_id("né") == b"\x02n\xc3\xa9"


@pytest.mark.parametrize("id_", [np.int64(-7), np.uint8(7), np.str_("seven")])
def test_numpy_scalars_are_ids(id_: object) -> None:
    """A numpy integer or string is the same id as the Python value."""
    assert encode_id(id_) == encode_id(id_.item())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "id_",
    [True, np.True_, 1.0, None, b"a", "", "x" * 256, "é" * 128, "\ud800", 2**63, -(2**63) - 1],
)
def test_other_ids_are_refused(id_: object) -> None:
    """What is no id raises IdError that shows it and its type."""
    with pytest.raises(IdError, match="expected an int from") as caught:
        encode_id(id_)
    assert type(id_).__name__ in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01\0\0\0\0\0\0\0", b"\x01" + bytes(9), b"\x02", b"\x02\xff", b"\x03a"],
)
def test_damaged_ids_are_found(data: bytes) -> None:
    """Bytes that no id has raise CorruptionError."""
    with pytest.raises(CorruptionError):
        decode_id(data)


@given(st.lists(INTS | TEXTS, min_size=1), st.data())
def test_many_ids_are_decoded_as_each(ids: list[int | str], data: st.DataObject) -> None:
    """Rows of byte strings decode to the ids they hold, in any order."""
    strings = Ragged.from_list([encode_id(id_) for id_ in ids])
    rows = data.draw(st.lists(st.integers(0, len(ids) - 1)))
    found = decode_ids(strings, np.array(rows, dtype=np.int64))
    assert found == [ids[row] for row in rows]
    assert [type(id_) for id_ in found] == [type(ids[row]) for row in rows]


@given(st.lists(st.binary(max_size=12) | st.binary(min_size=250, max_size=260), min_size=1))
def test_many_damaged_ids_are_found_as_each(stored: list[bytes]) -> None:
    """Whether bytes are an id does not depend on how many are decoded."""
    strings, rows = Ragged.from_list(stored), np.arange(len(stored))
    try:
        expected = [decode_id(data) for data in stored]
    except CorruptionError as error:
        with pytest.raises(CorruptionError, match=re.escape(str(error))):
            decode_ids(strings, rows)
    else:
        assert decode_ids(strings, rows) == expected


@pytest.mark.parametrize("offsets", [[0, 9, 19], [0, 2**63, 18], [9, 0, 18], [0, 2**64 - 1, 3]])
def test_ids_with_damaged_bounds_are_found(offsets: list[int]) -> None:
    """Bounds that leave the bytes raise CorruptionError, and nothing beyond them is read."""
    data = np.frombuffer(encode_id(1) + encode_id(2), dtype=np.uint8)
    strings = Ragged(offsets=np.array(offsets, dtype=np.uint64), data=data)
    with pytest.raises(CorruptionError, match="leave their 18 bytes"):
        decode_ids(strings, np.array([0, 1]))


def test_rows_that_are_not_there_have_no_ids() -> None:
    """The kernel decodes nothing where a row lies outside."""
    strings = Ragged.from_list([encode_id(1)])
    for row in (-1, 1, 2**62, -(2**63)):
        wanted = np.array([row], dtype=np.int64)
        assert _kernels.decode_ids(strings.offsets, strings.data, wanted, 255) is None
    none = np.zeros(0, np.uint64)
    assert _kernels.decode_ids(none, strings.data, np.array([0]), 255) is None
