"""Ids as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError, IdError
from vecstore.segment.ids import decode_id, encode_id

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
