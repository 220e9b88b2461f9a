"""What the tests of snapshots share: a database of every kind of file, and stores that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.database import Database

DIM = 8
LADDER = ["pca4/int8", "bits1", "float16"]


def fill(db: Database) -> None:
    """Two collections: segments, trained codecs, deleted records, columns and a write buffer."""
    for name in ("books", "pages"):
        schema = vs.Schema([vs.Vector("v", DIM, "dot", LADDER)], [vs.Column("year", "int")])
        made = db.create_collection(name, schema)
        for batch in range(3):
            write(db, name, batch)
            made.flush()
        made.delete([3, 25])
        write(db, name, 3)


def write(db: Database, name: str, batch: int) -> None:
    """Upsert 20 records, ids 15 apart: each batch replaces 5 of the one before."""
    ids = range(15 * batch, 15 * batch + 20)
    vectors = np.random.default_rng(batch).standard_normal((20, DIM))
    payloads = [{"year": batch, "note": f"{name} {id_}"} for id_ in ids]
    db.collection(name).upsert(ids, vectors, payloads)


def state(db: Database) -> dict[str, Any]:
    """All that a user can ask of a database."""
    found = {}
    queries = np.random.default_rng(9).standard_normal((4, DIM))
    for name in db.collections():
        items = db.collection(name)
        found[name] = {
            "schema": items.schema,
            "stats": items.stats(),
            "records": [
                (record.id, record.payload, record.vectors["v"].tolist())
                for record in items.scroll(with_vectors=True)
            ],
            "hits": [
                [(hit.id, hit.score) for hit in hits]
                for exact in (False, True)
                for hits in items.search_batch(queries, limit=20, where="year > 0", exact=exact)
            ],
        }
    return found


def state_at(path: Path) -> dict[str, Any]:
    """The state of a database on disk, which must be sound."""
    with vs.open(path) as db:
        assert db.check() == []
        return state(db)


class Stopped(Exception):  # noqa: N818 - stands for an interruption
    """The test has stopped the work."""


class Store:
    """A store of obstore that counts what is asked of it, and may be stopped.

    Attributes:
        puts: keys that were written, in order.
        reads: keys of files that were read, in order.
        left: how many operations still succeed; None: all.
        before_put: called with each key before it is written.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.puts: list[str] = []
        self.reads: list[str] = []
        self.left: int | None = None
        self.before_put: Callable[[str], None] = lambda _key: None

    def put(self, path: str, file: Any, **options: Any) -> Any:
        self._step()
        self.before_put(path)
        result = self.inner.put(path, file, **options)
        self.puts.append(path)
        return result

    def get(self, path: str) -> Any:
        self._step()
        return self.inner.get(path)

    def get_range(self, path: str, *, start: int, length: int) -> Any:
        self._step()
        result = self.inner.get_range(path, start=start, length=length)
        self.reads.append(path)
        return result

    def list(self, prefix: str | None = None) -> Any:
        self._step()
        return self.inner.list(prefix)

    def forget(self) -> None:
        """Count from here on, and stop nothing."""
        self.puts, self.reads, self.left = [], [], None

    @property
    def files_put(self) -> list[str]:
        return [key for key in self.puts if key.startswith("files/")]

    def _step(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Stopped
            self.left -= 1


def keys_of(store: Any, prefix: str) -> Iterator[str]:
    for chunk in store.list(prefix):
        for item in chunk:
            yield item["path"]
