"""What other processes still read, so that the writer leaves its files alone.

    <root>/readers/<16 hex digits>   u64, little-endian: the oldest commit that its process reads;
                                     0, or empty: it may read any. Locked for as long as it reads.

The operating system drops the lock when its process ends, however it ends; whoever finds a file
without a lock removes it. A commit number is written in one piece of 8 bytes, so that it is never
read half.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from pathlib import Path

from vecstore.storage.files import storage_errors
from vecstore.storage.paths import parse_id

_BYTES = 8
# The directory is not ours to write to: then we read without saying so.
_NOT_OURS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class ReaderPin:
    """Says what this process reads, from the moment it is made until `release`.

    A new pin covers every commit. On a read-only medium, or in a directory that this process may
    not write to, it goes without and covers nothing.

    Raises:
        StorageError: the file cannot be made for another reason.
    """

    __slots__ = ("_descriptor", "_path", "_txn")

    def __init__(self, readers: Path) -> None:
        self._txn = 0
        self._path = readers
        self._descriptor: int | None = None
        with storage_errors("pin", readers):
            try:
                readers.mkdir(exist_ok=True)
                while self._descriptor is None:
                    self._path = readers / secrets.token_hex(_BYTES)
                    self._descriptor = _made(self._path)
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise

    @property
    def active(self) -> bool:
        """Whether the writer can see this pin."""
        return self._descriptor is not None

    def set(self, txn: int) -> None:
        """Say which commit is the oldest that this process still reads, now and later.

        Where the machine refuses, on a full disk say, the older one stays, which keeps more.
        """
        if self._descriptor is not None and txn != self._txn:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, txn.to_bytes(_BYTES, "little"), 0)
                self._txn = txn

    def release(self) -> None:
        """Say that nothing is read any more; fine to call again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold a copy of it
            os.close(descriptor)


def oldest_pin(readers: Path) -> int | None:
    """The oldest commit that any process reads, 0 for any commit, None where nobody reads.

    Removes the files of readers that have died. For the writer.

    Raises:
        StorageError: a pin cannot be read; then nobody knows what may go.
    """
    found: list[int] = []
    with storage_errors("read the pins in", readers):
        try:
            names = os.listdir(readers)
        except FileNotFoundError:
            return None
        for name in names:
            txn = _pinned(readers / name) if parse_id(name) is not None else None
            if txn is not None:
                found.append(txn)
    return min(found, default=None)


def _made(path: Path) -> int | None:
    """Make and lock the file of a pin; None where the writer took it for one of a dead reader."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _pinned(path: Path) -> int | None:
    """What a pin says, None where its reader has ended; then its file is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return None
    except BlockingIOError:
        return int.from_bytes(os.pread(descriptor, _BYTES, 0), "little")
    finally:
        os.close(descriptor)
