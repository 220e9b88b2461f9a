"""Chroma, persistent and in the process: HNSW over float32, records in SQLite."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.base import Environment, Int64, Known, Peer, Setting, Vectors, padded

NAME = "bench"
M, EF_CONSTRUCTION = 16, 128
EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192)

ENVIRONMENT = Environment("chromadb", ("chromadb==1.5.9",))
PEERS = (Known("chromadb", "Chroma", ("dense", "filter", "database"), slow=True),)


class Chroma(Peer):
    """One collection with an HNSW index, which grows while records are inserted.

    A batch is a transaction of SQLite, fsynced; the graph is written at every thousandth record,
    as the library does it, and what came since is added again when it is opened.
    A changed ef_search holds from the next opening on, so `prepare` opens the collection anew.
    """

    modules = ("chromadb",)
    synced = True

    def _opened(self) -> Any:
        import chromadb
        from chromadb.config import Settings

        quiet = Settings(anonymized_telemetry=False)
        return chromadb.PersistentClient(str(self.folder / "chroma"), settings=quiet)

    def create(self) -> None:
        space = "cosine" if self.shape.metric == "cosine" else "ip"
        graph = {
            "space": space,
            "max_neighbors": M,
            "ef_construction": EF_CONSTRUCTION,
            "ef_search": EFS[0],
        }
        self.ef = EFS[0]
        self.client = self._opened()
        self.collection = self.client.create_collection(
            NAME, configuration={"hnsw": graph}, embedding_function=None
        )

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        step = self.client.get_max_batch_size()
        write = self.collection.add if new else self.collection.upsert
        for at in range(0, len(rows), step):
            part = slice(at, at + step)
            write(
                ids=[str(row) for row in rows[part].tolist()],
                embeddings=np.asarray(vectors[part]),
                metadatas=[{"mark": mark} for mark in marks[part].tolist()],
            )

    def delete(self, rows: Int64) -> None:
        step = self.client.get_max_batch_size()
        for at in range(0, len(rows), step):
            self.collection.delete(ids=[str(row) for row in rows[at : at + step].tolist()])

    def finish(self) -> None:
        """Search once, which brings the graph up to the last record."""
        zeros = np.zeros((1, self.shape.dim), dtype=np.float32)
        zeros[0, 0] = 1
        self.search(zeros, 1, {"ef_search": self.ef})

    def open(self) -> None:
        self.client = self._opened()
        self.collection = self.client.get_collection(NAME, embedding_function=None)
        self.ef = int(self.collection.configuration["hnsw"]["ef_search"])

    def settings(self) -> list[Setting]:
        return [{"ef_search": ef} for ef in EFS]

    def prepare(self, setting: Setting, threads: int) -> None:
        if int(setting["ef_search"]) != self.ef:
            self.collection.modify(configuration={"hnsw": {"ef_search": int(setting["ef_search"])}})
            self.close()
            self.open()
            self.cold = True

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        where = None if below is None else {"mark": {"$lt": below}}
        found = self.collection.query(
            query_embeddings=np.asarray(queries), n_results=limit, where=where, include=[]
        )
        return padded([[int(row) for row in rows] for rows in found["ids"]], limit)

    def close(self) -> None:
        self.client.close()
