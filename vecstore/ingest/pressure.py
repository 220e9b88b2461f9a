"""What a write waits for before it is made: space on the disk, and room in the write buffer.

    the buffer is   below its limit   a write goes on at once
                    above             with background flushes, it waits a little: the longer, the
                                      fuller the buffer is; else it flushes
                    BUFFER_GROWTH_MAX times the limit   it waits for the flush under way, or flushes

The wait is what a flush took for as many bytes, times a factor that grows from 0 without bound:
half way up writes come in as fast as flushes carry them off, so that writers get slower and slower,
and hardly ever stand still.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from vecstore.errors import DatabaseFullError
from vecstore.ingest.flush import flush
from vecstore.options import BUFFER_BATCHES_MAX, BUFFER_BLOCKS_MAX, BUFFER_GROWTH_MAX, Options
from vecstore.segment.environment import Environment
from vecstore.segment.snapshot import Snapshot
from vecstore.segment.writer import no_pace

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore

SPACE_AGE_S = 0.05
# What a flush is taken to do until one was measured, in bytes per second.
FLUSH_RATE = 100e6
WAIT_S_MAX = 0.25


class FlushMeter:
    """How fast flushes of one collection are."""

    def __init__(self) -> None:
        self._rate = FLUSH_RATE
        self._size = 0
        self._start: float | None = None

    def begin(self, size: int) -> None:
        """A flush of so many bytes of the write buffer begins."""
        self._size, self._start = size, time.monotonic()

    def end(self, *, large: bool) -> None:
        """It has ended; one that was not large tells little about the next."""
        if large:
            self._rate = self._so_far()
        self._start = None

    def rate(self) -> float:
        """Bytes of the write buffer per second; that of the flush under way, where it is slower."""
        return min(self._rate, self._so_far())

    def _so_far(self) -> float:
        start = self._start
        return math.inf if start is None else self._size / max(time.monotonic() - start, 1e-6)


def admit(store: CollectionStore, size: int) -> None:
    """Return when a batch of `size` bytes may be written; the caller holds no lock.

    Raises:
        DatabaseFullError: less space is free than the reserve.
        StorageError: the buffer is full, and a flush failed.
    """
    environment = store.environment
    environment.check_writable()
    check_space(environment)
    fill = _fill(store.snapshot(), environment.options)
    limit = BUFFER_GROWTH_MAX if environment.options.background else 1
    if fill <= 1:
        return
    if fill <= limit:
        time.sleep(_wait_s(fill, size, store.meter.rate()))
        return
    with store.flush_lock:
        if _fill(store.snapshot(), environment.options) > limit:  # no one else flushed meanwhile
            flush(store, no_pace)


def check_space(environment: Environment) -> None:
    """Raise DatabaseFullError where less space is free than the reserve; asks now and then."""
    reserve = environment.options.reserve_bytes
    now = time.monotonic()
    if now >= environment.space_until:
        environment.space = environment.files.free_bytes(environment.paths.root)
        environment.space_until = now + SPACE_AGE_S
    if environment.space < reserve:
        raise DatabaseFullError(
            f"{environment.paths.root} has {environment.space:,} bytes of free space left, and "
            f"{reserve:,} are kept for deletes and flushes (Options.reserve_bytes); free some and "
            "try again"
        )


def _fill(snapshot: Snapshot, options: Options) -> float:
    """How full the write buffer is; flushed above 1."""
    return max(
        snapshot.buffer_bytes / options.buffer_bytes_max(),
        (snapshot.buffer_batches + 1) / BUFFER_BATCHES_MAX,
        (len(snapshot.blocks) + 1) / BUFFER_BLOCKS_MAX,
    )


def _wait_s(fill: float, size: int, rate: float) -> float:
    part = (fill - 1) / (BUFFER_GROWTH_MAX - 1)
    return min(size / rate * part / max(1 - part, 0.01), WAIT_S_MAX)
