"""Qdrant Edge: the engine of Qdrant in the process, one shard, HNSW with quantised vectors."""

from __future__ import annotations

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

M, EF_CONSTRUCT = 16, 128
M_MORE, EF_CONSTRUCT_MORE = 32, 200
FULL_SCAN_KB = 10_000  # the library's default: less than this is scanned, indexed or not
SEGMENT_KB_MAX = 100_000_000  # one segment, whatever it holds
INSERT_DOCUMENTS = 500  # of several vectors each, in one update

ENVIRONMENT = Environment("qdrant-edge", ("qdrant-edge-py==0.9.0",))
_DATABASE = ("dense", "filter", "database")
PEERS = (
    Known("qdrant-edge", "QdrantEdge", _DATABASE, slow=True),
    Known(
        "qdrant-edge-m32",
        "QdrantEdge",
        options={"m": M_MORE, "ef_construct": EF_CONSTRUCT_MORE},
        slow=True,
    ),
    Known("qdrant-edge-scalar", "QdrantEdge", _DATABASE, {"quantization": "scalar"}),
    Known("qdrant-edge-binary", "QdrantEdge", _DATABASE, {"quantization": "binary"}, slow=True),
    Known("qdrant-edge-tq4", "QdrantEdge", _DATABASE, {"quantization": "tq4"}),
    Known("qdrant-edge-multivector", "QdrantEdgeTokens", ("late",)),
    Known(
        "qdrant-edge-multivector-binary",
        "QdrantEdgeTokens",
        ("late",),
        {"quantization": "binary"},
    ),
)

EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
# hnsw_ef and oversampling; originals rescore what the quantised vectors find.
QUANTIZED: dict[str, tuple[tuple[int, int], ...]] = {
    "scalar": ((24, 1), (32, 1), (48, 1), (64, 2), (96, 2), (128, 2), (192, 4), (256, 4)),
    "tq4": ((24, 2), (32, 2), (48, 2), (64, 2), (96, 2), (128, 4), (192, 4), (256, 8)),
    "binary": (
        (32, 2),
        (48, 4),
        (64, 4),
        (64, 8),
        (128, 8),
        (128, 16),
        (256, 16),
        (256, 32),
        (512, 64),
    ),
}
TOKENS_OVERSAMPLING = (1, 2, 4, 8, 16, 32)


