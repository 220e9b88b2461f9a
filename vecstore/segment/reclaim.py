"""Files that no commit names: those under way, and those that wait to be removed.

    begin     a segment or codec is about to be written
    finish    a commit names it now, or its files are gone again
    abandon   no commit will name it: it is removed, or retired where that fails
    retire    a segment is no longer named, as of some commit; its files stay
    sweep     removes what is retired, unless
                  someone holds everything (`hold`), such as a check or a snapshot of the database,
                  a search of this process still has the segment, say for hits not read yet, or
                  a reader in another process still reads a commit before that one

A codec's file goes after every segment that was retired before it. What is still retired when the
process ends, the next open for writing retires again.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from vecstore.errors import VecstoreError
from vecstore.segment.reader import Segment
from vecstore.storage.failpoints import reach
from vecstore.storage.files import FileSystem
from vecstore.storage.paths import Paths


class _Retired(NamedTuple):
    path: Path
    txn: int
    segment: Callable[[], Segment | None]
    is_codec: bool

    def is_read(self, pinned: int | None) -> bool:
        """Whether this process reads it, or another one a commit that names it."""
        return self.segment() is not None or (pinned is not None and pinned < self.txn)


class Reclaimer:
    """The files of one database that no commit names. Safe to use from many threads."""

    def __init__(
        self, files: FileSystem, paths: Paths, oldest_pin: Callable[[Path], int | None]
    ) -> None:
        """`oldest_pin`: the oldest commit that a reader in another process reads."""
        self._files = files
        self._paths = paths
        self._oldest_pin = oldest_pin
        self._lock = Lock()
        self._sweeping = Lock()
        self._holds = 0
        self._begun: set[Path] = set()
        self._retired: list[_Retired] = []

    def begin(self, path: Path) -> None:
        """A file or folder is about to be made, and no commit names it yet."""
        with self._lock:
            self._begun.add(path)

    def finish(self, paths: Iterable[Path]) -> None:
        """Commits name these files and folders now, or they are gone again."""
        with self._lock:
            self._begun.difference_update(paths)

    def retire(self, segments: Iterable[Segment], codecs: Iterable[int], txn: int) -> None:
        """Remove segments and codecs that commit `txn` no longer names, as soon as may be."""
        found = [
            _Retired(self._paths.segment(item.info.id), txn, weakref.ref(item), is_codec=False)
            for item in segments
        ]
        found += [
            _Retired(self._paths.codec(codec), txn, _nobody, is_codec=True) for codec in codecs
        ]
        with self._lock:
            self._retired += found

    def retire_paths(self, paths: Iterable[Path], txn: int) -> None:
        """Remove files that no one of this process has open."""
        with self._lock:
            self._retired += [_Retired(path, txn, _nobody, is_codec=False) for path in paths]

    def abandon(self, paths: Sequence[Path]) -> None:
        """Remove files that no commit will name; those that cannot be removed now stay retired."""
        self.retire_paths(paths, txn=0)
        self.finish(paths)
        with suppress(VecstoreError):
            self.sweep()

    def unnamed(self) -> frozenset[Path]:
        """The files and folders that may be there though no commit names them."""
        with self._lock:
            return frozenset(self._begun).union(item.path for item in self._retired)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let nothing be removed that is named when the block begins, for as long as it runs."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1

    def sweep(self) -> int:
        """Remove what no one reads; returns how many files and folders that were.

        Raises:
            StorageError: one could not be removed; it stays retired.
        """
        with self._sweeping:
            free = self._free()
            for item in free:
                self._files.remove(item.path)
                with self._lock:
                    self._retired.remove(item)
                reach("reclaim.removed")
        return len(free)

    def _free(self) -> list[_Retired]:
        with self._lock:
            if not self._retired or self._holds:
                return []
            pinned = self._oldest_pin(self._paths.readers)
            read = [item for item in self._retired if item.is_read(pinned)]
            first = min((item.txn for item in read if not item.is_codec), default=math.inf)
            return [
                item
                for item in self._retired
                if item not in read and not (item.is_codec and first <= item.txn)
            ]


def _nobody() -> None:
    """Stands for a segment that no one of this process has."""
