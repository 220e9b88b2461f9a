"""Compaction: adjacent segments become one, without the rows that died.

    plan    runs of segments, from the manifest and the number of dead rows
    write   live rows -> codes copied, or encoded where the codec changes -> files
    swap    the commit that names the new segment in place of the run; see swap.py

Rows that die while a segment is written are in it, and dead, as tombstones go by seq: the next
compaction drops them. What is worth writing again says compact_plan.py.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from vecstore.ingest.choose import SAMPLE_SHARE, choose_codecs, suits, trained_codecs
from vecstore.ingest.compact_plan import Run, live_bytes, plan_compaction
from vecstore.ingest.flush import remove_unnamed
from vecstore.ingest.jobs import Jobs, Task, resting
from vecstore.ingest.numbers import take_number
from vecstore.ingest.settle import settled, upgrades
from vecstore.ingest.store import CollectionStore, Swap
from vecstore.ingest.ttl import MICROSECONDS
from vecstore.schema import Vector
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.snapshot import Live, Snapshot, written_rows
from vecstore.segment.tombstones import CHUNK_SEQS
from vecstore.segment.writer import Pace, Part, no_pace, write_segment
from vecstore.storage import keys
from vecstore.storage.failpoints import reach
from vecstore.storage.heap import trim
from vecstore.types import Int64


class Plan(NamedTuple):
    """What is to be written again: runs, oldest first, and about how many bytes they become."""

    runs: list[Run]
    bytes: int


def compact_now(store: CollectionStore, jobs: Jobs) -> None:
    """Leave as few segments as fit, without a dead row of what was acknowledged until now.

    Works on the calling thread; background work that rewrites segments waits meanwhile.

    Raises:
        ClosedError: the database was closed meanwhile.
        DatabaseFullError, StorageError: see `compact_all`; or space of LMDB's file could not be
            given back, when all else is done.
    """
    environment = store.environment
    store.expire(int(environment.clock() * MICROSECONDS))
    store.flush()
    with jobs.set_aside(store.name):
        compact_all(store, resting(lambda _: environment.check_open()), everything=True)
    environment.reclaimer.sweep()
    environment.give_back()
    trim()


def compact_all(store: CollectionStore, pace: Pace = no_pace, *, everything: bool = False) -> None:
    """Do what is planned for a collection, until nothing is left to do.

    A segment that turns out to be damaged is quarantined, and left alone.

    Args:
        store: the collection.
        pace: called with the bytes of each piece that was written.
        everything: see `plan_compaction`.

    Raises:
        DatabaseFullError, StorageError: what was done until then stays done.
    """
    with store.rewrite_lock:
        store.sparing(lambda _: _compact_rounds(store, pace, everything=everything))


def _compact_rounds(store: CollectionStore, pace: Pace, *, everything: bool) -> None:
    while (plan := plan_for(store, store.snapshot(), everything=everything)).runs:
        if isinstance(pace, Task):
            pace.total += plan.bytes
            segments = sum(map(len, plan.runs))
            pace.message = f"{segments} segments become at most {len(plan.runs)}"
        for run in plan.runs:
            compact(store, run, pace, eager=everything)
        if everything:  # what died meanwhile waits for the next time
            return


def plan_for(store: CollectionStore, snapshot: Snapshot, *, everything: bool = False) -> Plan:
    """What is worth writing again of a collection as it is; see `plan_compaction`."""
    chunks = np.fromiter(snapshot.tombstones, dtype=np.int64)
    pairs = list(zip(snapshot.manifest.segments, snapshot.segments, strict=True))
    lives, schema = {segment.id: live for segment, live in pairs}, snapshot.info.schema
    known = trained_codecs(store) if any(item.multi for item in schema.vectors) else []

    def suited(run: Sequence[SegmentInfo], vector: Vector, spec: str) -> bool:
        parts = [Part(lives[item.id].source, written_rows(lives[item.id])) for item in run]
        return suits(store, known, parts, vector, spec)

    def planned(left_alone: Container[int]) -> Plan:
        dead = {
            segment.id: _dead(live, chunks)
            for segment, live in pairs
            if segment.id not in left_alone
        }
        late = partial(upgrades, schema=schema, suits=suited, eager=everything)
        runs = plan_compaction(snapshot.manifest, dead, everything=everything, upgrades=late)
        return Plan(runs, sum(live_bytes(segment, dead) for run in runs for segment in run))

    return store.sparing(planned)


def compact(store: CollectionStore, run: Run, pace: Pace = no_pace, *, eager: bool = False) -> None:
    """Write the rows of a run that did not die as one segment, which is read instead from then on.

    The caller holds `rewrite_lock` since it planned the run. For `eager` see `settled`.

    Raises:
        CorruptionError: a segment of it is damaged. Nothing was changed.
        DatabaseFullError, StorageError: nothing was changed.
    """
    environment, snapshot = store.environment, store.snapshot()
    numbers = frozenset(segment.id for segment in run)
    reach("compact.begin")
    parts = [
        Part(live.source, rows)
        for segment, live in zip(snapshot.manifest.segments, snapshot.segments, strict=True)
        if segment.id in numbers and len(rows := written_rows(live))
    ]
    trained: list[CodecInfo] = []
    number = 0
    try:
        added: tuple[SegmentInfo, ...] = ()
        if parts:
            number = take_number(environment, keys.NEXT_SEGMENT)
            fits = partial(suits, store, trained_codecs(store))
            schema = settled(snapshot.info.schema, parts, fits, eager=eager)
            codecs = choose_codecs(store, parts, trained, schema, pace, growing=not eager)
            files, paths = environment.files, environment.paths
            with environment.guard():
                info = write_segment(
                    files,
                    paths,
                    number,
                    parts,
                    schema,
                    codecs,
                    pace,
                    sample_bytes=environment.options.memory_bytes_max // SAMPLE_SHARE,
                )
            added = (info,)
        reach("compact.commit")
        store.swap(Swap(removed=numbers, added=added, codecs=tuple(trained)))
    except BaseException:
        remove_unnamed(store, number, trained)
        raise
    reach("compact.committed")


def _dead(live: Live, chunks: Int64) -> int:
    """Rows that were deleted or written again; reads no file where no chunk has any of them."""
    first, last = live.source.seq_min // CHUNK_SEQS, live.source.seq_max // CHUNK_SEQS
    if not np.any((first <= chunks) & (chunks <= last)):
        return 0
    return live.source.rows - int(np.count_nonzero(live.written))
