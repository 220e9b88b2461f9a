"""Which rows a search sees: not those that were deleted, not those that have expired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.segments import SCHEMA, block_of, rows_of
from vecstore.segment.bits import unpack_mask
from vecstore.segment.block import Block
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.manifest import Manifest
from vecstore.segment.rows import Rows
from vecstore.segment.snapshot import Live, Snapshot, written_rows
from vecstore.segment.tombstones import add_seqs
from vecstore.types import Int64

START = 1_000_000_000.0  # the first row of `rows_of` that expires does so a microsecond later


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def expiring(expires: Int64 | None, count: int = 12) -> Block:
    rows = rows_of(count)
    return block_of(
        Rows(
            seqs=rows.seqs,
            ids=rows.ids,
            payloads=rows.payloads,
            columns=rows.columns,
            vectors=rows.vectors,
            expires=expires,
        )
    )


def test_rows_expire_with_time() -> None:
    """A row is alive until the microsecond that it expires, and written even after that."""
    clock = Clock()
    times = np.array([0, 10**15 + 3_000_000, 10**15 + 1_000_000, 10**15], dtype=np.int64)
    live = Live(expiring(times, 4), {}, clock=clock)
    for seconds, expected in ((-1, [0, 1, 2, 3]), (0, [0, 1, 2]), (1, [0, 1]), (2.9, [0, 1])):
        clock.now = START + seconds
        assert np.flatnonzero(live.alive).tolist() == expected
        assert live.count() == len(expected)
        assert written_rows(live).tolist() == [0, 1, 2, 3]
        assert live.allowed("text").count == len(expected)
    clock.now = START + 3
    assert np.flatnonzero(live.alive).tolist() == [0]
    found = live.allowed("text")
    assert found.bits is not None
    assert unpack_mask(found.bits, 4).tolist() == [True, False, False, False]


def test_deleted_rows_do_not_come_back() -> None:
    """A row that was deleted is neither written nor alive, whatever it says about expiring."""
    clock = Clock()
    block = expiring(np.full(12, 10**15 + 1_000_000, dtype=np.int64))
    dead = block.seqs[[2, 7]]
    live = Live(block, {}, clock=clock)
    tombstones = add_seqs({}, dead)
    for found in (Live(block, tombstones, clock=clock), live.without(dead, tombstones)):
        assert np.flatnonzero(~found.written).tolist() == [2, 7]
        assert found.count() == 10
    clock.now += 2
    after = live.without(dead, tombstones)
    assert np.flatnonzero(~after.written).tolist() == [2, 7]
    assert after.count() == 0


def test_without_expiry_the_clock_is_never_asked() -> None:
    """Where no row expires, the masks are worked out once and time is no matter."""
    clock = Clock()
    live = Live(expiring(None), {}, clock=clock)
    alive, allowed = live.alive, live.allowed("image")
    assert live.alive is alive is live.written
    assert live.allowed("image") is allowed
    assert clock.asked == 0


def test_masks_are_kept_until_the_next_row_expires() -> None:
    """Between two moments of expiry the same masks are given out."""
    clock = Clock()
    times = np.arange(12, dtype=np.int64) * 1_000_000 + 10**15
    live = Live(expiring(times), {}, clock=clock)
    for second in range(11):
        clock.now = START + second
        alive, allowed = live.alive, live.allowed("text")
        clock.now += 0.5
        assert live.alive is alive
        assert live.allowed("text") is allowed
    dead = live.without(live.source.seqs[[11]], add_seqs({}, live.source.seqs[[11]]))
    assert dead.count() == 0  # and the deleted row is not waited for
    clock.asked = 0
    assert dead.count() == clock.asked == 0
    clock.now = START + 11
    assert live.allowed("text").count == 0
    clock.asked = 0
    assert live.count() == 0
    assert clock.asked == 0  # nothing is left to expire


@given(
    st.lists(st.integers(0, 9), min_size=12, max_size=12),
    st.sets(st.integers(0, 11)),
    st.lists(st.integers(0, 9), max_size=5).map(sorted),
)
def test_alive_is_written_and_not_expired(
    times: list[int], dead: set[int], days: list[int]
) -> None:
    """At every moment the live rows are those that a plain loop over the rows finds."""
    clock = Clock(0.0)
    block = expiring(np.array(times, dtype=np.int64) * 1_000_000 if any(times) else None)
    live = Live(block, add_seqs({}, block.seqs[sorted(dead)]), clock=clock)
    for day in days:
        clock.now = float(day)
        expected = [
            row for row in range(12) if row not in dead and (not times[row] or times[row] > day)
        ]
        assert np.flatnonzero(live.alive).tolist() == expected
        assert live.allowed("text").count == len(expected)


@pytest.mark.parametrize("expires", [False, True])
def test_count_live(*, expires: bool) -> None:
    """A snapshot counts what is written and has not expired; without expiry it counts nothing."""
    clock = Clock()
    times = np.where(np.arange(12) % 4 == 0, 10**15 + 1_000_000, 0) if expires else None
    live = Live(expiring(times), {}, clock=clock)
    info = CollectionInfo(1, "items", SCHEMA)
    snapshot = Snapshot(info, Manifest(live=12), blocks=(live,))
    assert snapshot.info.schema is SCHEMA
    assert snapshot.count_live() == 12
    clock.now += 1
    assert snapshot.count_live() == (9 if expires else 12)


class Unreadable:
    """A source of which nothing can be read but its first and its last seq."""

    seq_min, seq_max = 10, 19


def test_rows_die_unread() -> None:
    """What died is worked out without a source whose seqs nobody asked for."""
    live = Live(Unreadable(), {})  # type: ignore[arg-type]
    for seqs in ([1, 9], [20, 30], [9, 20]):
        dead = np.array(seqs, dtype=np.uint64)
        assert live.without(dead, add_seqs({}, dead)) is live
    dead = np.array([9, 10, 19, 20], dtype=np.uint64)
    assert live.within(dead).tolist() == [10, 19]
    assert live.without(dead, add_seqs({}, dead)) is not live


@given(st.sets(st.integers(0, 11), min_size=1), st.booleans())
def test_dead_rows_are_the_same_read_or_unread(rows: set[int], read: bool) -> None:
    """Whether a mask was there before or not, the rows that died are no longer written."""
    block = expiring(None)
    live = Live(block, {})
    if read:
        assert live.written.all()
    dead = block.seqs[sorted(rows)]
    after = live.without(dead, add_seqs({}, dead))
    assert set(np.flatnonzero(~after.written).tolist()) == rows
    assert live.written.all()
