"""Milvus Lite: Milvus' interface over a small engine in the process, with indexes of FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Environment, Int64, Known, Peer, Setting, Shape, Vectors, padded

NAME, FIELD = "bench", "vector"
M, EF_CONSTRUCTION = 16, 128
SEGMENT_ROWS = 100_000  # at most, of a segment, each with its own index
LISTS = 4  # times the square root of a segment's rows

ENVIRONMENT = Environment("milvus-lite", ("milvus-lite==3.2.2", "pymilvus==3.0.2"))
_DATABASE = ("dense", "filter", "database")
PEERS = (
    Known("milvus-lite-hnsw", "MilvusLite", _DATABASE, {"index": "HNSW"}, slow=True),
    Known("milvus-lite-hnsw_sq", "MilvusLite", _DATABASE, {"index": "HNSW_SQ"}, slow=True),
    Known("milvus-lite-ivf_flat", "MilvusLite", _DATABASE, {"index": "IVF_FLAT"}),
    Known("milvus-lite-ivf_sq8", "MilvusLite", _DATABASE, {"index": "IVF_SQ8"}),
)

EFS = (16, 24, 32, 48, 64, 96, 128, 192)
NPROBES = (4, 8, 16, 32, 64, 128, 256)


class MilvusLite(Peer):
    """One collection over the gRPC server that the library runs in a thread of this process.

    A write is in a log before it is acknowledged, which survives the end of the process; the
    library syncs it when the log is closed, and its interface offers no sync for each write.
    Segments get their index when they are flushed; marks have an inverted index. Nothing refines
    what the indexes of 8 bits find.
    """

    modules = ("pymilvus", "milvus_lite.adapter.grpc.server")
    synced = "no: when the log is closed"

    def __init__(self, folder: Path, shape: Shape, index: str) -> None:
        super().__init__(folder, shape)
        self.index = index
        self.metric = "COSINE" if shape.metric == "cosine" else "IP"
        self.path = str(folder / "milvus.db")

    def create(self) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(self.path)
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("mark", DataType.INT64)
        schema.add_field(FIELD, DataType.FLOAT_VECTOR, dim=self.shape.dim)
        indexes = self.client.prepare_index_params()
        indexes.add_index(
            FIELD, index_type=self.index, metric_type=self.metric, params=self._params()
        )
        indexes.add_index("mark", index_type="INVERTED")
        self.client.create_collection(NAME, schema=schema, index_params=indexes)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        records = [
            {"id": row, "mark": mark, FIELD: vector}
            for row, mark, vector in zip(rows.tolist(), marks.tolist(), vectors, strict=True)
        ]
        write = self.client.insert if new else self.client.upsert
        write(NAME, records)

    def delete(self, rows: Int64) -> None:
        self.client.delete(NAME, ids=rows.tolist())

    def finish(self) -> None:
        """Flush, and open again: closing waits for segments that are merged and indexed."""
        self.client.flush(NAME)
        self.close()
        self.open()

    def open(self) -> None:
        from pymilvus import MilvusClient

        self.client = MilvusClient(self.path)
        self.client.load_collection(NAME)

    def settings(self) -> list[Setting]:
        if self.index.startswith("HNSW"):
            return [{"ef": ef} for ef in EFS]
        return [{"nprobe": nprobe} for nprobe in NPROBES]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        found = self.client.search(
            NAME,
            data=list(np.asarray(queries)),
            anns_field=FIELD,
            filter="" if below is None else f"mark < {below}",
            limit=limit,
            search_params={"metric_type": self.metric, "params": dict(setting)},
        )
        return padded([[hit["id"] for hit in hits] for hits in found], limit)

    def close(self) -> None:
        from milvus_lite.server_manager import server_manager_instance

        self.client.close()
        server_manager_instance.release_server(self.path)

    def _params(self) -> dict[str, Any]:
        if self.index.startswith("HNSW"):
            return {"M": M, "efConstruction": EF_CONSTRUCTION}
        rows = min(self.shape.rows, SEGMENT_ROWS)
        return {"nlist": LISTS * round(rows**0.5)}
