"""What a snapshot in an object store consists of: one JSON object, which restore does not trust.

    {"version": 1, "format": 1, "created_at": "2026-01-31T12:00:00.000000Z",
     "identity": "32 hexadecimal digits", "files": [
        {"path": "data.mdb", "bytes": 8192, "crc": 0, "sha256": "64 hexadecimal digits"}, ...]}

The file LMDB is one of the files, and says which others there must be.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from vecstore.backup.objects import Objects
from vecstore.errors import CorruptionError, FormatVersionError
from vecstore.segment.meta import FORMAT_VERSION
from vecstore.storage.paths import Paths

VERSION = 1
FILES_MAX = 1_000_000
FILE_BYTES_MAX = 1 << 46
MANIFEST_BYTES_MAX = 1 << 28

_Path = Annotated[str, msgspec.Meta(max_length=100)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=FILE_BYTES_MAX)]
_Crc = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Sum = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Identity = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a snapshot.

    Attributes:
        path: its path in the database, with "/".
        bytes: its length.
        crc: its own checksum; 0 for LMDB's file, which has none.
        sha256: of its bytes, 64 hexadecimal digits; names the object that holds them.
    """

    path: _Path
    bytes: _Bytes
    crc: _Crc
    sha256: _Sum

    @property
    def content(self) -> tuple[str, int, int]:
        """What tells the file from every other of its database, without reading it."""
        return self.path, self.bytes, self.crc


class SnapshotManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A snapshot.

    Attributes:
        version: of this manifest.
        format: of the database.
        created_at: when it was made.
        identity: of the database, hexadecimal; "" where it has none.
        files: by path, ascending.
    """

    version: int
    format: _Bytes
    created_at: _Time
    identity: _Identity
    files: Annotated[tuple[FileEntry, ...], msgspec.Meta(min_length=1, max_length=FILES_MAX)]

    @property
    def bytes_total(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files)

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> SnapshotManifest:
        """The inverse of `to_bytes`, for bytes that anybody may have written.

        Args:
            data: JSON.
            name: what errors call it.

        Raises:
            FormatVersionError: a newer vecstore wrote it, or the database.
            CorruptionError: it is no manifest, or names what no database has.
        """
        try:
            version = msgspec.json.decode(data, type=_Version).version
            _check_version(name, "version", version, VERSION)
            found = msgspec.json.decode(data, type=cls)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise CorruptionError(f"{name} is no manifest of a snapshot: {error}") from error
        _check_version(name, "a database of format version", found.format, FORMAT_VERSION)
        _check_names(name, [entry.path for entry in found.files])
        return found


def read_manifest(objects: Objects, number: int, size: int) -> SnapshotManifest:
    """The manifest of a snapshot.

    Args:
        objects: the store.
        number: of the snapshot.
        size: its bytes, as the store lists them.

    Raises:
        FormatVersionError, CorruptionError: as for `SnapshotManifest.from_bytes`.
    """
    name = f"the manifest of snapshot {number} in {objects.name}"
    if size > MANIFEST_BYTES_MAX:
        raise CorruptionError(f"{name} has {size:,} bytes, {MANIFEST_BYTES_MAX:,} at most")
    return SnapshotManifest.from_bytes(objects.manifest(number), name)


class _Version(msgspec.Struct):
    version: Annotated[int, msgspec.Meta(ge=1)]


def _check_version(name: str, what: str, found: int, known: int) -> None:
    if found > known:
        raise FormatVersionError(
            f"{name} has {what} {found}, this vecstore reads up to {known}; use a newer vecstore"
        )


def _check_names(name: str, paths: list[str]) -> None:
    root = Paths(Path())
    for path in paths:
        if root.named(path) is None:
            raise CorruptionError(f"{name} lists {path!r}, a name that no database has")
    if len(set(paths)) < len(paths):
        raise CorruptionError(f"{name} lists a file twice")
    if root.name_of(root.data) not in paths:
        raise CorruptionError(f"{name} does not list {root.data}")
