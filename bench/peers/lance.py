"""LanceDB: a versioned table of files; inverted lists or HNSW over quantised vectors."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import (
    Environment,
    Float32,
    Int64,
    Known,
    Peer,
    Setting,
    Shape,
    Vectors,
    padded,
)
from bench.peers.kept import whole

NAME, FIELD = "bench", "vector"
M, EF_CONSTRUCTION = 16, 128
SUB = 16  # dimensions that share a code of 8 bits, the library's default; 8 is its other advice
INSERT_DOCUMENTS = 500  # of several vectors each, in one merge

ENVIRONMENT = Environment("lancedb", ("lancedb==0.40.0",))
_DATABASE = ("dense", "filter", "database")
PEERS = (
    Known("lancedb-ivf_pq", "Lance", _DATABASE, {"index": "ivf_pq"}, slow=True),
    Known("lancedb-ivf_pq-sub8", "Lance", _DATABASE, {"index": "ivf_pq", "sub": 8}, slow=True),
    Known("lancedb-ivf_rq", "Lance", _DATABASE, {"index": "ivf_rq"}),
    Known("lancedb-ivf_rq-4bit", "Lance", _DATABASE, {"index": "ivf_rq", "bits": 4}),
    Known("lancedb-ivf_hnsw_sq", "Lance", _DATABASE, {"index": "ivf_hnsw_sq"}),
    Known("lancedb-multivector", "LanceTokens", ("late",), {"index": "ivf_pq"}),
)

# nprobes and refine_factor, or ef and refine_factor where there is a graph.
LISTS = {
    "ivf_pq": ((4, 2), (8, 4), (16, 5), (32, 5), (32, 10), (64, 10), (64, 20), (128, 50)),
    "ivf_pq-sub8": ((4, 2), (8, 2), (16, 2), (16, 4), (32, 4), (32, 8), (64, 8), (128, 16)),
    "ivf_rq": ((4, 2), (8, 2), (16, 2), (32, 2), (64, 2), (64, 5), (128, 5), (128, 10)),
}
GRAPH = ((20, 1), (20, 2), (40, 2), (40, 4), (80, 4), (160, 4), (320, 8))


class Lance(Peer):
    """One table; new rows are appended, others merged by id, for which the ids have a B-tree.

    Each batch is a commit of its own: new files, then a new version, none of which the library
    syncs or can be told to. What is not indexed yet is scanned; `finish` compacts, builds the
    index, or adds to the one there is, and removes old versions. Marks have a B-tree, and filters
    come before the search (prefilter).
    """

    modules = ("lancedb", "pyarrow")
    synced: bool | str = "no: nothing is"

    def __init__(
        self, folder: Path, shape: Shape, index: str, sub: int = SUB, bits: int = 1
    ) -> None:
        super().__init__(folder, shape)
        self.index = index
        self.bits = bits  # of a dimension in RaBitQ codes
        self.sub = sub
        self.codes = None if sub == SUB else whole(shape.dim, sub)
        self.metric: Any = shape.metric

    def create(self) -> None:
        import lancedb
        import pyarrow as pa
        from lancedb.index import BTree

        fields = [("id", pa.int64()), ("mark", pa.int32()), (FIELD, self._type())]
        schema = pa.schema(fields)
        self.table = lancedb.connect(str(self.folder)).create_table(NAME, schema=schema)
        self.table.create_index("id", config=BTree())

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        import pyarrow as pa

        columns = [rows, marks.astype(np.int32), self._array(vectors)]
        given = pa.Table.from_arrays([pa.array(each) for each in columns], schema=self.table.schema)
        if new:
            self.table.add(given)
            return
        merge = self.table.merge_insert("id").when_matched_update_all()
        merge.when_not_matched_insert_all().execute(given)

    def delete(self, rows: Int64) -> None:
        self.table.delete(f"id in ({', '.join(map(str, rows.tolist()))})")

    def finish(self) -> None:
        from lancedb.index import BTree

        self.table.optimize()
        if FIELD not in {column for each in self.table.list_indices() for column in each.columns}:
            self.table.create_index("mark", config=BTree())
            self.table.create_index(FIELD, config=self._index())
        self.table.optimize(cleanup_older_than=timedelta(0))

    def open(self) -> None:
        import lancedb

        self.table = lancedb.connect(str(self.folder)).open_table(NAME)

    def settings(self) -> list[Setting]:
        if self.index == "ivf_hnsw_sq":
            return [{"ef": ef, "refine_factor": times} for ef, times in GRAPH]
        steps = LISTS[self.index if self.sub == SUB else f"{self.index}-sub{self.sub}"]
        return [{"nprobes": nprobes, "refine_factor": times} for nprobes, times in steps]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        if len(queries) == 1:
            found = self._asked(queries[0], limit, setting, below).to_arrow()
            return padded([found["id"].to_pylist()], limit)
        asked = self._asked(list(queries), limit, setting, below)
        found = asked.to_arrow()
        ids = found["id"].to_numpy()
        whose = found["query_index"].to_numpy()
        order = np.lexsort((found["_distance"].to_numpy(), whose))
        ends = np.searchsorted(whose[order], np.arange(1, len(queries)))
        return padded(np.split(ids[order], ends), limit)

    def _asked(self, queries: Any, limit: int, setting: Setting, below: int | None) -> Any:
        times = int(setting["refine_factor"])
        asked = self.table.search(queries, vector_column_name=FIELD).distance_type(self.metric)
        asked = asked.limit(limit).select(["id", "_distance"]).refine_factor(times)
        if below is not None:
            asked = asked.where(f"mark < {below}", prefilter=True)
        if "ef" in setting:  # the library wants at least as many as it refines
            return asked.ef(max(int(setting["ef"]), limit * times))
        return asked.nprobes(setting["nprobes"])

    def _type(self) -> Any:
        import pyarrow as pa

        return pa.list_(pa.float32(), self.shape.dim)

    def _array(self, vectors: Vectors) -> Any:
        import pyarrow as pa

        values: Float32 = np.ascontiguousarray(vectors)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), self.shape.dim)

    def _index(self) -> Any:
        from lancedb.index import HnswSq, IvfPq, IvfRq

        if self.index == "ivf_hnsw_sq":
            return HnswSq(distance_type=self.metric, m=M, ef_construction=EF_CONSTRUCTION)
        lists = _lists(self.shape.rows)
        if self.index == "ivf_rq":
            return IvfRq(distance_type=self.metric, num_bits=self.bits, **lists)
        return IvfPq(distance_type=self.metric, num_sub_vectors=self.codes, **lists)


class LanceTokens(Lance):
    """Several vectors a record, compared with MaxSim over an IVF-PQ index of all of them.

    The library has cosine only there, which is the inner product where vectors have unit length.
    """

    def __init__(self, folder: Path, shape: Shape, index: str) -> None:
        super().__init__(folder, shape, index)
        self.metric = "cosine"
        self.tokens = 0

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        for at in range(0, len(rows), INSERT_DOCUMENTS):
            part = slice(at, at + INSERT_DOCUMENTS)
            super().insert(rows[part], vectors[part], marks[part], new=new)
        self.tokens += sum(map(len, vectors))

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        """One query a call: a list of vectors is one query here."""
        found = [
            self._asked(query, limit, setting, below).to_arrow()["id"].to_pylist()
            for query in queries
        ]
        return padded(found, limit)

    def _type(self) -> Any:
        import pyarrow as pa

        return pa.list_(super()._type())

    def _array(self, vectors: Vectors) -> Any:
        import pyarrow as pa

        ends = np.cumsum([0, *map(len, vectors)]).astype(np.int32)
        return pa.ListArray.from_arrays(ends, super()._array(np.concatenate(vectors)))

    def _index(self) -> Any:
        from lancedb.index import IvfPq

        return IvfPq(distance_type=self.metric, **_lists(self.tokens))


def _lists(vectors: int) -> dict[str, int]:
    """About as many lists as vectors in each.

    By their size, as the library keeps only that: where their number is given, the next
    `optimize` joins them to lists of its default size, 8,192.
    """
    return {"target_partition_size": max(1, round(vectors**0.5))}
