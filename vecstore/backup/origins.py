"""Where a restored database comes from: what it should consist of, and the bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from vecstore.backup.contents import Contents
from vecstore.backup.manifest import FileEntry, read_manifest
from vecstore.backup.objects import Objects
from vecstore.errors import CorruptionError, NotADatabaseError, NotFoundError, RequestError
from vecstore.storage.files import storage_errors
from vecstore.storage.paths import Paths

_CHUNK_BYTES = 8 << 20


class Origin(Protocol):
    """A snapshot.

    Attributes:
        name: what errors call it.
        known: the files that are known before LMDB's has been read.
    """

    name: str
    known: list[FileEntry]

    def data(self) -> FileEntry:
        """LMDB's file."""
        ...

    def rest(self, contents: Contents, paths: Paths) -> list[FileEntry]:
        """The files beside it.

        Args:
            contents: what LMDB says they must be.
            paths: where `contents` has them.

        Raises:
            CorruptionError: they are others.
        """
        ...

    def read(self, entry: FileEntry) -> Iterator[bytes]:
        """The bytes of a file."""
        ...


class StoredOrigin:
    """A snapshot in an object store."""

    def __init__(self, objects: Objects, number: int | None) -> None:
        self._objects = objects
        numbers = objects.numbers()
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise RequestError(f"number is {number!r}, expected an int or None for the last one")
        wanted = max(numbers, default=0) if number is None else number
        if wanted not in numbers:
            there = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
            what = "snapshot" if number is None else f"snapshot {number}"
            raise NotFoundError(f"{objects.name} has no {what}; there: {there}")
        self.name = f"snapshot {wanted} in {objects.name}"
        manifest = read_manifest(objects, wanted, numbers[wanted])
        sizes = objects.sizes()
        for entry in manifest.files:
            if sizes.get(entry.sha256) != entry.bytes:
                size = sizes.get(entry.sha256)
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise CorruptionError(
                    f"{self.name}: the object of {entry.path} {found}, expected {entry.bytes:,} "
                    f"bytes with SHA-256 {entry.sha256}"
                )
        self.known = list(manifest.files)
        self._format = manifest.format

    def data(self) -> FileEntry:
        """LMDB's file."""
        root = Paths(Path())
        return next(entry for entry in self.known if entry.path == root.name_of(root.data))

    def rest(self, contents: Contents, paths: Paths) -> list[FileEntry]:
        """The files beside it, which the manifest and LMDB must agree on."""
        if contents.format != self._format:
            raise CorruptionError(f"{self.name} and its LMDB do not agree on the format version")
        data = self.data()
        listed = {entry.content for entry in self.known if entry is not data}
        named = {
            (paths.name_of(file.path), file.info.bytes, file.info.crc) for file in contents.files
        }
        for name, *_ in sorted(listed ^ named):
            raise CorruptionError(f"{self.name} and its LMDB do not agree on the file {name}")
        return [entry for entry in self.known if entry is not data]

    def read(self, entry: FileEntry) -> Iterator[bytes]:
        """The bytes of a file."""
        return self._objects.read_file(entry.sha256, entry.bytes)


class CopiedOrigin:
    """A snapshot in a directory, whose files have no SHA-256."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.name = str(paths.root)
        if not paths.data.is_file():
            raise NotADatabaseError(
                f"{paths.root} holds no snapshot (no {paths.data.name} in it); an object store is "
                "named by its URL, such as file:///folder"
            )
        self.known = [self._entry(paths.data, paths.data.stat().st_size, 0)]

    def data(self) -> FileEntry:
        """LMDB's file."""
        return self.known[0]

    def rest(self, contents: Contents, paths: Paths) -> list[FileEntry]:
        """The files beside it, as LMDB says."""
        return [
            self._entry(self._paths.root / paths.name_of(file.path), file.info.bytes, file.info.crc)
            for file in contents.files
        ]

    def read(self, entry: FileEntry) -> Iterator[bytes]:
        """The bytes of a file; CorruptionError for what is no file."""
        path = self._paths.root / entry.path
        with storage_errors("read", path), open(path, "rb", buffering=0, opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CorruptionError(f"{path} is no file")
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _entry(self, path: Path, size: int, crc: int) -> FileEntry:
        return FileEntry(path=self._paths.name_of(path), bytes=size, crc=crc, sha256="")


def _open(path: str, flags: int) -> int:
    """Open what should be a file: a link may lead anywhere, and a pipe may wait for ever."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
