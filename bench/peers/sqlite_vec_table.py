"""sqlite-vec: a virtual table of SQLite that is scanned, in float32 or first in bits."""

from __future__ import annotations

from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from bench.peers.base import (
    Environment,
    Int64,
    Known,
    Peer,
    Setting,
    Shape,
    UnsupportedError,
    Vectors,
    padded,
)

K_MAX = 4096  # of one search, a limit of the library
MMAP_BYTES = 1 << 40  # as much as SQLite was built to map
TIMES = (1, 2, 4, 8, 16, 32, 64)

# Python's own sqlite3 is often built without extensions, so a SQLite that takes them comes along.
ENVIRONMENT = Environment("sqlite-vec", ("sqlite-vec==0.1.9", "pysqlite3-binary==0.5.4.post2"))
_DATABASE = ("dense", "filter", "database")
PEERS = (
    Known("sqlite-vec", "SqliteVec", _DATABASE),
    Known("sqlite-vec-bit+rescore", "SqliteVecBits", _DATABASE),
)

EXACT = """
select id from bench where vector match :query and k = :k {only}
"""
COARSE = """
with found as (
    select id, vector from bench
    where coarse match vec_quantize_binary(:query) and k = :k {only}
)
select id from found order by vec_distance_cosine(vector, :query) limit :limit
"""


class SqliteVec(Peer):
    """A scan of all vectors; there is no index. Marks are a metadata column, as its guide says.

    Every batch is one transaction, fsynced: a write-ahead log with synchronous = full.
    """

    modules = ("sqlite_vec", "pysqlite3")
    synced = True
    columns = "vector float[{dim}] distance_metric=cosine"
    values = ":vector"

    def __init__(self, folder: Path, shape: Shape) -> None:
        if shape.metric != "cosine":
            raise UnsupportedError("no inner product: cosine, L2 and L1 only")
        super().__init__(folder, shape)
        self.idle: SimpleQueue[Any] = SimpleQueue()  # connections, for any thread

    def _connected(self) -> Any:
        """A connection that no other thread uses now."""
        import sqlite_vec
        from pysqlite3 import dbapi2 as sqlite

        try:
            return self.idle.get_nowait()
        except Empty:
            pass
        path = str(self.folder / "bench.db")
        made = sqlite.connect(path, isolation_level=None, check_same_thread=False)
        made.enable_load_extension(True)  # noqa: FBT003 -- takes no names
        sqlite_vec.load(made)
        made.enable_load_extension(False)  # noqa: FBT003
        made.execute(f"pragma mmap_size = {MMAP_BYTES}")
        made.execute("pragma journal_mode = wal")
        made.execute("pragma synchronous = full")
        return made

    def create(self) -> None:
        columns = "id integer primary key, mark integer, " + self.columns.format(dim=self.shape.dim)
        made = self._connected()
        made.execute(f"create virtual table bench using vec0({columns})")
        self.idle.put(made)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        """One transaction, which deletes what is there first: the library has no upsert."""
        values = np.ascontiguousarray(vectors)
        records = [
            {"id": row, "mark": mark, "vector": vector.tobytes()}
            for row, mark, vector in zip(rows.tolist(), marks.tolist(), values, strict=True)
        ]
        names = "id, mark, vector" if self.values == ":vector" else "id, mark, vector, coarse"
        made = self._connected()
        made.execute("begin")
        if not new:
            made.executemany("delete from bench where id = :id", records)
        made.executemany(f"insert into bench({names}) values (:id, :mark, {self.values})", records)
        made.execute("commit")
        self.idle.put(made)

    def delete(self, rows: Int64) -> None:
        made = self._connected()
        made.execute("begin")
        made.executemany("delete from bench where id = ?", [(row,) for row in rows.tolist()])
        made.execute("commit")
        self.idle.put(made)

    def finish(self) -> None:
        made = self._connected()
        made.execute("pragma wal_checkpoint(truncate)")
        self.idle.put(made)

    def open(self) -> None:
        self.idle.put(self._connected())

    def settings(self) -> list[Setting]:
        return [{"scan": "float32"}]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        only = "" if below is None else f"and mark < {int(below)}"
        wanted, asked = self._asked(limit, setting)
        made = self._connected()
        found = []
        for query in np.ascontiguousarray(queries):
            rows = made.execute(wanted.format(only=only), {"query": query.tobytes(), **asked})
            found.append([row for (row,) in rows])
        self.idle.put(made)
        return padded(found, limit)

    def _asked(self, limit: int, setting: Setting) -> tuple[str, dict[str, int]]:
        """The statement and its parameters."""
        return EXACT, {"k": limit}

    def close(self) -> None:
        while True:
            try:
                self.idle.get_nowait().close()
            except Empty:
                return


class SqliteVecBits(SqliteVec):
    """A scan of sign bits, then float32 of the best of them: the guide's binary quantisation."""

    columns = f"{SqliteVec.columns}, coarse bit[{{dim}}]"
    values = ":vector, vec_quantize_binary(:vector)"

    def settings(self) -> list[Setting]:
        return [{"scan": "bit", "oversampling": times} for times in TIMES]

    def _asked(self, limit: int, setting: Setting) -> tuple[str, dict[str, int]]:
        keep = min(limit * int(setting["oversampling"]), K_MAX)
        return COARSE, {"k": keep, "limit": limit}
