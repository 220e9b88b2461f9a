"""Tombstone chunks agree with a set of seqs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError
from vecstore.segment.tombstones import (
    CHUNK_BYTES,
    CHUNK_SEQS,
    add_seqs,
    dead_mask,
    prune,
)

SEQS = st.one_of(
    st.integers(0, 4 * CHUNK_SEQS),
    st.sampled_from([0, CHUNK_SEQS - 1, CHUNK_SEQS, 2 * CHUNK_SEQS - 1, 2**46]),
)


@given(st.lists(st.lists(SEQS, max_size=20), max_size=4), st.lists(SEQS, unique=True, max_size=60))
def test_chunks_are_a_set(deletes: list[list[int]], asked: list[int]) -> None:
    """After any deletes, exactly the deleted seqs are dead."""
    chunks: dict[int, bytes] = {}
    for seqs in deletes:
        array = np.array(seqs, dtype=np.uint64)
        changed = add_seqs(chunks, array)
        assert sorted(changed) == sorted({seq // CHUNK_SEQS for seq in seqs})
        assert all(len(chunk) == CHUNK_BYTES for chunk in changed.values())
        chunks |= changed
    dead = {seq for seqs in deletes for seq in seqs}
    asked.sort()
    mask = dead_mask(chunks, np.array(asked, dtype=np.uint64))
    assert mask.tolist() == [seq in dead for seq in asked]


@given(
    st.lists(SEQS, max_size=40),
    st.lists(SEQS, max_size=20),
    st.tuples(SEQS, SEQS).map(sorted),
)
def test_pruned_chunks_are_a_set(dead: list[int], others: list[int], span: list[int]) -> None:
    """Pruning forgets the dead seqs of the range that no row has, and no other."""
    first, last = span
    present = sorted({*dead[::2], *others})
    chunks = add_seqs({}, np.array(dead, dtype=np.uint64))
    changed = prune(chunks, first, last, np.array(present, dtype=np.uint64))
    left = {seq for seq in dead if not first <= seq <= last or seq in present}
    for chunk, bits in chunks.items():
        expected = {seq for seq in left if seq // CHUNK_SEQS == chunk}
        before = {seq for seq in dead if seq // CHUNK_SEQS == chunk}
        assert (chunk in changed) == (expected != before)
        assert (changed.get(chunk) == b"") == (not expected)
        found = changed.get(chunk, bits)
        asked = np.array(sorted(before), dtype=np.uint64)
        mask = dead_mask({chunk: found} if found else {}, asked)
        assert set(asked[mask].tolist()) == expected


def test_given_chunks_are_not_changed() -> None:
    """Deleting more returns new bytes and leaves the old ones alone."""
    before = add_seqs({}, np.array([1], dtype=np.uint64))
    after = add_seqs(before, np.array([2], dtype=np.uint64))
    assert dead_mask(before, np.array([1, 2], dtype=np.uint64)).tolist() == [True, False]
    assert dead_mask(after, np.array([1, 2], dtype=np.uint64)).tolist() == [True, True]


def test_bits_on_disk() -> None:
    """Seq 0 is the lowest bit of the first byte."""
    assert add_seqs({}, np.array([0, 9], dtype=np.uint64))[0][:2] == b"\x01\x02"


def test_short_chunk() -> None:
    """A chunk of another length is a CorruptionError, not a wrong answer."""
    with pytest.raises(CorruptionError, match="3 bytes"):
        dead_mask({0: b"abc"}, np.array([1], dtype=np.uint64))
