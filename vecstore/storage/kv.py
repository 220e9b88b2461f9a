"""LMDB, and nothing else of the project knows it but `txn`: commits, and what their failures mean.

A commit is on disk when `write` returns. Where the disk fails while LMDB writes the record of a
commit, the last thing it writes, LMDB puts back the one before and refuses everything until it is
opened again. That is done here, once no thread has a transaction open (gate.py), and nothing more
is written before the record that it found is on disk.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import lmdb

from vecstore.errors import (
    ClosedError,
    CorruptionError,
    DatabaseFullError,
    NotADatabaseError,
    ReadOnlyError,
    StorageError,
    UnknownOutcomeError,
    VecstoreError,
)
from vecstore.storage.files import FileSystem, RealFiles, storage_errors
from vecstore.storage.gate import Gate
from vecstore.storage.keys import IDS
from vecstore.storage.pages import PageDamage, check_metas, damaged_pages
from vecstore.storage.spare import release, spare
from vecstore.storage.txn import Txn, typed

__all__ = ["Kv", "Txn", "verify_pages"]

DATABASES_MAX = 64
READERS_MAX = 2048


class Kv:
    """The LMDB environment of one database directory. Safe to use from many threads.

    A process opens a directory once. One process writes; readers in others see each commit as
    it is made, and keep the one they began with. No thread may wait for another one while it has a
    transaction open.
    """

    def __init__(
        self, path: Path, databases: Sequence[str], *, map_bytes: int, read_only: bool
    ) -> None:
        self._path = path
        self._databases = databases
        self._map_bytes = map_bytes
        self._read_only = read_only
        self._closed = False
        self._unsure = ""
        self._has_holes = True  # until the system says no
        self._write_turn = RLock()
        self._opening = Lock()
        self._env, self._dbs = self._opened()
        self._gate = Gate(self._renew)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        databases: Sequence[str],
        map_bytes: int,
        read_only: bool = False,
        files: FileSystem | None = None,
    ) -> Kv:
        """Open the environment in a directory; a writer makes what is missing.

        Args:
            path: the directory.
            databases: the names of the key spaces; the first is in every vecstore database.
            map_bytes: address space, the most that the file can grow to.
            read_only: for processes that read while another writes.
            files: makes the directory, and its names durable; LMDB's own file it knows nothing of.

        Raises:
            NotADatabaseError: nothing to read there, or something else.
            LockedError: already open in this process.
        """
        assert len(databases) <= DATABASES_MAX
        files = files or RealFiles()
        if not read_only:
            files.make_dir(path)
        elif not (path / "data.mdb").exists():
            raise NotADatabaseError(f"{path} holds no vecstore database (no data.mdb in it)")
        kv = cls(path, databases, map_bytes=map_bytes, read_only=read_only)
        if not read_only:
            try:
                # LMDB syncs its file as it writes, but not what a process that died left unsynced,
                # nor the names that lead to it.
                kv._sync()
                files.sync_dir(path)
                files.sync_dir(path.resolve().parent)
            except BaseException:
                kv.close()
                raise
        return kv

    @contextmanager
    def read(self) -> Iterator[Txn]:
        """A view of the last commit, for as long as the block runs. Keep it short."""
        with self._gate:
            txn = self._begin(write=False)
            try:
                yield Txn(txn, self._dbs, self._path)
            finally:
                txn.abort()

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """Changes that become durable, all or none, when the block ends without an error.

        Raises:
            UnknownOutcomeError: the disk failed in the middle of the commit; read to learn
                whether it was applied.
            DatabaseFullError, StorageError: nothing of the block was applied.
            ReadOnlyError: opened for reading.
        """
        with self._writing() as txn:
            yield Txn(txn, self._dbs, self._path)

    def add_missing(self, databases: Sequence[str]) -> None:
        """Make the key spaces that an older version did not have."""
        missing = [name for name in databases if name not in self._dbs]
        if missing:
            with self._writing() as txn:
                made = {name: self._env.open_db(name.encode(), txn=txn) for name in missing}
            self._dbs.update(made)

    def last_txn(self) -> int:
        """The number of the last commit by any process: a cheap sign that something changed."""
        with self._gate:
            try:
                return self._env.info()["last_txnid"]
            except lmdb.Error as error:
                raise typed(error, self._path) from error

    def check_readers(self) -> int:
        """Free what LMDB keeps for readers that died; returns how many there were.

        Until then it keeps the pages that they read, so that its file grows.
        """
        with self._errors(), self._gate:
            return self._env.reader_check()

    def give_back(self) -> int:
        """Return space of the file that nothing needs to the file system, where there is much.

        See spare.py. Other writes wait meanwhile. Only Linux can do it, and not on every file
        system; elsewhere nothing happens.

        Returns:
            How many bytes the file takes less.

        Raises:
            CorruptionError: LMDB's lists of free pages are damaged.
            DatabaseFullError, StorageError: nothing is lost, and some may be given back.
        """
        data = self._path / "data.mdb"
        if not self._has_holes:
            return 0
        with self._writing() as txn:
            found = spare(data, txn.id() - 1, txn.id(), self._env.readers())
            if not found.worth:
                return 0
            # One commit more, after which what the last one freed is as free as the rest.
            cursor = txn.cursor(db=self._dbs[self._databases[0]])
            if cursor.first():
                txn.put(cursor.key(), cursor.value(), db=self._dbs[self._databases[0]])
        with self._writing() as txn:
            last = txn.id() - 1
            given = release(data, spare(data, last, last, self._env.readers()))
        self._has_holes = given is not None
        return given or 0

    def damaged_pages(self) -> list[PageDamage]:
        """What is wrong with the pages of the last commit; for a thread that has one open."""
        return damaged_pages(self._path / "data.mdb")

    def copy(self, folder: Path) -> None:
        """Copy the last commit to an empty folder, without unused pages, durably.

        Writes go on meanwhile; their pages are not used again until the copy is there.

        Raises:
            DatabaseFullError: no space is left for the copy; what there is of it stays behind.
        """
        self._check_open()
        data = folder / "data.mdb"
        with self._errors(folder), storage_errors("copy to", data), open(data, "xb") as file:
            with self._gate:
                self._env.copyfd(file.fileno(), compact=True)
            os.fsync(file.fileno())
        RealFiles().sync_dir(folder)

    def reopen(self) -> None:
        """Close LMDB's file and open it again, once no other thread has a transaction open.

        Raises:
            StorageError: this thread has one open itself; it happens when that has ended.
        """
        with self._gate:
            if not self._gate.renew():
                raise StorageError(f"{self._path} cannot be opened again by a thread that reads it")

    def close(self) -> None:
        """Release the file once no write is under way; what reads ends. Fine to call again."""
        self._closed = True
        # LMDB would wait for ever for a transaction that cannot end; what another thread is about
        # to open again would stay open.
        with self._write_turn, self._opening:
            self._env.close()

    @contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction[bytes]]:
        with self._gate:
            self._begin(write=False).abort()  # opens LMDB again where it must be
            with self._write_turn:
                txn = self._begin(write=True)
                try:
                    number = txn.id()
                    yield txn
                except BaseException as error:
                    txn.abort()
                    if isinstance(error, lmdb.Error):
                        raise typed(error, self._path) from error
                    raise
                failure = self._commit(txn)
            if failure is not None:
                raise self._outcome(number, failure) from failure

    def _commit(self, txn: lmdb.Transaction[bytes]) -> lmdb.Error | None:
        try:
            txn.commit()
        except lmdb.Error as error:
            return error
        return None

    def _begin(self, *, write: bool) -> lmdb.Transaction[bytes]:
        self._check_open()
        if write and self._read_only:
            raise ReadOnlyError(f"{self._path} was opened with read_only=True; nothing is written")
        with self._errors():
            try:
                txn = self._env.begin(write=write, buffers=False)
            except lmdb.PanicError:
                if write:
                    raise
                self._gate.renew()
                txn = self._env.begin(write=write, buffers=False)
            except lmdb.ReadersFullError:
                self._env.reader_check()
                txn = self._env.begin(write=write, buffers=False)
        if write and self._unsure:
            txn.abort()
            refusal = StorageError(f"nothing is written to {self._path} any more: {self._unsure}")
            refusal.errno = errno.EIO
            raise refusal
        return txn

    def _outcome(self, number: int, error: lmdb.Error) -> Exception:
        """What the failure of a commit means."""
        failure = typed(error, self._path)
        if isinstance(failure, ClosedError) or not self._may_be_applied():
            return failure
        applied = True
        try:
            if self._gate.renew():
                applied = self._env.info()["last_txnid"] >= number
        except (VecstoreError, lmdb.Error):
            pass  # whoever comes next tries again, and is told why it cannot be opened
        if isinstance(failure, DatabaseFullError) and not applied:
            return failure
        return UnknownOutcomeError(
            f"the disk failed in the middle of a commit to {self._path} ({error}): the write was "
            "applied whole or not at all; read to see, and write again if it was not"
        )

    def _may_be_applied(self) -> bool:
        """Whether the record of a commit that failed was begun."""
        if sys.platform == "darwin":
            return True  # the record is synced in a step of its own, after which LMDB goes on
        try:
            self._env.begin().abort()
        except lmdb.Error:
            return True
        return False

    def _renew(self) -> None:
        with self._opening:
            self._check_open()
            self._env.close()
            self._env, self._dbs = self._opened()
        try:
            self._sync()
        except StorageError as error:
            self._unsure = str(error)

    def _sync(self) -> None:
        """Write to disk what the system still has in memory of LMDB's file.

        It may be a record of a commit that is older, or newer, than the one on disk. Going on from
        it would write over pages that the one on disk needs.
        """
        with self._errors():
            self._env.sync(True)  # noqa: FBT003 - no keyword in LMDB's CPython binding

    def _opened(self) -> tuple[lmdb.Environment, dict[str, Any]]:
        data = self._path / "data.mdb"
        with self._errors(), storage_errors("open", self._path):
            if data.exists() and data.stat().st_size:
                check_metas(data)
            env = lmdb.open(
                str(self._path),
                map_size=self._map_bytes,
                subdir=True,
                readonly=self._read_only,
                create=not self._read_only,
                readahead=False,
                writemap=False,
                meminit=True,
                max_readers=READERS_MAX,
                max_dbs=DATABASES_MAX,
                lib_version=0,
            )
            try:
                env.reader_check()
                with env.begin():  # so that no page is used again meanwhile
                    _refuse(damaged_pages(data, without_leaves=(IDS,), ordered=False))
                return env, self._open_databases(env)
            except BaseException:
                env.close()
                raise

    def _open_databases(self, env: lmdb.Environment) -> dict[str, Any]:
        """Open the key spaces that exist; a new environment gets all of them.

        One that a later version added is missing from an older database: empty for a reader, made
        by `add_missing` for a writer, once the format is known to be one it may write.
        """
        names = self._databases
        if env.stat()["entries"]:  # a database counts as one entry of the unnamed one
            with env.begin() as txn:
                held = [key.decode("utf-8", "replace") for key, _ in txn.cursor()]
            found = [name for name in names if name in held]
            if names[0] not in found:
                raise NotADatabaseError(
                    f"{self._path} holds an LMDB database that vecstore did not make"
                )
            strangers = set(held).difference(names)
            if strangers and len(found) < len(names):
                raise CorruptionError(
                    f"{self._path} holds a key space {min(strangers)!r}, which should have another "
                    "name; restore a snapshot"
                )
            return {name: env.open_db(name.encode(), create=False) for name in found}
        if self._read_only:
            raise NotADatabaseError(f"{self._path} holds no vecstore database yet")
        with env.begin(write=True) as txn:
            return {name: env.open_db(name.encode(), txn=txn) for name in names}

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._path} was closed; open it again")

    @contextmanager
    def _errors(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise typed(error, path or self._path) from error


def verify_pages(path: Path) -> None:
    """Walk every page of a data.mdb from elsewhere, without LMDB, which must not open it before.

    The file must not change from here on. What the values say is checked when they are read.

    Raises:
        CorruptionError: LMDB could read or write outside of its pages.
    """
    _refuse(damaged_pages(path))


def _refuse(found: Sequence[PageDamage]) -> None:
    if found:
        raise CorruptionError(f"{found[0].text}; restore a snapshot")