class QdrantEdge(Peer):
    """One shard of one segment: HNSW, the originals mapped, quantised vectors in RAM.

    An update goes to a write-ahead log that the library does not sync by itself, so `insert` and
    `delete` flush, which does. What is inserted is scanned until `finish` optimises the shard;
    marks have a payload index, which the graph is built with, so that it can be filtered.
    """

    modules = ("qdrant_edge",)
    synced = True

    def __init__(
        self,
        folder: Path,
        shape: Shape,
        quantization: str = "",
        m: int = M,
        ef_construct: int = EF_CONSTRUCT,
    ) -> None:
        super().__init__(folder, shape)
        self.quantization = quantization
        self.m, self.ef_construct = m, ef_construct

    def create(self) -> None:
        from qdrant_edge import EdgeShard, PayloadSchemaType, UpdateOperation

        self.shard = EdgeShard.create(str(self.folder / "shard"), self._config())
        self.shard.update(UpdateOperation.create_field_index("mark", PayloadSchemaType.Integer))

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        self._upsert(rows, vectors, marks)
        self.shard.flush()

    def _upsert(self, rows: Int64, vectors: Vectors, marks: Int64) -> None:
        from qdrant_edge import Point, UpdateOperation

        points = [
            Point(row, self._value(vector), {"mark": mark})
            for row, vector, mark in zip(rows.tolist(), vectors, marks.tolist(), strict=True)
        ]
        self.shard.update(UpdateOperation.upsert_points(points))

    def delete(self, rows: Int64) -> None:
        from qdrant_edge import UpdateOperation

        self.shard.update(UpdateOperation.delete_points(rows.tolist()))
        self.shard.flush()

    def finish(self) -> None:
        self.shard.optimize()
        self.shard.flush()

    def open(self) -> None:
        from qdrant_edge import EdgeShard

        self.shard = EdgeShard.load(str(self.folder / "shard"))

    def settings(self) -> list[Setting]:
        if not self.quantization:
            return [{"hnsw_ef": ef} for ef in EFS]
        steps = QUANTIZED[self.quantization]
        return [{"hnsw_ef": ef, "oversampling": times} for ef, times in steps]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        from qdrant_edge import FieldCondition, Filter, QueryBatchRequest, RangeFloat

        only = None
        if below is not None:
            only = Filter(must=[FieldCondition(key="mark", range=RangeFloat(lt=below))])
        requests = [self._request(query, limit, setting, only) for query in queries]
        if len(requests) == 1:
            found = [self.shard.query(requests[0])]
        else:
            found = self.shard.query_batch(QueryBatchRequest(requests))
        return padded([[hit.id for hit in hits] for hits in found], limit)

    def close(self) -> None:
        self.shard.close()

    def _request(self, query: Float32, limit: int, setting: Setting, only: Any) -> Any:
        from qdrant_edge import Query, QueryRequest

        nearest = Query.Nearest(self._value(query))
        return QueryRequest(limit=limit, query=nearest, filter=only, params=self._params(setting))

    def _params(self, setting: Setting) -> Any:
        from qdrant_edge import QuantizationSearchParams, SearchParams

        times = setting.get("oversampling")
        rescored = QuantizationSearchParams(rescore=True, oversampling=times) if times else None
        return SearchParams(hnsw_ef=setting.get("hnsw_ef"), quantization=rescored)

    def _value(self, vector: Float32) -> Any:
        return np.ascontiguousarray(vector)

    def _config(self) -> Any:
        from qdrant_edge import Distance, EdgeConfig, EdgeOptimizersConfig, EdgeVectorParams

        distance = Distance.Cosine if self.shape.metric == "cosine" else Distance.Dot
        params = EdgeVectorParams(
            size=self.shape.dim,
            distance=distance,
            quantization_config=self._quantization(),
            hnsw_config=self._graph(),
            **self._several(),
        )
        optimizers = EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=SEGMENT_KB_MAX, indexing_threshold=1
        )
        threads = self.shape.threads
        return EdgeConfig(vectors=params, optimizers=optimizers, max_search_threads=threads)

    def _graph(self) -> Any:
        from qdrant_edge import HnswIndexConfig

        return HnswIndexConfig(self.m, self.ef_construct, FULL_SCAN_KB, self.shape.threads)

    def _quantization(self) -> Any:
        import qdrant_edge as edge

        ram = edge.Memory.Pinned
        if self.quantization == "scalar":
            return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=ram)
        if self.quantization == "binary":
            return edge.BinaryQuantizationConfig(memory=ram)
        if self.quantization == "tq4":
            return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits4, memory=ram)
        return None

    def _several(self) -> dict[str, Any]:
        """What is configured where a record has several vectors."""
        return {}


class QdrantEdgeTokens(QdrantEdge):
    """Several vectors a record, compared with MaxSim: a scan, as Qdrant advises, without a graph.

    With binary quantisation the scan is over bits and the originals rescore.
    """

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        for at in range(0, len(rows), INSERT_DOCUMENTS):
            part = slice(at, at + INSERT_DOCUMENTS)
            self._upsert(rows[part], vectors[part], marks[part])
        self.shard.flush()

    def settings(self) -> list[Setting]:
        if not self.quantization:
            return [{"exact": 1}]
        return [{"oversampling": times} for times in TOKENS_OVERSAMPLING]

    def _value(self, vector: Float32) -> Any:
        return vector.tolist()

    def _graph(self) -> Any:
        from qdrant_edge import HnswIndexConfig

        return HnswIndexConfig(0, EF_CONSTRUCT, FULL_SCAN_KB)

    def _several(self) -> dict[str, Any]:
        from qdrant_edge import MultiVectorComparator, MultiVectorConfig

        return {"multivector_config": MultiVectorConfig(MultiVectorComparator.MaxSim)}
