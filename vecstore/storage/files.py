"""Files as segments use them: written once, synced, renamed into place, mapped, removed.

`FileSystem` is the seam where tests put faults; `RealFiles` is the machine's own. What the machine
refuses becomes a StorageError that names the path and the cause, with the system's `errno`: a
DatabaseFullError where there is no room, a CorruptionError where a file that should be read is not
there.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from vecstore.errors import CorruptionError, DatabaseFullError, StorageError
from vecstore.types import Uint8

# EFBIG: beyond the largest file that the file system, or the limit of the process, allows.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What a system answers that cannot give a file a second name, or not there.
_NO_LINKS = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
)
_HINTS = {
    errno.EMFILE: "; let this process open more files (ulimit -n)",
    errno.ENFILE: "; close other programs, or let the system open more files (fs.file-max)",
}
_COPY_BYTES = 1 << 20
# A file that is written piece by piece is synced whenever so much was written.
_SYNC_BYTES = 32 << 20


class FileWriter(Protocol):
    """A new file of a known length, written at any offset; what is not written is zero."""

    def write_at(self, offset: int, data: bytes | Uint8) -> None:
        """Write bytes at their place."""
        ...

    def close(self) -> None:
        """Sync the file and close it; its name still needs `sync_dir`."""
        ...

    def abandon(self) -> None:
        """Close the file without syncing it; the caller removes it."""
        ...


class FileSystem(Protocol):
    """What the engine asks of a file system."""

    def write(self, path: Path, chunks: Iterable[bytes | Uint8]) -> int:
        """Write a new file and sync it; returns its bytes. A file is never written twice."""
        ...

    def create(self, path: Path, size: int) -> FileWriter:
        """Make a new file of `size` bytes, to be written piece by piece.

        Its space is reserved where the system can do that, so that a full disk is found at once.
        """
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file that is durable a second name; a synced copy where the system cannot."""
        ...

    def map(self, path: Path) -> Uint8:
        """The bytes of a file, uint8 [B], read-only and mapped; the array owns the map."""
        ...

    def make_dir(self, path: Path) -> None:
        """Make a directory, and its parents where they are missing."""
        ...

    def list_dir(self, path: Path) -> list[str]:
        """The names in a directory, sorted; none where there is no such directory."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory another name in the same directory."""
        ...

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file or a directory with all it holds; fine where there is none."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Bytes that may still be written to the file system that holds an existing path."""
        ...


class RealFiles:
    """The machine's file system."""

    def write(self, path: Path, chunks: Iterable[bytes | Uint8]) -> int:
        """Write a new file and sync it; returns its bytes. A file is never written twice."""
        with storage_errors("write", path), open(path, "xb", buffering=1 << 18) as file:
            for chunk in chunks:
                file.write(chunk if isinstance(chunk, bytes) else chunk.data)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def create(self, path: Path, size: int) -> FileWriter:
        """Make a new file of `size` bytes, to be written piece by piece.

        Its space is reserved where the system can do that, so that a full disk is found at once.
        """
        with storage_errors("make", path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                _reserve(descriptor, size)
            except BaseException:
                os.close(descriptor)
                path.unlink()
                raise
        return _RealWriter(path, descriptor)

    def link(self, source: Path, target: Path) -> None:
        """Give a file that is durable a second name; a synced copy where the system cannot."""
        with storage_errors("link", source, reading=True):
            try:
                os.link(source, target)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            with open(source, "rb") as file:
                self.write(target, iter(lambda: file.read(_COPY_BYTES), b""))

    def map(self, path: Path) -> Uint8:
        """The bytes of a file, uint8 [B], read-only and mapped; the array owns the map."""
        with storage_errors("map", path, reading=True), open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return np.frombuffer(b"", dtype=np.uint8)
            if sys.version_info >= (3, 13):
                # Older Pythons keep a descriptor open for each map.
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, trackfd=False)
            else:
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            return np.frombuffer(mapped, dtype=np.uint8)

    def make_dir(self, path: Path) -> None:
        """Make a directory, and its parents where they are missing."""
        with storage_errors("make", path):
            path.mkdir(parents=True, exist_ok=True)

    def list_dir(self, path: Path) -> list[str]:
        """The names in a directory, sorted; none where there is no such directory."""
        with storage_errors("list", path):
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory another name in the same directory."""
        with storage_errors("rename", source):
            os.rename(source, target)

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        with storage_errors("sync", path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file or a directory with all it holds; fine where there is none."""
        with storage_errors("remove", path):
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except FileNotFoundError:
                pass

    def free_bytes(self, path: Path) -> int:
        """Bytes that may still be written to the file system that holds an existing path."""
        with storage_errors("measure", path):
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize


def expect(data: Uint8, *, scattered: bool) -> None:
    """Tell the system how a mapped file will be read: here and there, or on and on.

    By default it reads far ahead of each page, which for a few rows is most of what is read.
    """
    mapped = _map_of(data)
    if mapped is not None and hasattr(mmap, "MADV_RANDOM"):
        with suppress(OSError):  # a hint that is refused is none
            mapped.madvise(mmap.MADV_RANDOM if scattered else mmap.MADV_NORMAL)


def fetch(data: Uint8, start: int, stop: int) -> None:
    """Have the system begin to read bytes of a mapped file that are needed next."""
    mapped = _map_of(data)
    if mapped is not None and hasattr(mmap, "MADV_WILLNEED"):
        start -= start % mmap.PAGESIZE
        with suppress(OSError):
            mapped.madvise(mmap.MADV_WILLNEED, start, stop - start)


def _map_of(data: Uint8) -> mmap.mmap | None:
    """What `RealFiles.map` mapped; None for bytes that are in memory anyway."""
    view = data.base
    return view.obj if isinstance(view, memoryview) and isinstance(view.obj, mmap.mmap) else None


class _RealWriter:
    """A FileWriter of the machine's own file system.

    Syncs as it goes, so that no sync takes long: neither reads nor a close() wait for more.
    """

    __slots__ = ("_descriptor", "_path", "_unsynced")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._unsynced = 0

    def write_at(self, offset: int, data: bytes | Uint8) -> None:
        """Write bytes at their place."""
        view = memoryview(data) if isinstance(data, bytes) else data.data
        with storage_errors("write", self._path):
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset, view = offset + written, view[written:]
                self._unsynced += written
            if self._unsynced >= _SYNC_BYTES:
                os.fsync(self._descriptor)
                self._unsynced = 0

    def close(self) -> None:
        """Sync the file and close it; its name still needs `sync_dir`."""
        with storage_errors("sync", self._path):
            try:
                os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)

    def abandon(self) -> None:
        """Close the file without syncing it; the caller removes it."""
        with storage_errors("close", self._path):
            os.close(self._descriptor)


@contextmanager
def storage_errors(action: str, path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn an OSError raised inside into a StorageError that says what was done to which path.

    Args:
        action: a verb: "cannot <action> <path>".
        path: of a file or directory.
        reading: the file was there once, so that it is a CorruptionError where it is missing.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        kind = DatabaseFullError if error.errno in FULL else StorageError
        if reading and error.errno == errno.ENOENT and not path.exists():
            kind = CorruptionError
        text = f"cannot {action} {path}: {error.strerror or error}"
        raised = kind(text + _HINTS.get(error.errno or 0, ""))
        raised.errno = error.errno
        raise raised from error


def _reserve(descriptor: int, size: int) -> None:
    if sys.platform != "darwin" and size:
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                raise
    os.ftruncate(descriptor, size)
