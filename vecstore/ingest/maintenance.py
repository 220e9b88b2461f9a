"""What is done in the background, and when.

    after a write   flush     where the write buffer is full
    every second    flush     where the write buffer is full still, or old
                    compact   where segments changed, and some are worth writing again
                    expire    where a record has expired
                    removal of files that no one reads any more
    every minute    space that LMDB's file does not need is given back

What failed is tried again after 2, 4, 8 ... seconds, a minute at most.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic

from vecstore import options
from vecstore.errors import ClosedError, NotFoundError, ReadOnlyError, StorageError
from vecstore.ingest.compact import compact_all, plan_for
from vecstore.ingest.jobs import Jobs, Task
from vecstore.ingest.store import CollectionStore
from vecstore.ingest.ttl import MICROSECONDS
from vecstore.reports import JobKind
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.snapshot import Live, Snapshot

TICK_S = 1.0
RETRY_S_MAX = 60.0
# How often slots of readers that died are freed, and then space of LMDB's file. The next writes
# take longer where their space was given back.
READERS_S = 60.0


@dataclass(slots=True, eq=False)
class _Watched:
    """A collection, and what was seen of it last."""

    store: CollectionStore
    buffered_since: float | None = None  # by the monotonic clock
    settled: tuple[object, object] | None = None  # segments and tombstones with nothing to do
    expiry: dict[Live, int] = field(default_factory=dict)

    def is_settled(self, snapshot: Snapshot) -> bool:
        """Whether nothing changed since no segment was worth writing again."""
        if self.settled is None or self.settled[1] is not snapshot.tombstones:
            return False
        return self.settled[0] == snapshot.manifest.segments


class Maintenance:
    """Submits the background work of one open database."""

    def __init__(self, environment: Environment, jobs: Jobs) -> None:
        self._environment = environment
        self._jobs = jobs
        self._lock = Lock()
        self._watched: list[_Watched] = []
        self._stop = Event()
        self._thread: Thread | None = None
        self._readers_at = 0.0

    def watch(self, store: CollectionStore) -> None:
        """See to a collection from now on, where this process may do so."""
        environment = self._environment
        if not environment.writable or not environment.options.background:
            return
        watched = _Watched(store)
        store.written = partial(self._note, watched)
        with self._lock:
            self._watched.append(watched)
            if self._thread is None and not self._stop.is_set():
                # It holds nothing of the database while it waits, so that one that nobody closed
                # can be collected.
                self._thread = Thread(
                    target=_tick_until,
                    args=(self._stop, weakref.ref(self)),
                    name="vecstore-watch",
                    daemon=True,
                )
                self._thread.start()

    def close(self) -> None:
        """Submit nothing more. Fine to call again."""
        with self._lock:
            self._stop.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def tick(self) -> None:
        """Look at everything once."""
        with self._lock:
            watched = list(self._watched)
        for item in watched:
            try:
                self._look(item)
            except (ClosedError, NotFoundError):  # closed or dropped meanwhile
                with self._lock:
                    self._watched.remove(item)
            except (StorageError, MemoryError):
                pass  # reads of the collection raise it too; the next tick looks again
        now = monotonic()
        # What cannot be removed now is tried again at the next tick, and when opened again; space
        # that cannot be given back after a minute.
        acts: list[Callable[[], object]] = [self._environment.reclaimer.sweep]
        if now >= self._readers_at + READERS_S:
            self._readers_at = now
            acts += [self._environment.kv.check_readers, self._environment.give_back]
        for act in acts:
            with suppress(StorageError, ClosedError, ReadOnlyError, MemoryError):
                act()

    def _look(self, watched: _Watched) -> None:
        store = watched.store
        snapshot = store.snapshot()
        self._note(watched, snapshot)
        if not watched.is_settled(snapshot) and not plan_for(store, snapshot).runs:
            watched.settled = snapshot.manifest.segments, snapshot.tombstones
        due = not watched.is_settled(snapshot)
        self._see_to("compact", store, lambda task: compact_all(store, task), due=due)
        due = self._has_expired(watched, snapshot)
        self._see_to("expire", store, lambda _: store.expire(self._now_us()), due=due)

    def _note(self, watched: _Watched, snapshot: Snapshot) -> None:
        """See to the write buffer; called after each write too."""
        if not snapshot.buffer_batches:
            watched.buffered_since = None
        elif watched.buffered_since is None:
            watched.buffered_since = monotonic()
        due = self._is_due(watched, snapshot)
        self._see_to("flush", watched.store, lambda task: self._flush(watched, task), due=due)

    def _is_due(self, watched: _Watched, snapshot: Snapshot) -> bool:
        limits = self._environment.options
        since = watched.buffered_since
        return (
            snapshot.buffer_bytes > limits.buffer_bytes_max()
            or snapshot.buffer_batches >= options.BUFFER_BATCHES_MAX
            or len(snapshot.blocks) >= options.BUFFER_BLOCKS_MAX
            or (since is not None and 0 < limits.flush_age_s <= monotonic() - since)
        )

    def _flush(self, watched: _Watched, task: Task) -> None:
        store = watched.store
        if self._is_due(watched, store.snapshot()):  # it may be done by now
            task.total = store.snapshot().buffer_bytes
            store.background_flush(task)
            watched.buffered_since = None

    def _has_expired(self, watched: _Watched, snapshot: Snapshot) -> bool:
        """Whether a row has expired that was not deleted yet."""
        now, known = self._now_us(), watched.expiry
        segments = list(zip(snapshot.manifest.segments, snapshot.segments, strict=True))

        def first_expiries(left_alone: Container[int]) -> dict[Live, int]:
            suspects = [
                *(live for info, live in segments if _may_have_expired(info, now, left_alone)),
                *(live for live in snapshot.blocks if live.source.expires is not None),
            ]
            return {
                live: known[live] if live in known else _first_expiry(live) for live in suspects
            }

        watched.expiry = watched.store.sparing(first_expiries)
        return any(0 < first <= now for first in watched.expiry.values())

    def _now_us(self) -> int:
        return int(self._environment.clock() * MICROSECONDS)

    def _see_to(
        self, kind: JobKind, store: CollectionStore, run: Callable[[Task], object], *, due: bool
    ) -> None:
        """Submit what is due, unless it is under way or failed a moment ago."""
        if not due:
            self._jobs.forget(kind, store.name)  # whatever failed, there is nothing left to do
            return
        last = self._jobs.find(kind, store.name)
        if last is None or (last.state == "failed" and monotonic() >= _retry_at(last)):
            self._jobs.submit(kind, store.name, run)


def _retry_at(failed: Task) -> float:
    return failed.ended + min(1 << min(failed.failures, 10), RETRY_S_MAX)


def _may_have_expired(info: SegmentInfo, now_us: int, left_alone: Container[int]) -> bool:
    return 0 < info.expires <= now_us and info.id not in left_alone


def _first_expiry(live: Live) -> int:
    """When the first row expires that was not deleted, in microseconds since 1970; 0: none."""
    expires = live.source.expires
    assert expires is not None
    coming = expires[live.written & (expires > 0)]
    return int(coming.min()) if len(coming) else 0


def _tick_until(stop: Event, maintenance: weakref.ref[Maintenance]) -> None:
    while not stop.wait(TICK_S):
        found = maintenance()
        if found is None:
            return
        found.tick()
        del found
