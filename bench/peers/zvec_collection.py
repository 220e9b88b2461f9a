"""zvec: an embedded collection with HNSW, over float32 or int8, or inverted lists with RaBitQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Environment, Int64, Known, Peer, Setting, Shape, Vectors, padded

FIELD = "vector"
M, EF_CONSTRUCTION = 16, 128
WRITE_ROWS = 1000  # in one call, which takes 1,024 at most
LISTS = 4  # times the square root of the rows

ENVIRONMENT = Environment("zvec", ("zvec==0.8.0",))
_DATABASE = ("dense", "filter", "database")
PEERS = (
    Known("zvec-hnsw", "Zvec", _DATABASE, {"index": "hnsw"}, slow=True),
    Known("zvec-hnsw-int8", "Zvec", _DATABASE, {"index": "hnsw-int8"}),
    Known("zvec-ivf-rabitq", "Zvec", _DATABASE, {"index": "ivf-rabitq"}),
)

EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
REFINED = {"scale_factor": 2}  # candidates that originals rescore, for each hit asked
NPROBES = (8, 16, 32, 64, 128, 256, 512)


class Zvec(Peer):
    """One collection; the index is built by `finish`, and what comes later is scanned until then.

    A write survives the end of the process by itself; `insert` and `delete` flush, which the
    library's guide asks for where it is to survive a loss of power. But what a flush calls, as
    traced in 0.8.0, is a sync of the log, none of the vectors, scalars and manifest that are
    written, and then the log is removed. Marks have an inverted index for ranges. Searches take
    one query a call.
    """

    modules = ("zvec",)
    synced = "no: a flush puts unsynced files in place of the synced log"

    def __init__(self, folder: Path, shape: Shape, index: str) -> None:
        super().__init__(folder, shape)
        self.index = index

        import zvec

        zvec.init(
            log_level=zvec.LogLevel.ERROR,
            query_threads=shape.threads,
            optimize_threads=shape.threads,
        )

    def create(self) -> None:
        import zvec

        vector = zvec.VectorSchema(
            FIELD, zvec.DataType.VECTOR_FP32, self.shape.dim, index_param=self._index()
        )
        ranges = zvec.InvertIndexParam(enable_range_optimization=True)
        mark = zvec.FieldSchema("mark", zvec.DataType.INT64, index_param=ranges)
        schema = zvec.CollectionSchema("bench", fields=[mark], vectors=[vector])
        self.collection = zvec.create_and_open(str(self.folder / "zvec"), schema)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        import zvec

        records = [
            zvec.Doc(str(row), vectors={FIELD: vector}, fields={"mark": mark})
            for row, vector, mark in zip(rows.tolist(), vectors, marks.tolist(), strict=True)
        ]
        write = self.collection.insert if new else self.collection.upsert
        for at in range(0, len(records), WRITE_ROWS):
            _taken(write(records[at : at + WRITE_ROWS]))
        self.collection.flush()

    def delete(self, rows: Int64) -> None:
        names = [str(row) for row in rows.tolist()]
        for at in range(0, len(names), WRITE_ROWS):
            _taken(self.collection.delete(names[at : at + WRITE_ROWS]))
        self.collection.flush()

    def finish(self) -> None:
        self.collection.optimize()
        self.collection.flush()

    def open(self) -> None:
        import zvec

        self.collection = zvec.open(str(self.folder / "zvec"))

    def settings(self) -> list[Setting]:
        if self.index == "hnsw":
            return [{"ef": ef} for ef in EFS]
        name, values = ("nprobe", NPROBES) if self.index == "ivf-rabitq" else ("ef", EFS)
        return [{name: value} | more for value in values for more in ({}, REFINED)]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        import zvec

        only = None if below is None else f"mark < {below}"
        param = self._param(setting)
        found = []
        for query in np.asarray(queries):
            asked = zvec.Query(FIELD, vector=query, param=param)
            hits = self.collection.query(asked, topk=limit, filter=only, output_fields=[])
            found.append([int(hit.id) for hit in hits])
        return padded(found, limit)

    def close(self) -> None:
        self.collection.close()

    def _index(self) -> Any:
        import zvec

        metric = zvec.MetricType.COSINE if self.shape.metric == "cosine" else zvec.MetricType.IP
        if self.index == "ivf-rabitq":
            lists = max(16, LISTS * round(self.shape.rows**0.5))
            return zvec.IvfRabitqIndexParam(metric, nlist=lists)
        kind = zvec.QuantizeType.INT8 if self.index == "hnsw-int8" else zvec.QuantizeType.UNDEFINED
        return zvec.HnswIndexParam(metric, M, EF_CONSTRUCTION, quantize_type=kind)

    def _param(self, setting: Setting) -> Any:
        import zvec

        more = {"is_using_refiner": True} if REFINED.keys() <= setting.keys() else {}
        kind = zvec.IvfRabitqQueryParam if self.index == "ivf-rabitq" else zvec.HnswQueryParam
        return kind(**setting, **more)


def _taken(statuses: Any) -> None:
    """Raise what the library says of each record only; one that is not there may be deleted."""
    import zvec

    for status in statuses:
        if not status.ok() and status.code() != zvec.StatusCode.NOT_FOUND:
            raise RuntimeError(status.message())
