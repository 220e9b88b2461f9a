"""What this process reads, told to the writer: the oldest commit that something of it is from.

A segment that a search still has counts as read as of the last commit that this process saw it
in, as later ones may have taken it away. A process that reads nothing has no pin, and holds up
nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from vecstore.segment.base import Source
from vecstore.segment.reader import Segment
from vecstore.segment.snapshot import Live, Snapshot
from vecstore.storage.pins import ReaderPin


class _Left(NamedTuple):
    segment: weakref.ref[Segment]
    txn: int


class Pinning:
    """Makes, moves and removes the pin of a reader. Safe to use from many threads."""

    def __init__(self, readers: Path) -> None:
        """`readers`: the directory of the pins."""
        self._readers = readers
        self._lock = RLock()  # a segment may go at any moment, also while this thread has it
        self._pin: ReaderPin | None = None
        self._pinned = 0
        self._begun: list[int] = []
        self._current: dict[int, Snapshot] = {}
        self._left: list[_Left] = []
        self._released = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Transactions that begin in the block find their files until it ends.

        Snapshots that were made of them are told to `follow` before that.

        Raises:
            StorageError: a pin cannot be made.
        """
        with self._lock:
            if self._pin is None:
                self._pinned = 0  # a new one covers every commit
            begun = self._pinned
            self._begun.append(begun)
        try:
            with self._lock:
                if self._pin is None and not self._released:
                    self._pin = ReaderPin(self._readers)
            yield
        finally:
            with self._lock:
                self._begun.remove(begun)
                self._move()

    def follow(self, collection: int, snapshot: Snapshot) -> None:
        """A snapshot took the place of the collection's last one."""
        with self._lock:
            self._leave(self._current.get(collection), snapshot.segments)
            self._current[collection] = snapshot
            self._move()

    def forget(self, collection: int) -> None:
        """The collection is gone, and nothing of it is read any more but hits."""
        with self._lock:
            self._leave(self._current.pop(collection, None), ())
            self._move()

    def _leave(self, before: Snapshot | None, after: Iterable[Live]) -> None:
        """Keep in mind the segments that are no longer current, until nobody has them."""
        if before is None:
            return
        kept: set[Source] = {live.source for live in after}
        for live in before.segments:
            if live.source not in kept:
                assert isinstance(live.source, Segment)
                self._left.append(_Left(weakref.ref(live.source, self._move), before.txn))

    def _move(self, _: object = None) -> None:
        with self._lock:
            self._left = [item for item in self._left if item.segment() is not None]
            txns = [*self._begun, *(item.txn for item in self._left)]
            txns += [found.txn for found in self._current.values()]
            pin = self._pin
            if pin is None:
                return
            if txns:
                self._pinned = min(txns)
                pin.set(self._pinned)
            else:
                self._pin = None
                pin.release()

    def release(self) -> None:
        """Nothing is read any more."""
        with self._lock:
            self._released = True
            pin, self._pin = self._pin, None
            if pin is not None:
                pin.release()


def reading(pins: Pinning | None) -> AbstractContextManager[None]:
    """`Pinning.reading` for a reader; the writer, which has no pin, needs none."""
    return nullcontext() if pins is None else pins.reading()
