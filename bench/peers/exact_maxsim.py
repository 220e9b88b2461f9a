"""Exact MaxSim in NumPy: over every document, or over those that a dense search finds first.

A document's score is the sum, over the query's vectors, of the best product with one of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.peers.base import (
    Environment,
    Float32,
    Int64,
    Known,
    Peer,
    Setting,
    Shape,
    UnsupportedError,
    Vectors,
    padded,
)

if TYPE_CHECKING:
    from bench.peers.vecstore_local import Vecstore

CANDIDATES = (10, 20, 50, 100, 200, 400)

ENVIRONMENT = Environment("numpy")
PEERS = (Known("exact-maxsim", "ExactMaxSim", ("late",)),)
# Not for every suite: its documents and queries carry a dense vector (see DenseThenMaxSim).
DENSE_FIRST = Known("vecstore dense + MaxSim", "DenseThenMaxSim", ("late",))


class Documents(Peer):
    """A library that is given all documents at once, and whose index then stays as it is."""

    def create(self) -> None:
        empty = np.empty((0, self.shape.dim), dtype=np.float32)
        self.documents: list[Float32] = [empty] * self.shape.rows

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        if not hasattr(self, "documents"):
            raise UnsupportedError("no inserts once it is built")
        for row, document in zip(rows.tolist(), vectors, strict=True):
            self.documents[row] = np.array(document, dtype=np.float32)

    def finish(self) -> None:
        self.build(self.documents)
        del self.documents

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        if below is not None:
            raise UnsupportedError("no filter")
        return self.ranked(queries, limit, setting)

    @abstractmethod
    def build(self, documents: list[Float32]) -> None:
        """Index every document and save to the folder; keep them only if searches need them."""

    @abstractmethod
    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        """What `search` returns, without a filter."""


class Tokens:
    """Vectors of documents, one document after another, in a file that is mapped.

    A document without vectors has no score and is never found.
    """

    def __init__(self, folder: Path) -> None:
        self.vectors: Float32 = np.load(folder / "tokens.npy", mmap_mode="r")
        self.lengths: Int64 = np.load(folder / "lengths.npy")
        self.starts = np.cumsum(self.lengths) - self.lengths

    @staticmethod
    def save(folder: Path, documents: Sequence[Float32]) -> None:
        """Write the files."""
        np.save(folder / "tokens.npy", np.concatenate(documents))
        np.save(folder / "lengths.npy", np.array([len(each) for each in documents]))

    def best(self, query: Float32, limit: int) -> list[int]:
        """The best rows of all: score descending, then row ascending."""
        rows = np.flatnonzero(self.lengths)
        return _best(query, self.vectors, self.starts[rows], rows, limit)

    def best_of(self, query: Float32, rows: Int64, limit: int) -> list[int]:
        """The best of some rows."""
        rows = np.sort(rows[self.lengths[rows] > 0])
        lengths = self.lengths[rows]
        if not len(rows):
            return []
        ends = self.starts[rows] + lengths
        parts = [self.vectors[a:b] for a, b in zip(self.starts[rows], ends, strict=True)]
        return _best(query, np.concatenate(parts), np.cumsum(lengths) - lengths, rows, limit)


def _best(query: Float32, vectors: Float32, starts: Int64, rows: Int64, limit: int) -> list[int]:
    """The best of the documents that begin at `starts`, ascending, none of them empty."""
    scores = np.maximum.reduceat(query @ vectors.T, starts, axis=1).sum(axis=0)
    best: list[int] = rows[np.argsort(-scores, kind="stable")[:limit]].tolist()
    return best


def spread(call: Callable[[int], list[int]], count: int, threads: int) -> list[list[int]]:
    """What `call` answers for 0 ... count - 1, from some threads where there is work for them."""
    if min(count, threads) == 1:
        return [call(place) for place in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, range(count)))


class ExactMaxSim(Documents):
    """float32 products with every vector of every document: nothing is lost, nothing saved.

    The queries of a batch are spread over threads.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.threads = shape.threads

    def build(self, documents: list[Float32]) -> None:
        Tokens.save(self.folder, documents)
        self.open()

    def open(self) -> None:
        self.tokens = Tokens(self.folder)

    def settings(self) -> list[Setting]:
        return [{}]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        def one(place: int) -> list[int]:
            return self.tokens.best(queries[place], limit)

        return padded(spread(one, len(queries), self.threads), limit)


class DenseThenMaxSim(Documents):
    """What vecstore offers several vectors today: its dense search, then MaxSim of what it found.

    Each document and query begins with `head` vectors that are its dense vector, cut into pieces
    of the tokens' dimension. vecstore holds these, and searches by its default plan; the rest are
    float32, scored in NumPy.
    """

    modules = ("vecstore.database",)

    def __init__(self, folder: Path, shape: Shape, head: int = 1) -> None:
        super().__init__(folder, shape)
        self.head = head
        self.threads = shape.threads

    def build(self, documents: list[Float32]) -> None:
        Tokens.save(self.folder, [each[self.head :] for each in documents])
        self.tokens = Tokens(self.folder)
        self.dense = self._dense()
        self.dense.create()
        rows = np.arange(len(documents))
        self.dense.insert(rows, self._pooled(documents), np.zeros_like(rows), new=True)
        self.dense.finish()

    def open(self) -> None:
        self.tokens = Tokens(self.folder)
        self.dense = self._dense()
        self.dense.open()

    def _dense(self) -> Vecstore:
        from bench.peers.vecstore_local import Vecstore

        folder = self.folder / "dense"
        folder.mkdir(exist_ok=True)
        dim = self.head * self.shape.dim
        return Vecstore(folder, Shape(self.shape.rows, dim, "cosine", self.shape.threads))

    def _pooled(self, documents: Vectors) -> Float32:
        """float32 [N, head * D], the dense vectors."""
        return np.stack([each[: self.head].reshape(-1) for each in documents])

    def settings(self) -> list[Setting]:
        wanted = [min(count, self.shape.rows) for count in CANDIDATES]
        return [{"dense": count} for count in dict.fromkeys(wanted)]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads
        self.dense.prepare(setting, threads)

    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        count = int(setting["dense"])
        found = self.dense.search(self._pooled(queries), count, {"plan": "default"})

        def one(place: int) -> list[int]:
            rows = found[place]
            return self.tokens.best_of(queries[place][self.head :], rows[rows >= 0], limit)

        return padded(spread(one, len(queries), self.threads), limit)

    def close(self) -> None:
        self.dense.close()
