"""What peers are asked: vectors, queries and the truth, laid down where their processes read it.

Shapes  N rows, Q queries, D dimensions.

    FOLDER/vectors.npy   float32 [N, D]; with vectors.lengths.npy: of documents, one after another
    FOLDER/queries.npy   float32 [Q, D]; with queries.lengths.npy the same
    FOLDER/marks.npy     int64 [N], 0 ... 999, drawn evenly: what filters ask about
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from bench.peers.base import MARKS
from vecstore.types import Bool, Float32, Int64

TRUTH = 100  # true rows of each query
BLOCK_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question to every peer.

    Attributes:
        name: of the data.
        folder: where its arrays are.
        rows: N.
        dim: D.
        metric: "cosine" or "dot".
        truth: int64 [Q, TRUTH], the rows with the highest float32 products, best first.
    """

    name: str
    folder: Path
    rows: int
    dim: int
    metric: str
    truth: Int64

    @property
    def queries(self) -> Float32:
        """float32 [Q, D], or of every query one after another."""
        values: Float32 = np.load(self.folder / "queries.npy")
        return values

    @property
    def vectors(self) -> Float32:
        """float32 [N, D], mapped."""
        values: Float32 = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return values

    @property
    def marks(self) -> Int64:
        """int64 [N]."""
        values: Int64 = np.load(self.folder / "marks.npy")
        return values


def dense_case(
    folder: Path, name: str, parts: Iterable[Float32], rows: int, queries: Float32
) -> Case:
    """Lay down rows that come in parts, at unit length, and work out the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    dim = queries.shape[1]
    kept = _room(folder / "vectors.npy", (rows, dim))
    at = 0
    for part in parts:
        kept[at : at + len(part)] = part
        at += len(part)
    assert at == rows, (at, rows)
    kept.flush()
    np.save(folder / "queries.npy", queries)
    np.save(folder / "marks.npy", np.random.default_rng(7).integers(MARKS, size=rows))
    return Case(
        name=name,
        folder=folder,
        rows=rows,
        dim=dim,
        metric="cosine",
        truth=nearest(kept, queries, TRUTH),
    )


def _room(path: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.float32]]:
    """float32 in a file, mapped to be written; its bytes are taken from the disk at once.

    Without that, a disk that runs full would end the process by SIGBUS at some write.

    Raises:
        OSError: the disk has too few.
    """
    kept: np.memmap[Any, np.dtype[np.float32]] = open_memmap(
        path, mode="w+", dtype=np.float32, shape=shape
    )
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError:
            path.unlink()
            raise
    return kept


def token_case(
    folder: Path, name: str, documents: Sequence[Float32], queries: Sequence[Float32], truth: Int64
) -> Case:
    """Lay down documents and queries of several vectors each."""
    folder.mkdir(parents=True, exist_ok=True)
    for what, values in (("vectors", documents), ("queries", queries)):
        np.save(folder / f"{what}.npy", np.concatenate(values))
        np.save(folder / f"{what}.lengths.npy", np.array([len(each) for each in values]))
    np.save(folder / "marks.npy", np.random.default_rng(7).integers(MARKS, size=len(documents)))
    dim = documents[0].shape[1]
    return Case(name=name, folder=folder, rows=len(documents), dim=dim, metric="dot", truth=truth)


def nearest(vectors: Float32, queries: Float32, limit: int, allowed: Bool | None = None) -> Int64:
    """The rows [Q, limit] of the highest products: best first, then the lower row; -1 for none.

    In blocks of rows, so that vectors may be mapped. `allowed` bool [N]: the rows that may win.
    """
    count = len(queries)
    best = np.full((count, limit), -np.inf, dtype=np.float32)
    rows = np.full((count, limit), -1, dtype=np.int64)
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = np.asarray(vectors[start : start + BLOCK_ROWS])
        scores = queries @ part.T
        if allowed is not None:
            scores[:, ~allowed[start : start + len(part)]] = -np.inf
        keep = min(limit, len(part))
        place = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        taken = np.take_along_axis(scores, place, axis=1)
        last = taken.min(axis=1, keepdims=True)
        tied = np.count_nonzero(scores == last, axis=1) > np.count_nonzero(taken == last, axis=1)
        for query in np.flatnonzero(tied):  # of equals, the lower rows
            place[query] = np.argsort(-scores[query], kind="stable")[:keep]
        both = np.concatenate([best, np.take_along_axis(scores, place, axis=1)], axis=1)
        ids = np.concatenate([rows, place + start], axis=1)
        ids[np.isneginf(both)] = -1
        order = np.lexsort((ids, -both), axis=1)[:, :limit]
        best = np.take_along_axis(both, order, axis=1)
        rows = np.take_along_axis(ids, order, axis=1)
    return rows
