"""Which segments are worth writing again.

    runs of small segments are merged, so that a collection has few segments of any age
    a segment with many dead rows is written again without them
    those that were written before a codec of tokens could learn are written again with its codes
    a large one whose codes are in the order of rows is written again as inverted lists

Only neighbours merge, so that the ranges of seqs of two segments never overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from vecstore import options
from vecstore.segment.lists import lacks_lists
from vecstore.segment.manifest import Manifest, SegmentInfo

Run: TypeAlias = tuple[SegmentInfo, ...]
"""Adjacent segments, oldest first, that become one."""

_Span: TypeAlias = tuple[int, int]

Upgrades: TypeAlias = Callable[[Run], Iterator[_Span]]


def no_upgrades(segments: Run) -> Iterator[_Span]:
    """None."""
    return iter(())


def plan_compaction(
    manifest: Manifest,
    dead: Mapping[int, int],
    *,
    everything: bool = False,
    upgrades: Upgrades = no_upgrades,
) -> list[Run]:
    """What is worth writing again, oldest first.

    A run merges where no segment of it is larger than the others together: so each merge at least
    doubles the segment that a row is in, and a row is written again log2(N) times at most. Runs of
    small segments come before those that hold larger ones.

    Args:
        manifest: the segments.
        dead: segment id -> rows that were deleted or written again; a segment without an entry is
            left alone, and nothing merges across it.
        everything: merge all that fits into one segment, and drop every dead row.
        upgrades: finds spans of segments that can have better codes by now.
    """
    runs: list[Run] = []
    for start, stop in _stretches([segment.id in dead for segment in manifest.segments]):
        segments = manifest.segments[start:stop]
        runs += (
            _all(segments, dead, upgrades) if everything else _worthwhile(segments, dead, upgrades)
        )
    return runs


def _all(segments: Run, dead: Mapping[int, int], upgrades: Upgrades) -> Iterator[Run]:
    sizes = [live_bytes(segment, dead) for segment in segments]
    start = 0
    while start < len(segments):
        stop = _fitting(sizes, start, len(segments))
        segment = segments[start]
        late = any(upgrades((segment,)))
        if stop - start > 1 or dead[segment.id] or lacks_lists(segment) or late:
            yield segments[start:stop]
        start = stop


def _worthwhile(segments: Run, dead: Mapping[int, int], upgrades: Upgrades) -> list[Run]:
    spans = _merges([live_bytes(segment, dead) for segment in segments])
    merged = {place for start, stop in spans for place in range(start, stop)}
    spans += [
        (place, place + 1)
        for place, segment in enumerate(segments)
        if place not in merged and dead[segment.id] >= options.DEAD_SHARE_MAX * segment.rows
    ]
    if not spans:  # what is not about to merge
        spans = list(upgrades(segments))
    if not spans:
        spans = [(place, place + 1) for place, item in enumerate(segments) if lacks_lists(item)]
    return [segments[start:stop] for start, stop in sorted(spans)]


def _merges(sizes: Sequence[int]) -> list[_Span]:
    """The spans to merge among the smallest segments that have any."""
    for tier in sorted(set(map(_tier, sizes))):
        found: list[_Span] = []
        for start, stop in _stretches([_tier(size) <= tier for size in sizes]):
            found += _spans(sizes, start, stop)
        if found:
            return found
    return []


def _stretches(wanted: Sequence[bool]) -> Iterator[_Span]:
    """The longest spans of what is wanted."""
    start = 0
    for yes, group in groupby(wanted):
        stop = start + len(list(group))
        if yes:
            yield start, stop
        start = stop


def _spans(sizes: Sequence[int], start: int, stop: int) -> Iterator[_Span]:
    """Disjoint spans in [start, stop) that merge and fit into a segment."""
    while start < stop:
        end = _fitting(sizes, start, stop)
        found = _balanced(sizes, start, end)
        if found is not None:
            yield found
            start = found[1]
        elif end == stop:
            return
        else:
            start += 1


def _fitting(sizes: Sequence[int], start: int, stop: int) -> int:
    """Where the longest span from `start` on ends that fits into a segment."""
    end, total = start + 1, sizes[start]
    while end < stop and total + sizes[end] <= options.SEGMENT_BYTES_MAX:
        total += sizes[end]
        end += 1
    return end


def _balanced(sizes: Sequence[int], start: int, stop: int) -> _Span | None:
    """A long span in [start, stop) of which no segment is larger than the others together."""
    if stop - start < options.COMPACTION_FANOUT:
        return None
    largest = max(range(start, stop), key=sizes.__getitem__)
    if 2 * sizes[largest] <= sum(sizes[start:stop]):
        return start, stop
    return _balanced(sizes, start, largest) or _balanced(sizes, largest + 1, stop)


def _tier(size: int) -> int:
    """Segments of one tier differ in size by less than the factor COMPACTION_FANOUT."""
    tier = 0
    while size >= options.COMPACTION_FANOUT:
        size //= options.COMPACTION_FANOUT
        tier += 1
    return tier


def live_bytes(segment: SegmentInfo, dead: Mapping[int, int]) -> int:
    """About how many bytes are left of a segment without its dead rows."""
    return segment.bytes * (segment.rows - dead[segment.id]) // segment.rows
