"""What this process reads, told to the writer: the oldest commit that something of it is from.

A segment that a search still has counts as read as of the last commit that this process saw it
in, as later ones may have taken it away.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
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
    """Moves the pin of a reader. Safe to use from many threads."""

    def __init__(self, pin: ReaderPin, txn: int) -> None:
        """`txn`: a commit that was made before the pin; nothing older will be read."""
        self._pin = pin
        self._lock = RLock()  # a segment may go at any moment, also while this thread has it
        self._newest = txn
        self._current: dict[int, Snapshot] = {}
        self._left: list[_Left] = []
        self._move()

    def follow(self, collection: int, snapshot: Snapshot) -> None:
        """A snapshot took the place of the collection's last one."""
        with self._lock:
            self._leave(self._current.get(collection), snapshot.segments)
            self._current[collection] = snapshot
            self._newest = max(self._newest, snapshot.txn)
            self._move()

    def forget(self, collection: int, txn: int) -> None:
        """As of a commit the collection is gone, and nothing of it is read any more but hits."""
        with self._lock:
            self._leave(self._current.pop(collection, None), ())
            self._newest = max(self._newest, txn)
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
            txns = [item.txn for item in self._left]
            txns += [found.txn for found in self._current.values()]
            self._pin.set(min(txns, default=self._newest))

    def release(self) -> None:
        """Nothing is read any more."""
        with self._lock:
            self._pin.release()
