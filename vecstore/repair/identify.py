"""Which record each row of a damaged segment is: ids lead to seqs, and rows have both.

A seq or an id that cannot be read follows from the other one. Where neither can, the rows between
two known ones are the records whose seqs lie between, in their order, if there are as many; or if
there are with those that were deleted. Rows that no id leads to are not needed any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from vecstore.repair.remains import SegmentRemains, spans
from vecstore.segment.known import KnownIds
from vecstore.types import Bool, Int64, Uint64

Deleted: TypeAlias = Callable[[int, int], Uint64]
"""The seqs from a first one to a last one that were deleted, uint64 [n], ascending."""


def identify(remains: SegmentRemains, known: KnownIds, deleted: Deleted) -> Int64:
    """The place in `known` of the record that each row is, int64 [N]; -1 where it is none, or lost.

    Args:
        remains: the segment.
        known: which records there are.
        deleted: which seqs were deleted.
    """
    seqs, readable = remains.seqs
    found, there = known.find(seqs)
    places: Int64 = np.where(readable & there, found, -1)
    if readable.all():
        return places
    info = remains.info
    within = known.between(info.seq_min, info.seq_max)
    missing = np.setdiff1d(np.arange(within.start, within.stop), places)
    dead = _place_by_id(remains, known, missing, places, readable)
    for first, last in spans(~readable & (places < 0)):
        # The first and the last row of a segment are in no such span: the manifest has their seqs.
        after, before = (
            int(known.seqs[places[row]] if places[row] >= 0 else seqs[row])
            for row in (first - 1, last)
        )
        within = known.between(after + 1, before - 1)
        unknown = first + np.flatnonzero(~dead[first:last])
        if within.stop - within.start == len(unknown):
            places[unknown] = np.arange(within.start, within.stop)
            continue
        every = np.union1d(known.seqs[within], deleted(after + 1, before - 1))
        if len(every) == last - first:
            found, there = known.find(every)
            places[first:last] = np.where(there, found, -1)
    return places


def _place_by_id(
    remains: SegmentRemains, known: KnownIds, missing: Int64, places: Int64, readable: Bool
) -> Bool:
    """Place the rows whose ids can be read and whose seqs cannot; returns those that are dead."""
    ids, sound = remains.ids
    sound = sound & ~readable
    rows = np.flatnonzero(sound)
    led = dict(zip(known.ids.pick(missing), missing.tolist(), strict=True))
    if len(rows):
        places[rows] = [led.get(id_, -1) for id_ in ids.pick(rows)]
    return sound & (places < 0)
