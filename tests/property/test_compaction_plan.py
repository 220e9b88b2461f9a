"""Which segments compaction merges: laws of the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore import options
from vecstore.ingest.compact_plan import Run, plan_compaction
from vecstore.segment.manifest import ComponentInfo, Manifest, SegmentInfo

ROWS = 100


def segment(number: int, size: int, *, rows: int = ROWS) -> SegmentInfo:
    """A segment of some bytes; its seqs follow from its number."""
    return SegmentInfo(
        id=number,
        rows=rows,
        seq_min=number * rows,
        seq_max=(number + 1) * rows - 1,
        components=(ComponentInfo("rows", size, 0),),
        fields=(),
        columns=(),
    )


def manifest_of(sizes: Sequence[int]) -> Manifest:
    return Manifest(segments=tuple(segment(number, size) for number, size in enumerate(sizes)))


def size_of(run: Run, dead: dict[int, int]) -> int:
    return sum(item.bytes * (item.rows - dead[item.id]) // item.rows for item in run)


def mergeable(sizes: Sequence[int]) -> bool:
    """Whether some span could merge; the obvious way."""
    return any(
        2 * max(sizes[start:stop]) <= sum(sizes[start:stop]) <= options.SEGMENT_BYTES_MAX
        for start in range(len(sizes))
        for stop in range(start + options.COMPACTION_FANOUT, len(sizes) + 1)
    )


SIZES = st.lists(st.integers(1, 2**34) | st.integers(1, 64), max_size=24)
DEAD = st.lists(st.none() | st.integers(0, ROWS), min_size=24, max_size=24)


@given(sizes=SIZES, dead_rows=DEAD, everything=st.booleans())
def test_runs_are_disjoint_neighbours(
    sizes: list[int], dead_rows: list[int | None], *, everything: bool
) -> None:
    """Runs ascend, share nothing, are adjacent, fit, and pass over what is left alone."""
    manifest = manifest_of(sizes)
    dead = {number: rows for number, rows in enumerate(dead_rows[: len(sizes)]) if rows is not None}
    runs = plan_compaction(manifest, dead, everything=everything)
    numbers = [[item.id for item in run] for run in runs]
    for run in numbers:
        assert run == list(range(run[0], run[-1] + 1))
        assert set(run) <= dead.keys()
    assert all(left[-1] < right[0] for left, right in pairwise(numbers))
    for run in runs:
        assert len(run) == 1 or size_of(run, dead) <= options.SEGMENT_BYTES_MAX


@given(sizes=SIZES, dead_rows=DEAD)
def test_nothing_to_do_means_nothing_is_worth_it(
    sizes: list[int], dead_rows: list[int | None]
) -> None:
    """The plan is empty exactly where no span could merge and no segment has many dead rows."""
    manifest = manifest_of(sizes)
    dead = {number: dead_rows[number] or 0 for number in range(len(sizes))}
    live = [size_of((item,), dead) for item in manifest.segments]
    many = {number for number, rows in dead.items() if rows >= options.DEAD_SHARE_MAX * ROWS}
    runs = plan_compaction(manifest, dead)
    assert bool(runs) == (mergeable(live) or bool(many))
    assert many <= {item.id for run in runs for item in run}
    for run in runs:
        if len(run) > 1:
            live = [size_of((item,), dead) for item in run]
            assert len(run) >= options.COMPACTION_FANOUT
            assert 2 * max(live) <= sum(live)


@given(sizes=SIZES, dead_rows=DEAD)
def test_everything_leaves_nothing(sizes: list[int], dead_rows: list[int | None]) -> None:
    """Compacting everything leaves no dead row, and no neighbours that fit into one segment."""
    manifest = manifest_of(sizes)
    dead = {number: dead_rows[number] or 0 for number in range(len(sizes))}
    runs = plan_compaction(manifest, dead, everything=True)
    after = dict.fromkeys(dead, 0)
    sizes_after: list[int] = []
    inside = {item.id for run in runs for item in run}
    assert {number for number, rows in dead.items() if rows} <= inside
    starts = {run[0].id: run for run in runs}
    for item in manifest.segments:
        if item.id in starts:
            sizes_after.append(size_of(starts[item.id], dead))
        elif item.id not in inside:
            sizes_after.append(item.bytes)
    merged = manifest_of(sizes_after)
    assert (
        plan_compaction(
            merged, {item.id: after.get(item.id, 0) for item in merged.segments}, everything=True
        )
        == []
    )


def grow(flushes: Sequence[int]) -> tuple[list[int], int]:
    """Sizes after flushes with all compaction that is due after each, and bytes it wrote."""
    sizes: list[int] = []
    written = 0
    for size in flushes:
        sizes.append(size)
        while runs := plan_compaction(manifest_of(sizes), dict.fromkeys(range(len(sizes)), 0)):
            for run in reversed(runs):
                first, last = run[0].id, run[-1].id
                sizes[first : last + 1] = [sum(sizes[first : last + 1])]
                written += sizes[first]
    return sizes, written


@given(flushes=st.lists(st.integers(1, 1000), min_size=1, max_size=200))
def test_a_row_is_written_a_logarithm_of_times(flushes: list[int]) -> None:
    """Whatever the sizes of flushes, compaction writes log2(all / smallest) times their bytes."""
    sizes, written = grow(flushes)
    total = sum(flushes)
    assert sum(sizes) == total
    assert written <= total * math.log2(total / min(flushes))
    assert not mergeable(sizes)


@pytest.mark.parametrize("count", [4, 16, 100, 1000])
def test_equal_flushes_leave_few_segments(count: int) -> None:
    """N equal flushes leave less than FANOUT segments of each tier, written log4(N) + 1 times."""
    sizes, written = grow([64 << 10] * count)
    tiers = math.log(count, options.COMPACTION_FANOUT)
    assert len(sizes) < options.COMPACTION_FANOUT * (tiers + 1)
    assert written <= count * (64 << 10) * (tiers + 1)


@given(flushes=st.lists(st.integers(1 << 10, 1 << 20), min_size=200, max_size=200))
def test_uneven_flushes_leave_few_segments(flushes: list[int]) -> None:
    """Flushes that differ in size a thousandfold leave some twenty segments, not hundreds."""
    assert len(grow(flushes)[0]) <= 24


def test_small_flushes_between_large_ones_merge() -> None:
    """Small segments do not keep large neighbours of one size apart for ever."""
    sizes, _ = grow([64 << 20, 64 << 20, 1 << 20] * 8)
    assert len(sizes) < 8


def test_large_segments_stay() -> None:
    """Segments that together exceed the largest size are not merged."""
    half = options.SEGMENT_BYTES_MAX // 2 + 1
    manifest = manifest_of([half] * 8)
    for everything in (False, True):
        assert plan_compaction(manifest, dict.fromkeys(range(8), 0), everything=everything) == []
