"""What the collections of one open database share."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, RLock
from typing import Any

from vecstore.errors import ClosedError, ReadOnlyError, StorageError, UnknownOutcomeError
from vecstore.options import Options
from vecstore.segment.pinning import Pinning
from vecstore.segment.reclaim import Reclaimer
from vecstore.storage.files import FileSystem
from vecstore.storage.kv import Kv, Txn
from vecstore.storage.lock import WriterLock
from vecstore.storage.paths import Paths

# What a disk answers that cannot be trusted with more.
_DISK_FAILED = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EROFS", "ENXIO", "ENODEV", "ESTALE", "EUCLEAN")
    if hasattr(errno, name)
)


@dataclass(slots=True)
class WriteQueue:
    """Writes that wait for each other.

    Attributes:
        waiting: in the order in which they came.
        led: a thread is about to commit what waits.
        changed: guards both; notified when writes are done.
    """

    waiting: list[Any] = field(default_factory=list)
    led: bool = False
    changed: Condition = field(default_factory=Condition)


@dataclass(slots=True, kw_only=True)
class Environment:
    """The files of a database, and the lock that writes take turns on.

    Attributes:
        kv: LMDB.
        files: the file system.
        paths: where things lie.
        options: sizes and threads.
        writer_lock: held by the writer process; None for a reader beside it.
        reclaimer: removes the files of segments that no one reads any more.
        pins: tells the writer what this process reads; None for the writer itself.
        lock: held by a write from its first read to its publication.
        queue: writes that wait to be committed together; see ingest/commit.py.
        quarantined: segment id -> what is wrong with it.
        space: bytes that were free on the disk when last asked.
        space_until: when to ask again, by the monotonic clock.
        failure: why nothing is written any more; empty where all is well.
        clock: seconds since 1970; records expire by it.
        closed: no more calls are answered.
    """

    kv: Kv
    files: FileSystem
    paths: Paths
    options: Options
    writer_lock: WriterLock | None
    reclaimer: Reclaimer
    pins: Pinning | None = None
    lock: RLock = field(default_factory=RLock)
    queue: WriteQueue = field(default_factory=WriteQueue)
    quarantined: dict[int, str] = field(default_factory=dict)
    space: int = 0
    space_until: float = 0.0
    failure: str = ""
    clock: Callable[[], float] = time.time
    closed: bool = False
    _doubts: int = 0

    @property
    def writable(self) -> bool:
        """Whether this process is the writer."""
        return self.writer_lock is not None

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.closed:
            raise ClosedError(f"the database in {self.paths.root} was closed; open it again")

    def check_writable(self) -> None:
        """Raise ClosedError after close(), ReadOnlyError for a reader or after the disk failed."""
        self.check_open()
        if not self.writable:
            raise ReadOnlyError(
                f"the database in {self.paths.root} was opened with read_only=True; "
                "write in the process that has it open for writing"
            )
        if self.failure:
            raise ReadOnlyError(
                f"the database in {self.paths.root} is only read since its disk failed "
                f"({self.failure}); see to the disk, close the database and open it again"
            )

    @contextmanager
    def writing(self) -> Iterator[Txn]:
        """A transaction that is committed when the block ends; see `Kv.write` and `guard`."""
        self.check_writable()
        with self.lock, self.guard():
            with self.kv.write() as txn:
                yield txn
            self._doubts = 0

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Take note where the block, which writes, fails since the disk does.

        Nothing more is written then. A disk that fails in the middle of a commit is given a
        second chance: LMDB starts again from the last commit that is whole.
        """
        try:
            yield
        except UnknownOutcomeError as error:
            self._doubts += 1
            if self._doubts > 1:
                self.failure = str(error)
            raise
        except StorageError as error:
            cause = error.__cause__
            codes = {error.errno, cause.errno if isinstance(cause, OSError) else None}
            if codes & _DISK_FAILED:
                self.failure = str(error)
            raise

    def give_back(self) -> None:
        """Return unused space of LMDB's file to the file system; see `Kv.give_back`."""
        self.check_writable()
        with self.lock, self.guard():
            self.kv.give_back()
