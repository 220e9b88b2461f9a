"""Files as segments use them: written once, synced, renamed into place, mapped, removed.

`FileSystem` is the seam where tests put faults; `RealFiles` is the machine's own. What the machine
refuses becomes a StorageError that names the path and the cause, or a DatabaseFullError.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from vecstore.errors import DatabaseFullError, StorageError
from vecstore.types import Uint8

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileSystem(Protocol):
    """What the engine asks of a file system."""

    def write(self, path: Path, chunks: Iterable[bytes | Uint8]) -> int:
        """Write a new file and sync it; returns its bytes. A file is never written twice."""
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

    def map(self, path: Path) -> Uint8:
        """The bytes of a file, uint8 [B], read-only and mapped; the array owns the map."""
        with storage_errors("map", path), open(path, "rb") as file:
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


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError raised inside into a StorageError that says what was done to which path."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        kind = DatabaseFullError if error.errno in _FULL else StorageError
        raise kind(f"cannot {action} {path}: {error.strerror or error}") from error
