"""A directory of collections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from vecstore.backup.objects import ObjectStore
from vecstore.backup.snapshot import take_snapshot
from vecstore.check import check_database
from vecstore.codec.ladder import resolve_schema
from vecstore.collection import Collection
from vecstore.errors import (
    AlreadyExistsError,
    NotFoundError,
    RequestError,
    SchemaError,
    StorageError,
)
from vecstore.ingest import registry
from vecstore.ingest.alter import interrupted
from vecstore.ingest.jobs import Jobs
from vecstore.ingest.maintenance import Maintenance
from vecstore.ingest.opening import close_environment, open_environment
from vecstore.ingest.store import CollectionStore
from vecstore.ingest.tokens import check_policies
from vecstore.options import Options
from vecstore.repair.run import repair_database
from vecstore.reports import Job, RepairReport, SnapshotInfo
from vecstore.request import check_progress
from vecstore.schema import Schema, check_name
from vecstore.search.parallel import Workers
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.environment import Environment
from vecstore.types import Progress


class Database:
    """An open database; made by `vecstore.open`. Safe to use from many threads.

    Also a context manager that closes it.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._workers = Workers(environment.options.thread_count())
        self._jobs = Jobs(environment.options.background_bytes_per_s)
        self._maintenance = Maintenance(environment, self._jobs)
        self._opening = Lock()
        self._open: dict[str, tuple[CollectionStore, Collection]] = {}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, read_only: bool = False, options: Options
    ) -> Self:
        """See `vecstore.open`."""
        if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
            raise RequestError(f"path is {path!r}, expected the path of a directory")
        if not isinstance(options, Options):
            raise RequestError(f"options is {options!r}, expected Options(...) or None")
        opened = cls(open_environment(Path(path), read_only=read_only, options=options))
        for name in interrupted(opened._environment):
            with suppress(StorageError):  # using the collection raises it too
                opened.collection(name)  # goes on with what was under way
        return opened

    def __repr__(self) -> str:
        return f"Database({str(self._environment.paths.root)!r})"

    def create_collection(self, name: str, schema: Schema) -> Collection:
        """Make a collection.

        Args:
            name: 1 to 128 letters, digits, '_', '.' or '-'; not starting with '.' or '-'.
            schema: its vector fields and columns.

        Raises:
            AlreadyExistsError: there is one of that name.
            SchemaError: the name, a representation or a policy cannot be.
        """
        check_name("collection", name)
        if not isinstance(schema, Schema):
            raise SchemaError(f"schema is {schema!r}, expected Schema(vectors=[Vector(...)])")
        environment = self._environment
        environment.check_writable()
        with environment.lock:
            if name in registry.names(environment):
                raise AlreadyExistsError(
                    f"collection {name!r} exists; use collection({name!r}) or drop it first"
                )
            check_policies(schema)
            registry.create(environment, name, resolve_schema(schema))
        return self.collection(name)

    def collection(self, name: str) -> Collection:
        """The collection of that name.

        Raises:
            NotFoundError: there is none.
        """
        environment = self._environment
        environment.check_open()
        info = self._info(name)
        known = self._open.get(name)
        if known is not None and known[0].id == info.id:
            return known[1]  # also during a repair, which lets none be opened
        with self._opening:
            environment.check_open()
            info = self._info(name)
            known = self._open.get(name)
            if known is not None and known[0].id == info.id:
                return known[1]
            store = CollectionStore(environment, info)
            opened = Collection(store, self._workers, self._jobs)
            self._open[name] = (store, opened)
            self._maintenance.watch(store)
        if known is not None:  # the writer dropped it, and made another
            known[0].forget()
        return opened

    def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        self._environment.check_open()
        return registry.names(self._environment)

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its records.

        Raises:
            NotFoundError: there is none of that name.
        """
        environment = self._environment
        environment.check_writable()
        with self._opening, environment.lock:
            info = self._info(name)
            opened = self._open.pop(name, None)
            if opened is not None and opened[0].id == info.id:
                opened[0].drop()
            else:
                registry.drop(environment, info)
        self._jobs.cancel(name)
        with suppress(StorageError):  # what cannot be removed now is tried again
            environment.reclaimer.sweep()

    def jobs(self) -> list[Job]:
        """Background work under way, waiting or failed, oldest first; what is done is not listed.

        A job that failed is tried again by and by, and listed until that succeeds; an `alter` is
        tried again only by asking for it.
        """
        self._environment.check_open()
        return self._jobs.listed()

    def pause_jobs(self) -> None:
        """Hold up background work, within a tenth of a second, until `resume_jobs` or `close`.

        A flush under way goes on to its end. Writers flush a full write buffer themselves.
        """
        self._environment.check_writable()
        self._jobs.pause()

    def resume_jobs(self) -> None:
        """Let background work go on."""
        self._environment.check_writable()
        self._jobs.resume()

    def check(self, progress: Progress | None = None) -> list[str]:
        """Verify every checksum and invariant on disk; reads and writes go on meanwhile.

        Args:
            progress: told how many bytes, or ids, of each part were checked.

        Returns:
            The problems found, each with its file, block and seqs; empty when the database is
            sound.
        """
        self._environment.check_open()
        check_progress(progress)
        return check_database(self._environment, progress)

    def repair(self, progress: Progress | None = None) -> RepairReport:
        """Make again what is damaged, where something else on disk says what it was.

        Records that cannot be made again are removed, and listed; what is listed as remaining
        only a snapshot has. Writes wait meanwhile, and searches go on.

        Args:
            progress: told how many bytes of each part were examined, written and checked; it must
                not open a collection, which waits for the repair.

        Raises:
            ReadOnlyError: opened for reading.
            DatabaseFullError: there is no space for new files; nothing was lost.
        """
        check_progress(progress)
        with self._jobs.set_aside():
            return repair_database(self._environment, self._opened(), progress)

    def snapshot(
        self,
        target: str | os.PathLike[str] | ObjectStore,
        *,
        progress: Progress | None = None,
    ) -> SnapshotInfo:
        """Copy the database as of now; reads and writes go on meanwhile.

        Every batch that was acknowledged before is in it, and each batch whole. Work under way
        (`jobs`) is not. After an interruption the same call does what is left.

        A directory becomes a database that `vecstore.open` opens; its files are hard links where
        the file system can do that. In an object store only files are uploaded that no earlier
        snapshot has; what is uploaded was verified. `vecstore.restore` reads both.

        Args:
            target: a new directory; the URL of an object store, such as "s3://bucket/prefix"; or a
                store of obstore.
            progress: told how far it has come: bytes.

        Raises:
            AlreadyExistsError: there is something in the directory.
            RequestError: another database has its snapshots there, or the target is in this one.
            LockedError: another snapshot to the directory is under way.
            CorruptionError: a part of the database is damaged.
            MissingExtraError: obstore is not installed.
        """
        self._environment.check_open()
        check_progress(progress)
        return take_snapshot(self._environment, target, progress)

    def close(self) -> None:
        """Release the directory. Everything acknowledged is on disk already.

        Background work ends; it is begun again when the database is opened for writing.
        """
        environment = self._environment
        self._maintenance.close()
        self._jobs.close()
        environment.closed = True
        with self._opening:
            stores = [store for store, _ in self._open.values()]
            self._open.clear()
        for store in stores:  # what other threads still write is given up, and removed
            with store.rewrite_lock, store.flush_lock:
                pass
        with environment.lock:
            close_environment(environment)
        self._workers.close()

    @contextmanager
    def _opened(self) -> Iterator[list[CollectionStore]]:
        """The collections that are open; none is opened or dropped while the block runs."""
        with self._opening:
            yield [store for store, _ in self._open.values()]

    def _info(self, name: str) -> CollectionInfo:
        check_name("collection", name)
        info = registry.find(self._environment, name)
        if info is None:
            names = ", ".join(map(repr, registry.names(self._environment))) or "none yet"
            raise NotFoundError(f"no collection {name!r}; the database has {names}")
        return info

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
