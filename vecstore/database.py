"""A directory of collections."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from vecstore.check import check_database
from vecstore.codec.ladder import resolve_schema
from vecstore.collection import Collection
from vecstore.errors import AlreadyExistsError, NotFoundError, RequestError, SchemaError
from vecstore.ingest import registry
from vecstore.ingest.opening import close_environment, open_environment
from vecstore.ingest.store import CollectionStore
from vecstore.options import Options
from vecstore.schema import Schema, check_name
from vecstore.search.parallel import Workers
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.environment import Environment


class Database:
    """An open database; made by `vecstore.open`. Safe to use from many threads.

    Also a context manager that closes it.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._workers = Workers(environment.options.thread_count())
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
        return cls(open_environment(Path(path), read_only=read_only, options=options))

    def __repr__(self) -> str:
        return f"Database({str(self._environment.paths.root)!r})"

    def create_collection(self, name: str, schema: Schema) -> Collection:
        """Make a collection.

        Args:
            name: 1 to 128 letters, digits, '_', '.' or '-'; not starting with '.' or '-'.
            schema: its vector fields and columns.

        Raises:
            AlreadyExistsError: there is one of that name.
            SchemaError: the name or a representation cannot be.
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
        with self._opening:
            found = self._open.get(name)
            if found is None or found[0].info.id != info.id:
                store = CollectionStore(environment, info)
                found = self._open[name] = (store, Collection(store, self._workers))
            return found[1]

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
        with environment.lock:
            info = self._info(name)
            with self._opening:
                opened = self._open.pop(name, None)
            if opened is not None and opened[0].info.id == info.id:
                opened[0].drop()
            else:
                registry.drop(environment, info)

    def check(self) -> list[str]:
        """Verify every checksum and invariant on disk.

        Returns:
            The problems found; empty when the database is sound.
        """
        self._environment.check_open()
        return check_database(self._environment)

    def close(self) -> None:
        """Release the directory. Everything acknowledged is on disk already."""
        environment = self._environment
        with environment.lock:
            if not environment.closed:
                close_environment(environment)
                self._workers.close()
                self._open.clear()

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
