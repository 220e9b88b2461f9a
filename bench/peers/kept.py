"""What an adapter keeps beside a library's index: marks to filter by, originals to rescore with.

Shapes  N rows, Q queries, D dimensions, K candidates of each query.
"""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.peers.base import Float32, Index, Int64, Shape, UnsupportedError, Vectors

Bool: TypeAlias = npt.NDArray[np.bool_]
Float16: TypeAlias = npt.NDArray[np.float16]

MARKS_FILE = "marks.npy"
ORIGINALS_FILE = "originals.npy"
BLOCK_ROWS = 256  # of one product: larger ones wake the threads of BLAS, which wait for each other


class Saved(Index):
    """An index that is built, saved and read again: what a build leaves in memory is not its own.

    `build` writes to the folder and keeps nothing; `open` reads. The settings of a library that
    are not arguments of its search are set in `prepare`.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.threads = shape.threads
        self.originals: Originals | None = None

    def finish(self) -> None:
        super().finish()
        self.open()

    @abstractmethod
    def build(self, vectors: Float32) -> None:
        """Train, add every row, and write to the folder."""

    def threads_for(self, queries: Vectors) -> int:
        """One for a single query, as callers bring threads of their own; all for a batch."""
        return 1 if len(queries) == 1 else self.threads

    def close(self) -> None:
        if self.originals is not None:
            self.originals.close()


class Marked(Saved):
    """An index that also keeps the mark of each row: two bytes more on disk."""

    def create(self) -> None:
        super().create()
        self.marks = np.zeros(self.shape.rows, dtype=np.int16)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        super().insert(rows, vectors, marks, new=new)
        self.marks[rows] = marks

    def finish(self) -> None:
        np.save(self.folder / MARKS_FILE, self.marks)
        super().finish()

    def open(self) -> None:
        self.marks = np.load(self.folder / MARKS_FILE)

    def allowed(self, below: int) -> Bool:
        """Bool [N]: the rows that a filter lets through."""
        through: Bool = self.marks < below
        return through


class Originals:
    """Every row in float16, in the folder and in memory, to put a library's candidates in order.

    As rows are few and scattered, each query's are gathered and multiplied in float32 by NumPy;
    a batch is shared among threads, which NumPy lets run side by side.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        """Read what `save` wrote."""
        self.values: Float16 = np.load(folder / ORIGINALS_FILE)
        self.pool = ThreadPoolExecutor(threads)

    @staticmethod
    def save(folder: Path, vectors: Float32) -> None:
        """Write the rows."""
        np.save(folder / ORIGINALS_FILE, vectors.astype(np.float16))

    def best(self, queries: Float32, found: Int64, limit: int, threads: int) -> Int64:
        """The best `limit` of the candidates [Q, K] of each query; -1 stands for none."""
        out = np.full((len(queries), limit), -1, dtype=np.int64)
        if threads == 1:
            self._best(queries, found, out)
            return out
        edges = np.linspace(0, len(queries), threads + 1, dtype=np.int64)
        waiting = [
            self.pool.submit(self._best, queries[start:stop], found[start:stop], out[start:stop])
            for start, stop in pairwise(edges)
        ]
        for each in waiting:
            each.result()
        return out

    def _best(self, queries: Float32, found: Int64, out: Int64) -> None:
        for query, candidates, to in zip(queries, found, out, strict=True):
            rows = candidates[candidates >= 0]
            scores = np.empty(len(rows), dtype=np.float32)
            for at in range(0, len(rows), BLOCK_ROWS):
                part = self.values.take(rows[at : at + BLOCK_ROWS], axis=0).astype(np.float32)
                scores[at : at + BLOCK_ROWS] = part @ query
            best = rows[np.argsort(-scores)[: len(to)]]
            to[: len(best)] = best

    def close(self) -> None:
        """Let go of the threads."""
        self.pool.shutdown()


def whole(dim: int, unit: int) -> int:
    """How many units of so many dimensions a vector has.

    Raises:
        UnsupportedError: it cannot be cut into them.
    """
    if dim % unit:
        raise UnsupportedError(f"{dim} dimensions are no multiple of {unit}")
    return dim // unit
