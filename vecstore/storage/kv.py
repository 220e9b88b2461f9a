"""LMDB, and nothing else of the project knows it: ordered keys, checked values, typed errors.

LMDB's pages carry no checksum, so that each value does:

    value   payload | CRC32C of key and payload, u32 little-endian

What is read is copied out and verified. A commit is on disk when `write` returns.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from vecstore.errors import (
    ClosedError,
    CorruptionError,
    DatabaseFullError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    StorageError,
)
from vecstore.storage.checksum import RESIDUE, crc32c
from vecstore.storage.files import RealFiles

DATABASES_MAX = 64
READERS_MAX = 2048
KEY_BYTES_MAX = 511
_CRC_BYTES = 4
# LMDB reports a full disk as an input/output error; with less than this free it was that.
_FULL_BYTES = 1 << 20


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
            CorruptionError: the value changed after it was written.
        """
        try:
            stored = self._txn.get(key, db=self._dbs[db]) if db in self._dbs else None
        except lmdb.Error as error:
            raise _typed(error, self._path) from error
        return None if stored is None else self._payload(db, key, stored)

    def get_many(self, db: str, keys: Iterable[bytes]) -> list[bytes | None]:
        """The values of many keys, None where there is none; CorruptionError as for `get`."""
        found: list[bytes | None] = []
        try:
            get = self._txn.cursor(db=self._dbs[db]).get
            for key in keys:
                stored = get(key)
                found.append(None if stored is None else self._payload(db, key, stored))
        except lmdb.Error as error:
            raise _typed(error, self._path) from error
        return found

    def put(self, db: str, key: bytes, payload: bytes) -> None:
        """Set the value of a key."""
        assert 0 < len(key) <= KEY_BYTES_MAX
        try:
            self._txn.put(key, _stored(key, payload), db=self._dbs[db])
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def put_many(self, db: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the values of many keys; ascending keys are fastest."""
        stored = [(key, _stored(key, payload)) for key, payload in items]
        try:
            self._txn.cursor(db=self._dbs[db]).putmulti(stored)
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def delete(self, db: str, key: bytes) -> bool:
        """Remove a key; whether it was there."""
        try:
            return self._txn.delete(key, db=self._dbs[db])
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

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
            raise _typed(error, self._path) from error
        return removed

    def keys(self, db: str) -> list[bytes]:
        """Every key, in order; values are not read, so that a damaged one hides no key."""
        if db not in self._dbs:
            return []
        try:
            return list(self._txn.cursor(db=self._dbs[db]).iternext(keys=True, values=False))
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def scan(
        self, db: str, start: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values in [start, stop), or from start on, in the order of keys.

        The transaction must be open, and unchanged, for as long as this is read.
        """
        if db not in self._dbs:
            return
        try:
            cursor = self._txn.cursor(db=self._dbs[db])
            if cursor.set_range(start):
                for key, stored in cursor:
                    if stop is not None and key >= stop:
                        return
                    yield key, self._payload(db, key, stored)
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def _payload(self, db: str, key: bytes, stored: bytes) -> bytes:
        if crc32c(stored, crc32c(key)) != RESIDUE or len(stored) < _CRC_BYTES:
            raise CorruptionError(
                f"the checksum of key {key.hex()} in {db!r} of {self._path} does not match; "
                "restore this value from a copy, or the records it holds are lost"
            )
        return stored[:-_CRC_BYTES]


class Kv:
    """The LMDB environment of one database directory.

    A process opens a directory once. One process writes; readers in others see each commit as
    it is made, and keep the one they began with.
    """

    def __init__(
        self, env: lmdb.Environment, dbs: dict[str, Any], path: Path, *, read_only: bool
    ) -> None:
        self._env = env
        self._dbs = dbs
        self._path = path
        self._read_only = read_only
        self._closed = False

    @classmethod
    def open(
        cls, path: Path, *, databases: Sequence[str], map_bytes: int, read_only: bool = False
    ) -> Kv:
        """Open the environment in a directory; a writer makes what is missing.

        Args:
            path: the directory.
            databases: the names of the key spaces; the first is in every vecstore database.
            map_bytes: address space, the most that the file can grow to.
            read_only: for processes that read while another writes.

        Raises:
            NotADatabaseError: nothing to read there, or something else.
            LockedError: already open in this process.
        """
        assert len(databases) <= DATABASES_MAX
        if not read_only:
            RealFiles().make_dir(path)
        elif not (path / "data.mdb").exists():
            raise NotADatabaseError(f"{path} holds no vecstore database (no data.mdb in it)")
        try:
            env = lmdb.open(
                str(path),
                map_size=map_bytes,
                subdir=True,
                readonly=read_only,
                create=not read_only,
                readahead=False,
                writemap=False,
                meminit=True,
                max_readers=READERS_MAX,
                max_dbs=DATABASES_MAX,
                lib_version=0,
            )
        except lmdb.Error as error:
            raise _typed(error, path) from error
        try:
            env.reader_check()
            dbs = _open_databases(env, databases, path, read_only=read_only)
            if not read_only:
                # LMDB syncs its file but not the names that lead to it.
                RealFiles().sync_dir(path)
                RealFiles().sync_dir(path.resolve().parent)
        except BaseException as error:
            env.close()
            if isinstance(error, lmdb.Error):
                raise _typed(error, path) from error
            raise
        return cls(env, dbs, path, read_only=read_only)

    @contextmanager
    def read(self) -> Iterator[Txn]:
        """A view of the last commit, for as long as the block runs. Keep it short."""
        txn = self._begin(write=False)
        try:
            yield Txn(txn, self._dbs, self._path)
        finally:
            txn.abort()

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """Changes that become durable, all or none, when the block ends without an error.

        Raises:
            DatabaseFullError, StorageError: nothing of the block was applied, unless the disk
                failed while it was committed: then open again to learn which.
            ReadOnlyError: opened for reading.
        """
        txn = self._begin(write=True)
        try:
            yield Txn(txn, self._dbs, self._path)
        except BaseException:
            txn.abort()
            raise
        try:
            txn.commit()
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def add_missing(self, databases: Sequence[str]) -> None:
        """Make the key spaces that an older version did not have."""
        missing = [name for name in databases if name not in self._dbs]
        if missing:
            with self._env.begin(write=True) as txn:
                made = {name: self._env.open_db(name.encode(), txn=txn) for name in missing}
            self._dbs.update(made)

    def last_txn(self) -> int:
        """The number of the last commit by any process: a cheap sign that something changed."""
        try:
            return self._env.info()["last_txnid"]
        except lmdb.Error as error:
            raise _typed(error, self._path) from error

    def close(self) -> None:
        """Release the file; transactions must have ended. Fine to call again."""
        self._closed = True
        self._env.close()

    def _begin(self, *, write: bool) -> lmdb.Transaction[bytes]:
        if self._closed:
            raise ClosedError(f"{self._path} was closed; open it again")
        if write and self._read_only:
            raise ReadOnlyError(f"{self._path} was opened with read_only=True; nothing is written")
        try:
            return self._env.begin(write=write, buffers=False)
        except lmdb.Error as error:
            raise _typed(error, self._path) from error


def _open_databases(
    env: lmdb.Environment, names: Sequence[str], path: Path, *, read_only: bool
) -> dict[str, Any]:
    """Open the key spaces that exist; a new environment gets all of them.

    One that a later version added is missing from an older database: empty for a reader, made by
    `add_missing` for a writer, once the format is known to be one it may write.
    """
    if env.stat()["entries"]:  # a database counts as one entry of the unnamed one
        with env.begin() as txn:
            found = [name for name in names if txn.get(name.encode()) is not None]
        if names[0] not in found:
            raise NotADatabaseError(f"{path} holds an LMDB database that vecstore did not make")
        return {name: env.open_db(name.encode(), create=False) for name in found}
    if read_only:
        raise NotADatabaseError(f"{path} holds no vecstore database yet")
    with env.begin(write=True) as txn:
        return {name: env.open_db(name.encode(), txn=txn) for name in names}


def _stored(key: bytes, payload: bytes) -> bytes:
    return payload + crc32c(payload, crc32c(key)).to_bytes(_CRC_BYTES, "little")


def _typed(error: lmdb.Error, path: Path) -> Exception:
    text = str(error)
    if isinstance(error, lmdb.MapFullError):
        return DatabaseFullError(
            f"{path} has filled its map; open it with a larger Options.map_bytes"
        )
    if isinstance(error, lmdb.DiskError) or _is_full(text, path):
        return DatabaseFullError(f"no space is left for {path}; free some and try again")
    if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError):
        return NotADatabaseError(f"{path}/data.mdb is not a vecstore database: {text}")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return CorruptionError(f"{path}/data.mdb is damaged: {text}")
    if isinstance(error, lmdb.PanicError):
        return StorageError(f"writing {path} failed earlier; close it and open it again: {text}")
    if "already open" in text:
        return LockedError(f"{path} is already open in this process; use that handle or close it")
    if "closed" in text:
        return ClosedError(f"{path} was closed; open it again")
    return StorageError(f"LMDB failed on {path}: {text}")


def _is_full(text: str, path: Path) -> bool:
    if os.strerror(errno.ENOSPC) in text:
        return True
    if os.strerror(errno.EIO) not in text:
        return False
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _FULL_BYTES
