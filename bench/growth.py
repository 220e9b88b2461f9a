"""Multivector collections that grow: each built, added to and searched in processes of its own.

Nothing but vecstore and numpy is loaded there, as their memory is one of the figures.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

import vecstore as vs
from bench.data import SPREAD
from bench.peers.worker import allocated, memory_of
from vecstore.types import Array, Float32, Int64

NAME, FIELD = "bench", "tokens"
BATCH = 250
LIMIT = 10
PERIOD_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Documents made of the tokens of others, the same ones every time.

    A document is one of the base, or a piece of it, each token moved along the difference of two
    others, so that tokens cluster as those of the base do.

    Attributes:
        folder: with tokens.npy, float16 [T, D] at unit length, and offsets.npy [N + 1] of the base.
        piece: tokens of each document, or None: as many as the base's has.
    """

    folder: Path
    piece: int | None = None

    @staticmethod
    def save(folder: Path, documents: list[Float32]) -> None:
        """Lay down the base."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "tokens.npy", np.concatenate(documents).astype(np.float16))
        np.save(folder / "offsets.npy", np.cumsum([0, *map(len, documents)]))

    def batches(self, start: int, stop: int) -> Iterator[tuple[Int64, list[Float32]]]:
        """Rows [start, stop) and their documents, some at a time."""
        tokens = np.load(self.folder / "tokens.npy", mmap_mode="r")
        offsets = np.load(self.folder / "offsets.npy")
        for first in range(start - start % BATCH, stop, BATCH):
            made = self._made(tokens, offsets, np.random.default_rng([4, first]), BATCH)
            rows = np.arange(max(first, start), min(first + BATCH, stop))
            yield rows, made[rows[0] - first : rows[-1] + 1 - first]

    def _made(
        self, tokens: Array, offsets: Int64, rng: np.random.Generator, count: int
    ) -> list[Float32]:
        chosen = rng.integers(len(offsets) - 1, size=count)
        begin, lengths = offsets[chosen], offsets[chosen + 1] - offsets[chosen]
        if self.piece is not None:
            begin += (rng.random(count) * np.maximum(lengths - self.piece, 1)).astype(np.int64)
            lengths = np.minimum(lengths, self.piece)
        bounds = np.cumsum([0, *lengths])
        places = np.arange(bounds[-1]) + np.repeat(begin - bounds[:-1], lengths)
        one, other = rng.integers(len(tokens), size=(2, len(places)))
        made = tokens[one].astype(np.float32)
        made -= tokens[other]
        made *= np.float32(SPREAD)
        made += tokens[places]
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return np.split(made, bounds[1:-1])


def alone(call: Any, *arguments: Any) -> Any:
    """What a call returns in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


class Peak:
    """The most memory that this process has while it is entered: all, and what is not mapped files.

    Pages of mapped files count as long as nobody else wants them: the system takes them back.
    """

    def __init__(self) -> None:
        self.rss = self.anon = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            now = memory_of()
            self.rss, self.anon = max(self.rss, now["rss"]), max(self.anon, now["anon"])
            if self._ended.wait(PERIOD_S):
                return


def grown(path: Path, source: Source, steps: list[int]) -> dict[str, Any]:
    """Build a collection of so many documents, flushed and compacted, then of more.

    Returns:
        "seconds" of each step, the last of them without compaction where there are several; the
        most memory that this process had, "rss" and "anon" (see `Peak`); how many "tokens" there
        are. Documents are made outside of these seconds, yet not of the memory.
    """
    spent, at, tokens = [], 0, 0
    with Peak() as peak, vs.open(path) as database:
        dim = np.load(source.folder / "tokens.npy", mmap_mode="r").shape[1]
        schema = vs.Schema([vs.MultiVector(FIELD, dim, "dot")])
        collection = database.create_collection(NAME, schema)
        for step in steps:
            seconds = 0.0
            for rows, documents in source.batches(at, step):
                begun = time.perf_counter()
                collection.upsert(rows, {FIELD: documents})
                seconds += time.perf_counter() - begun
                tokens += sum(map(len, documents))
            begun = time.perf_counter()
            collection.flush()
            if not at:
                collection.compact()
            spent.append(seconds + time.perf_counter() - begun)
            at = step
    return {"seconds": spent, "tokens": tokens, "rss": peak.rss, "anon": peak.anon}


def searched(path: Path, queries: list[Float32], seconds: float) -> dict[str, Any]:
    """Open a collection and search it by the default plan, one query a call, on one thread.

    Returns:
        "found" int64 [Q, LIMIT]; "ms" of each call, as many as fill the seconds, and each query
        at least once; "idle" and "rss" before opening and after, and "anon" likewise; "disk", the
        bytes of the segments.
    """
    before = memory_of()
    with vs.open(path, read_only=True, options=vs.Options(threads=1)) as database:
        collection = database.collection(NAME)
        found = np.full((len(queries), LIMIT), -1, dtype=np.int64)
        for place, query in enumerate(queries):
            ids = collection.search({FIELD: query}, limit=LIMIT, with_payload=False).ids
            found[place, : len(ids)] = ids
        spent: list[float] = []
        stop = time.perf_counter() + seconds
        while len(spent) < len(queries) or time.perf_counter() < stop:
            begun = time.perf_counter()
            collection.search({FIELD: queries[len(spent) % len(queries)]}, limit=LIMIT)
            spent.append((time.perf_counter() - begun) * 1e3)
        after = memory_of()
    return {
        "found": found,
        "ms": np.array(spent),
        "idle": before["rss"],
        "rss": after["rss"],
        "anon": after["anon"] - before["anon"],
        "disk": allocated(path / "segments"),
    }


def nearest(source: Source, count: int, queries: list[Float32]) -> Int64:
    """The true rows [Q, LIMIT] by MaxSim in float32: score descending, then row."""
    every = np.concatenate(queries)
    starts = np.cumsum([0, *map(len, queries)])[:-1]
    scores = np.empty((len(queries), count), dtype=np.float32)
    for rows, documents in source.batches(0, count):
        products = np.concatenate(documents) @ every.T
        bounds = np.cumsum([0, *map(len, documents)])[:-1]
        best = np.maximum.reduceat(products, bounds, axis=0)
        scores[:, rows] = np.add.reduceat(best, starts, axis=1).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :LIMIT]
