"""Graphs in memory: hnswlib, and usearch over float32, int8 and bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import (
    Environment,
    Float32,
    Int64,
    Known,
    Setting,
    Shape,
    UnsupportedError,
    Vectors,
)
from bench.peers.kept import Marked, Originals, Saved, whole

LINKS, BUILD = 16, 128  # 32 links at the lowest level; candidates while building
LINKS_MORE, BUILD_MORE = 32, 200
EF = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
TIMES_INT8 = 2
# Bits order badly: what is looked at, and what is rescored for each hit asked.
EF_BITS = (
    *((64, 4), (96, 8), (160, 8), (160, 16), (256, 16)),
    *((320, 32), (512, 32), (640, 64), (1024, 64), (1280, 128)),
)

ENVIRONMENT = Environment("graphs", ("hnswlib==0.8.0", "usearch==2.26.6"))
PEERS = (
    Known("hnswlib", "Hnswlib", ("dense", "filter")),
    Known("hnswlib-m32", "Hnswlib", options={"links": LINKS_MORE, "build": BUILD_MORE}, slow=True),
    Known("usearch-f32", "Usearch", options={"kind": "f32"}, slow=True),
    Known("usearch-i8", "Usearch", options={"kind": "i8"}),
    Known("usearch-b1", "Usearch", options={"kind": "b1"}),
)


class Hnswlib(Marked):
    """float32 vectors in the graph. A filter is a Python function that it calls for each row.

    It fails where a filter leaves fewer rows in reach than are asked for.
    """

    modules = ("hnswlib",)

    def __init__(self, folder: Path, shape: Shape, links: int = LINKS, build: int = BUILD) -> None:
        super().__init__(folder, shape)
        self.links, self.build_ef = links, build

    def _new(self) -> Any:
        import hnswlib

        return hnswlib.Index(space="ip", dim=self.shape.dim)

    @property
    def path(self) -> str:
        """The index's file."""
        return str(self.folder / "index.hnsw")

    def build(self, vectors: Float32) -> None:
        index = self._new()
        index.init_index(len(vectors), M=self.links, ef_construction=self.build_ef)
        index.add_items(vectors, np.arange(len(vectors)), num_threads=self.shape.threads)
        index.save_index(self.path)

    def open(self) -> None:
        super().open()
        self.index = self._new()
        self.index.load_index(self.path)

    def settings(self) -> list[Setting]:
        return [{"ef": ef} for ef in EF]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads
        self.index.set_ef(setting["ef"])

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        threads = self.threads_for(queries)
        if below is None:
            found, _ = self.index.knn_query(queries, k=limit, num_threads=threads)
        else:
            marks = self.marks
            found, _ = self.index.knn_query(
                queries, k=limit, num_threads=1, filter=lambda row: bool(marks[row] < below)
            )
        return np.asarray(found, dtype=np.int64)


class Usearch(Saved):
    """A graph over float32; over int8 or bits, whose best NumPy rescores with float16 originals.

    The originals are in the folder and in memory. No filters in Python.
    """

    modules = ("usearch.index",)

    def __init__(self, folder: Path, shape: Shape, kind: str) -> None:
        super().__init__(folder, shape)
        self.kind = kind
        if kind == "b1":
            whole(shape.dim, 8)
        if kind == "i8" and shape.metric != "cosine":
            raise UnsupportedError("int8 holds vectors at unit length only")

    @property
    def path(self) -> str:
        """The index's file."""
        return str(self.folder / "index.usearch")

    def build(self, vectors: Float32) -> None:
        from usearch.index import Index

        metric = {"f32": "ip", "i8": "cos", "b1": "hamming"}[self.kind]
        index = Index(
            ndim=self.shape.dim,
            metric=metric,
            dtype=self.kind,
            connectivity=LINKS,
            expansion_add=BUILD,
        )
        keys = np.arange(len(vectors))
        index.add(keys, self._coded(vectors), threads=self.shape.threads)
        index.save(self.path)
        if self.kind != "f32":
            Originals.save(self.folder, vectors)

    def _coded(self, vectors: Float32) -> Any:
        return np.packbits(vectors > 0, axis=1) if self.kind == "b1" else vectors

    def open(self) -> None:
        from usearch.index import Index

        self.index = Index.restore(self.path)
        if self.kind != "f32":
            self.originals = Originals(self.folder, self.shape.threads)

    def settings(self) -> list[Setting]:
        if self.kind == "b1":
            return [{"expansion": ef, "rescored": times} for ef, times in EF_BITS]
        rescored = {"rescored": TIMES_INT8} if self.kind == "i8" else {}
        return [{"expansion": ef, **rescored} for ef in EF]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads
        self.index.expansion_search = setting["expansion"]

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        if below is not None:
            raise UnsupportedError("no filters in Python")
        values: Float32 = np.asarray(queries)
        threads = self.threads_for(values)
        keep = min(limit * int(setting.get("rescored", 1)), self.shape.rows)
        found = self._found(values, keep, threads)
        if self.originals is None:
            return found
        return self.originals.best(values, found, limit, threads)

    def _found(self, queries: Float32, keep: int, threads: int) -> Int64:
        hits = self.index.search(self._coded(queries), keep, threads=threads)
        out = np.full((len(queries), keep), -1, dtype=np.int64)
        if len(queries) == 1:
            out[0, : len(hits.keys)] = hits.keys
            return out
        there = np.arange(keep) < np.asarray(hits.counts)[:, None]
        out[there] = hits.keys[there]
        return out
