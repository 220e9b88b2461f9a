"""What a database consists of. Its LMDB says so; here a copy of it is made and asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vecstore.errors import NotADatabaseError
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import KIND
from vecstore.segment.environment import Environment
from vecstore.segment.format import Component
from vecstore.segment.manifest import ComponentInfo, Manifest, from_bytes
from vecstore.segment.meta import is_new
from vecstore.storage import keys
from vecstore.storage.files import FileSystem
from vecstore.storage.kv import Kv, Txn
from vecstore.storage.paths import Paths, component_path


class StoredFile(NamedTuple):
    """A component: a file of a segment, or a trained codec.

    Attributes:
        path: where it lies.
        kind: what it holds.
        info: its length and checksum, as LMDB knows them.
    """

    path: Path
    kind: str
    info: ComponentInfo


@dataclass(frozen=True, slots=True)
class Contents:
    """What LMDB says of the database that it belongs to.

    Attributes:
        identity: tells the database from all others; b"" where it has none.
        format: its format version.
        files: every file beside LMDB's.
    """

    identity: bytes
    format: int
    files: tuple[StoredFile, ...]

    @property
    def bytes(self) -> int:
        """Bytes of these files."""
        return sum(file.info.bytes for file in self.files)


def copy_lmdb(environment: Environment, folder: Path) -> Contents:
    """Copy LMDB, as of its last commit, to an empty folder, durably.

    The copy is a database of its own: it gets an identity when it is first opened for writing. Jobs
    under way are left out.

    Returns:
        What the copy names; the files lie in the database that was copied.

    Raises:
        CorruptionError: a value changed after it was written.
    """
    environment.kv.copy(folder)
    opened = Kv.open(folder, databases=keys.DATABASES, map_bytes=environment.options.map_bytes)
    with contextlib.closing(opened) as kv:
        with kv.read() as txn:
            for db in keys.DATABASES:
                for _ in txn.scan(db):
                    pass
        contents = read_contents(kv, environment.paths)
        forget(kv)
    environment.files.remove(Paths(folder).lmdb_lock)
    return contents


def forget(kv: Kv) -> None:
    """Remove what a copy must not have: jobs under way, and the identity of the database."""
    with kv.read() as txn:
        jobs = txn.keys(keys.JOBS)
        named = keys.IDENTITY in txn.keys(keys.META)
    # Two commits: the one before the last has no jobs either, should LMDB ever go back to it.
    if jobs:
        with kv.write() as txn:
            for key in jobs:
                txn.delete(keys.JOBS, key)
    if named:
        with kv.write() as txn:
            txn.delete(keys.META, keys.IDENTITY)


def read_contents(kv: Kv, paths: Paths) -> Contents:
    """What LMDB says of a database.

    Args:
        kv: of any database.
        paths: where its files lie.

    Raises:
        CorruptionError: a value changed after it was written.
        FormatVersionError: a newer version wrote it.
    """
    with kv.read() as txn:
        if is_new(txn):
            raise NotADatabaseError(f"{paths.root} has no format; it is no vecstore database")
        return Contents(
            identity=txn.get(keys.META, keys.IDENTITY) or b"",
            format=keys.parse_number(txn.get(keys.META, keys.FORMAT) or b""),
            files=tuple(_named(txn, paths)),
        )


def open_file(files: FileSystem, file: StoredFile) -> Component:
    """Map a file.

    Raises:
        CorruptionError: it is not the one that LMDB names.
    """
    return Component.open(files, file.path, file.kind, file.info)


def _named(txn: Txn, paths: Paths) -> Iterator[StoredFile]:
    for _, value in txn.scan(keys.MANIFESTS):
        for segment in from_bytes(Manifest, value).segments:
            for info in segment.components:
                path = component_path(paths.segment(segment.id), info.name)
                yield StoredFile(path, info.name.partition("-")[0], info)
    for _, value in txn.scan(keys.CODECS):
        codec = from_bytes(CodecInfo, value)
        yield StoredFile(paths.codec(codec.id), KIND, codec.file)
