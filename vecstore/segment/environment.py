"""What the collections of one open database share."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import RLock

from vecstore.errors import ClosedError, ReadOnlyError
from vecstore.options import Options
from vecstore.storage.files import FileSystem
from vecstore.storage.kv import Kv
from vecstore.storage.lock import WriterLock
from vecstore.storage.paths import Paths


@dataclass(slots=True, kw_only=True)
class Environment:
    """The files of a database, and the lock that writes take turns on.

    Attributes:
        kv: LMDB.
        files: the file system.
        paths: where things lie.
        options: sizes and threads.
        writer_lock: held by the writer process; None for a reader beside it.
        lock: held by a write from its first read to its publication.
        closed: no more calls are answered.
    """

    kv: Kv
    files: FileSystem
    paths: Paths
    options: Options
    writer_lock: WriterLock | None
    lock: RLock = field(default_factory=RLock)
    closed: bool = False

    @property
    def writable(self) -> bool:
        """Whether this process is the writer."""
        return self.writer_lock is not None

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.closed:
            raise ClosedError(f"the database in {self.paths.root} was closed; open it again")

    def check_writable(self) -> None:
        """Raise ClosedError after close(), ReadOnlyError for a reader."""
        self.check_open()
        if not self.writable:
            raise ReadOnlyError(
                f"the database in {self.paths.root} was opened with read_only=True; "
                "write in the process that has it open for writing"
            )
