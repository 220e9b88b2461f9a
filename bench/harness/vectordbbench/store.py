"""One collection, embedded or on a server: what of the client knows nothing of the harness."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.errors import NotFoundError

FIELD, ID, LABEL = "vector", "id", "label"
_OPENING = threading.Lock()  # of this module, so that a store can be pickled


class Store:
    """A collection that is opened to read, and to write when something is first written.

    One process writes to an embedded database, and any number read beside it. VectorDBBench does
    not say what a process is for, and reads in many.
    """

    def __init__(
        self, *, path: str | None, address: str | None, collection: str, threads: int = 1
    ) -> None:
        """Nothing is opened yet.

        Args:
            path: folder of an embedded database.
            address: "host:port" of `vecstore serve`, instead.
            collection: its name.
            threads: that one search may use, where embedded.
        """
        if (path is None) == (address is None):
            raise ValueError("one of path and address is wanted")
        self.path = path
        self.address = address
        self.name = collection
        self.threads = threads
        self._database: Any = None
        self._collection: Any = None
        self._writes = False

    def create(self, dim: int, metric: str, ladder: Sequence[str], *, labels: bool) -> None:
        """Make the collection anew: what it held is dropped."""
        self._open(writes=True)
        if self.name in self._database.collections():
            self._database.drop_collection(self.name)
        columns = [vs.Column(ID, "int"), *([vs.Column(LABEL, "keyword")] if labels else [])]
        schema = vs.Schema([vs.Vector(FIELD, dim, metric, tuple(ladder))], columns)
        self._database.create_collection(self.name, schema)
        self.close()

    def open(self) -> None:
        """Open to read.

        Raises:
            NotFoundError: there is no such collection.
        """
        self._open(writes=False)
        self._collection = self._database.collection(self.name)

    def close(self) -> None:
        """Let go of it; may be called twice."""
        if self._database is not None:
            self._database.close()
        self._database = self._collection = None
        self._writes = False

    def insert(self, vectors: Any, ids: Sequence[int], labels: Sequence[str] | None = None) -> None:
        """Write records, with their id and label as columns."""
        payloads: list[dict[str, Any]] = [{ID: int(id_)} for id_ in ids]
        if labels is not None:
            for payload, label in zip(payloads, labels, strict=True):
                payload[LABEL] = label
        values = np.asarray(vectors, dtype=np.float32)
        self._to_write().upsert([int(id_) for id_ in ids], values, payloads)

    def compact(self) -> None:
        """Merge the segments, so that searches are at their best."""
        self._to_write().compact()

    def search(
        self,
        query: Any,
        limit: int,
        *,
        keep: int = 0,
        exact: bool = False,
        where: str | None = None,
    ) -> list[int]:
        """The ids of the nearest records, nearest first.

        Args:
            keep: rows that the scan of the coarsest representation keeps for each hit; 0 for the
                default plan.
            exact: score every row with the finest representation.
            where: a filter; see `at_least` and `with_label`.
        """
        asked: dict[str, Any] = {"limit": limit, "where": where, "with_payload": False}
        if exact:
            asked["exact"] = True
        elif keep:
            ladder = self._ladder()
            coarse, fine = ladder[0], ladder[-1]
            stages = [vs.Scan(coarse, keep * limit), vs.Rescore(fine, limit)]
            asked["plan"] = vs.Cascade(stages)
        hits = self._collection.search(np.asarray(query, dtype=np.float32), **asked)
        return [int(id_) for id_ in hits.ids]

    def _ladder(self) -> Sequence[str]:
        ladder: Sequence[str] = self._collection.schema.vector(FIELD).representations
        return ladder

    def _open(self, *, writes: bool) -> None:
        if self.address is not None:
            self._database = vs.connect(self.address)
        else:
            assert self.path is not None
            options = vs.Options(threads=self.threads)
            self._database = vs.open(self.path, read_only=not writes, options=options)
        self._writes = writes

    def _to_write(self) -> Any:
        """The collection, opened again where it was opened to read; threads may come at once."""
        with _OPENING:
            if self._database is None:
                raise NotFoundError("the store is closed")
            if not self._writes:
                self.close()
                self._open(writes=True)
                self._collection = self._database.collection(self.name)
            return self._collection


def at_least(id_: int) -> str:
    """The filter for ids that are not less."""
    return f"{ID} >= {int(id_)}"


def with_label(label: str) -> str:
    """The filter for one label."""
    return f"{LABEL} = '{label.replace(chr(39), chr(39) * 2)}'"
