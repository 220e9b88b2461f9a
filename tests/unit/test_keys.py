"""LMDB keys: they parse back, sort as their numbers do, and keep collections apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vecstore.storage import keys

COLLECTIONS = st.integers(0, 2**32 - 1)
SEQS = st.integers(0, 2**64 - 1)


@given(COLLECTIONS, SEQS, st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=256))
def test_keys_parse_back(collection: int, seq: int, chunk: int, encoded_id: bytes) -> None:
    """Every key gives back what it was made of."""
    assert keys.parse_chunk_key(keys.chunk_key(collection, chunk)) == (collection, chunk)
    assert keys.parse_id_key(keys.id_key(collection, encoded_id)) == (collection, encoded_id)
    assert keys.parse_recall_key(keys.recall_key(collection, "text")) == "text"
    assert keys.parse_codec_key(keys.codec_key(seq)) == seq
    assert keys.parse_number(keys.pack_number(seq)) == seq


@given(st.text())
def test_names_parse_back(name: str) -> None:
    """A collection's name is its key."""
    assert keys.parse_name(keys.name_key(name)) == name


@given(st.tuples(COLLECTIONS, SEQS), st.tuples(COLLECTIONS, SEQS))
def test_keys_sort_as_numbers(a: tuple[int, int], b: tuple[int, int]) -> None:
    """The order of keys is the order of (collection, seq)."""
    assert (keys.buffer_key(*a) < keys.buffer_key(*b)) == (a < b)


@given(COLLECTIONS, COLLECTIONS, st.binary(min_size=1, max_size=256))
def test_range_holds_one_collection(collection: int, other: int, encoded_id: bytes) -> None:
    """The range of a collection holds exactly its keys."""
    start, stop = keys.collection_range(collection)
    key = keys.id_key(other, encoded_id)
    assert (key >= start and (stop is None or key < stop)) == (other == collection)
