"""One transaction: ordered keys, checked values, typed errors.

LMDB's pages carry no checksum, so that each value does:

    value   payload | CRC32C of key and payload, u32 little-endian

What is read is copied out and verified.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lmdb

from vecstore.errors import (
    ClosedError,
    CorruptionError,
    DatabaseFullError,
    LockedError,
    NotADatabaseError,
    StorageError,
)
from vecstore.storage.checksum import RESIDUE, crc32c
from vecstore.storage.files import FULL

KEY_BYTES_MAX = 511
_CRC_BYTES = 4
# A disk that has no room for this is full.
_ROOM_BYTES = 1 << 20


class Txn:
    """One transaction: a view of one commit, or the making of the next."""

    __slots__ = ("_dbs", "_path", "_txn")

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: dict[str, Any], path: Path) -> None:
        self._txn = txn
        self._dbs = dbs
        self._path = path

    @property
    def id(self) -> int:
        """The number of the commit this reads, or of the one it makes."""
        return self._txn.id()

    def get(self, db: str, key: bytes) -> bytes | None:
        """The value of a key, or None.

        Raises:
            CorruptionError: the value changed after it was written; or a key did that is in the
                way, so that nobody knows whether this one is there.
        """
        return self.get_many(db, [key], careful=True)[0]

    def get_many(
        self, db: str, keys: Iterable[bytes], *, careful: bool = False
    ) -> list[bytes | None]:
        """The values of many keys, None where there is none.

        Raises:
            CorruptionError: as for `get`; a damaged key in the way is only found if `careful`,
                which makes it three times as slow to learn that a key is not there.
        """
        found: list[bytes | None] = []
        if db not in self._dbs:
            return [None for _ in keys]
        try:
            cursor = self._txn.cursor(db=self._dbs[db])
            for key in keys:
                stored = cursor.get(key)
                if stored is None and careful:
                    self._check_absent(db, cursor, key)
                found.append(None if stored is None else self._payload(db, key, stored))
        except lmdb.Error as error:
            raise typed(error, self._path) from error
        return found

    def put(self, db: str, key: bytes, payload: bytes) -> None:
        """Set the value of a key."""
        assert 0 < len(key) <= KEY_BYTES_MAX
        try:
            self._txn.put(key, _stored(key, payload), db=self._dbs[db])
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def put_many(self, db: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the values of many keys; ascending keys are fastest."""
        stored = [(key, _stored(key, payload)) for key, payload in items]
        try:
            self._txn.cursor(db=self._dbs[db]).putmulti(stored)
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def delete(self, db: str, key: bytes) -> bool:
        """Remove a key; whether it was there."""
        try:
            return self._txn.delete(key, db=self._dbs[db])
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def delete_range(self, db: str, start: bytes, stop: bytes | None) -> int:
        """Remove the keys in [start, stop), or from start on; returns how many there were."""
        removed = 0
        try:
            cursor = self._txn.cursor(db=self._dbs[db])
            inside = cursor.set_range(start)
            while inside and (stop is None or cursor.key() < stop):
                cursor.delete()  # moves on to the next
                removed += 1
                inside = bool(cursor.key())
        except lmdb.Error as error:
            raise typed(error, self._path) from error
        return removed

    def has(self, db: str, key: bytes) -> bool:
        """Whether there is such a key; its value is not read."""
        try:
            return db in self._dbs and self._txn.cursor(db=self._dbs[db]).set_key(key)
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def keys(self, db: str) -> list[bytes]:
        """Every key, in order; a damaged value hides none, and a flipped bit of one is undone."""
        return [_mended(key, stored) or key for key, stored in self._stored(db, b"", None)]

    def scan(
        self, db: str, start: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values in [start, stop), or from start on, in the order of keys.

        The transaction must be open, and unchanged, for as long as this is read.

        Raises:
            CorruptionError: a value changed after it was written, or a key did, here or beside.
        """
        for key, stored in self._stored(db, start, stop):
            yield key, self._payload(db, key, stored)

    def entries(
        self, db: str, start: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """What `scan` gives, with None for a value that changed after it was written."""
        for key, stored in self._stored(db, start, stop):
            yield key, stored[:-_CRC_BYTES] if _is_whole(key, stored) else None

    def mend_keys(self, db: str) -> int:
        """Turn back flipped bits of keys, which must be in order; returns how many keys had one."""
        flipped = [
            (key, right, stored)
            for key, stored in self._stored(db, b"", None)
            if (right := _mended(key, stored)) is not None
        ]
        try:
            for key, right, stored in flipped:
                self._txn.delete(key, db=self._dbs[db])
                self._txn.put(right, stored, db=self._dbs[db])
        except lmdb.Error as error:
            raise typed(error, self._path) from error
        return len(flipped)

    def rewrite(self, db: str) -> None:
        """Write a key space again, with its keys in order. All of it is in memory meanwhile."""
        everything = sorted(self._stored(db, b"", None))
        try:
            self._txn.drop(self._dbs[db], delete=False)
            self._txn.cursor(db=self._dbs[db]).putmulti(everything)
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def _stored(self, db: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        if db not in self._dbs:
            return
        try:
            cursor = self._txn.cursor(db=self._dbs[db])
            inside = cursor.set_range(start)
            if start:
                if cursor.prev() if inside else cursor.last():
                    self._check_key(db, *cursor.item())
                inside = cursor.set_range(start)
            for key, stored in cursor if inside else ():
                if stop is not None and key >= stop:
                    self._check_key(db, key, stored)
                    return
                yield key, stored
        except lmdb.Error as error:
            raise typed(error, self._path) from error

    def _check_absent(self, db: str, cursor: lmdb.Cursor[bytes], key: bytes) -> None:
        """Look at the keys beside one that is not there: a search goes wrong at a damaged one."""
        inside = cursor.set_range(key)
        wrong = inside and (cursor.key() <= key or not _is_whole(*cursor.item()))
        if not wrong and (cursor.prev() if inside else cursor.last()):
            wrong = cursor.key() >= key or not _is_whole(*cursor.item())
        if wrong:
            raise self.damage(db, cursor.key())

    def _check_key(self, db: str, key: bytes, stored: bytes) -> None:
        """Raise where a bit of a key was flipped, which may have been one of those looked for."""
        if _mended(key, stored) is not None:
            raise self.damage(db, key)

    def _payload(self, db: str, key: bytes, stored: bytes) -> bytes:
        if not _is_whole(key, stored):
            raise self.damage(db, key)
        return stored[:-_CRC_BYTES]

    def damage(self, db: str, key: bytes) -> CorruptionError:
        """What to raise for a damaged value."""
        return CorruptionError(
            f"the checksum of key {key.hex()} in {db!r} of {self._path} does not match; "
            "repair the database, or restore a snapshot"
        )


def typed(error: lmdb.Error, path: Path) -> Exception:
    """What an error of LMDB means for the database in a directory."""
    text = str(error)
    if isinstance(error, lmdb.MapFullError):
        return DatabaseFullError(
            f"{path} has filled its map; open it with a larger Options.map_bytes"
        )
    if isinstance(error, lmdb.DiskError) or error.code in FULL or _is_full(error.code, path):
        return DatabaseFullError(f"no space is left for {path}; free some and try again")
    if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError):
        return NotADatabaseError(f"{path}/data.mdb is not a vecstore database: {text}")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return CorruptionError(f"{path}/data.mdb is damaged: {text}")
    if isinstance(error, lmdb.PanicError):
        return StorageError(
            f"writing {path} failed earlier; end what this thread reads and try again: {text}"
        )
    if "already open" in text:
        return LockedError(f"{path} is already open in this process; use that handle or close it")
    if "closed" in text:
        return ClosedError(f"{path} was closed; open it again")
    failure = StorageError(f"LMDB failed on {path}: {text}")
    failure.errno = error.code if error.code > 0 else None  # those below are LMDB's own
    return failure


def _is_whole(key: bytes, stored: bytes) -> bool:
    return crc32c(stored, crc32c(key)) == RESIDUE and len(stored) >= _CRC_BYTES


def _mended(key: bytes, stored: bytes) -> bytes | None:
    """The key that a value was stored with, where one bit of it was flipped since; else None."""
    if not _is_whole(key, stored):
        for bit in range(8 * len(key)):
            flipped = (int.from_bytes(key, "little") ^ 1 << bit).to_bytes(len(key), "little")
            if _is_whole(flipped, stored):
                return flipped
    return None


def _stored(key: bytes, payload: bytes) -> bytes:
    return payload + crc32c(payload, crc32c(key)).to_bytes(_CRC_BYTES, "little")


def _is_full(code: int, path: Path) -> bool:
    """Whether an input/output error was a full disk: LMDB says so where it wrote a part.

    Writes a little more than LMDB's file takes now, to a file without a name.
    """
    if code != errno.EIO:
        return False
    try:
        end = os.stat(path / "data.mdb").st_size
        with tempfile.TemporaryFile(dir=path) as file:
            return os.pwrite(file.fileno(), bytes(_ROOM_BYTES), end) < _ROOM_BYTES
    except OSError as error:
        return error.errno in FULL
