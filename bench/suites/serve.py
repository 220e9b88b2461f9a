"""What the wire costs: the same calls embedded and over gRPC, from another process on loopback.

Server and embedded reader share one database, so both read the same files.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from bench.data import BATCH, DIM, synthetic
from bench.measure import Settings, Table, bar, percentiles, take_turns
from vecstore.types import Float32

ROWS = 100_000
QUERIES = 256
BATCH_QUERIES = 64
UPSERT_BATCHES = (1_000, 10_000)
UPSERT_ROWS = 40_000
NAME = "bench"
SERVING = " at "


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    path = settings.folder / "served"
    source = synthetic(settings.data)
    rows = min(settings.rows, ROWS)
    with vs.open(path) as database:
        collection = database.create_collection(NAME, _schema())
        for start in range(0, rows, BATCH):
            ids = range(start, min(start + BATCH, rows))
            payloads = [{"title": f"row {id_}"} for id_ in ids]
            collection.upsert(ids, source.rows(start // BATCH, len(ids)), payloads)
        collection.flush()
    with served(path) as remote, vs.open(path, read_only=True) as embedded:
        pair = (embedded.collection(NAME), remote.collection(NAME))
        searches = _searches(pair, source.queries(QUERIES), settings)
        yield Table("serve-search", f"Search of {rows:,} rows, hits read whole, by turns", searches)
        with vs.open(settings.folder / "embedded") as own:
            upserts = _upserts((own, remote), source.rows(0, max(UPSERT_BATCHES)), settings)
        yield Table("serve-upsert", "Durable upsert of float32 vectors, medians", upserts)
    added = searches[0]["added ms"]
    bars = [bar("gRPC adds to a search at p50, ms", added, "<= 1.5", met=added <= 1.5)]
    yield Table("serve-bars", "Bars", bars)


@contextmanager
def served(path: Path) -> Iterator[Any]:
    """The database in a directory, served by another process."""
    command = [sys.executable, "-m", "vecstore_server", str(path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if SERVING in line:
                    break
            else:
                raise RuntimeError(f"the server did not start:\n{''.join(lines)}")
            # What it logs later must not fill the pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            with vs.connect(lines[-1].rpartition(SERVING)[2].strip()) as database:
                yield database
        finally:
            process.terminate()
            process.wait()


def _schema() -> vs.Schema:
    return vs.Schema(vectors=[vs.Vector("text", DIM)])


def _searches(pair: tuple[Any, Any], queries: Float32, settings: Settings) -> list[dict[str, Any]]:
    def one(collection: Any, *, payload: bool, limit: int) -> Callable[[int], object]:
        return lambda turn: list(
            collection.search(queries[turn % QUERIES], limit=limit, with_payload=payload)
        )

    def many(collection: Any) -> Callable[[int], object]:
        return lambda _: [list(hits) for hits in collection.search_batch(queries[:BATCH_QUERIES])]

    cases: list[tuple[str, Callable[[Any], Callable[[int], object]], int]] = [
        ("limit 10", lambda item: one(item, payload=True, limit=10), settings.calls),
        ("limit 10, no payload", lambda item: one(item, payload=False, limit=10), settings.calls),
        ("limit 100", lambda item: one(item, payload=True, limit=100), settings.calls),
        (f"batch of {BATCH_QUERIES}", many, max(3, settings.calls // 20)),
    ]
    rows = []
    for name, make, calls in cases:
        here, there = take_turns([make(item) for item in pair], calls)
        before, after = percentiles(here), percentiles(there)
        row: dict[str, Any] = {"search": name}
        row |= {f"embedded {column}": value for column, value in before.items()}
        row |= {f"gRPC {column}": value for column, value in after.items()}
        row["added ms"] = after["p50 ms"] - before["p50 ms"]
        rows.append(row | {"x embedded": after["p50 ms"] / before["p50 ms"]})
    return rows


def _upserts(pair: tuple[Any, Any], vectors: Float32, settings: Settings) -> list[dict[str, Any]]:
    rows = []
    count = min(settings.rows, UPSERT_ROWS)
    for size in (size for size in UPSERT_BATCHES if size <= count):
        name = f"upsert-{size}"
        collections = [database.create_collection(name, _schema()) for database in pair]
        spent: list[list[float]] = [[], []]
        for start in range(0, count, size):
            for collection, times in zip(collections, spent, strict=True):
                begun = time.perf_counter()
                collection.upsert(range(start, start + size), vectors[:size])
                times.append(time.perf_counter() - begun)
        here, there = (vectors[:size].nbytes / np.median(times) / 1e6 for times in spent)
        row = {"batch": size, "embedded MB/s": float(here), "gRPC MB/s": float(there)}
        row |= {"gRPC rows/s": float(size / np.median(spent[1])), "x embedded": float(there / here)}
        rows.append(row)
    return rows
