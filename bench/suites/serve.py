"""What the wire costs: the same calls embedded and over gRPC, from another process on loopback.

Server and embedded reader share one database, so both read the same files. Callers are threads of
this process; over gRPC they share one connection.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from bench.cases import nearest
from bench.data import BATCH, DIM, Synthetic, synthetic
from bench.measure import (
    LIMIT,
    OPENED,
    Settings,
    Table,
    bar,
    bootstrap,
    first_hits,
    flips,
    percentiles,
    shares,
    take_turns,
    worst_tenth,
)
from bench.peers.worker import allocated, memory_of, run_callers
from vecstore.types import Float32, Float64

ROWS = 100_000
QUERIES = 256
BATCH_QUERIES = 64
UPSERT_BATCHES = (1_000, 10_000)
UPSERT_ROWS = 40_000
CALLERS = (1, 2, 4, 8)
ROUNDS, SECONDS = 3, 1.0
CALLS = 500  # fewer than these, and rounds are shorter in proportion
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
    with served(path) as (remote, server), vs.open(path, read_only=True) as embedded:
        pair = (embedded.collection(NAME), remote.collection(NAME))
        queries = source.queries(QUERIES)
        searches = _searches(pair, queries, settings)
        title = f"Search of {rows:,} rows, hits read whole, by turns; {source.source}"
        yield Table("serve-search", title, searches)
        how = f"one query a call, limit {LIMIT}, by turns; {source.source}"
        title = f"As many callers of {rows:,} rows, {how}"
        found = {"disk B/vector": allocated(path) / rows} | _quality(pair, queries, rows, source)
        callers = _callers(pair, queries, settings, found)
        memory = {"server RSS B/vector": memory_of(server)["rss"] / rows, "RSS of": OPENED}
        yield Table("serve-callers", title, [row | memory for row in callers])
        with vs.open(settings.folder / "embedded") as own:
            upserts = _upserts((own, remote), source.rows(0, max(UPSERT_BATCHES)), settings)
        title = f"Durable upsert of float32 vectors, medians; {source.source}"
        yield Table("serve-upsert", title, upserts)
    added = searches[0]["added ms"]
    bars = [bar("gRPC adds to a search at p50, ms", added, "<= 1.5", met=added <= 1.5)]
    yield Table("serve-bars", "Bars", bars)


@contextmanager
def served(path: Path) -> Iterator[tuple[Any, int]]:
    """The database in a directory, served by another process, and its id."""
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
                yield database, process.pid
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


def _quality(
    pair: tuple[Any, Any], queries: Float32, rows: int, source: Synthetic
) -> dict[str, Any]:
    """What callers get: recall@10 against float32 over gRPC, and whether embedded is the same."""
    vectors = source.dataset(rows, 1).vectors
    here, there = (
        np.array([hits.ids for hits in collection.search_batch(queries, limit=LIMIT)])
        for collection in pair
    )
    truth = nearest(vectors, queries, LIMIT)
    found = shares(there, truth, LIMIT)
    return {
        "recall": bootstrap(found),
        "worst tenth": worst_tenth(found),
        "flips": flips(first_hits(there, truth)),
        "same hits": bool((here == there).all()),
    }


def _callers(
    pair: tuple[Any, Any], queries: Float32, settings: Settings, found: Mapping[str, Any]
) -> list[dict[str, Any]]:
    seconds = SECONDS * min(1, settings.calls / CALLS)

    def search(collection: Any) -> Callable[[int], int]:
        def one(turn: int) -> int:
            list(collection.search(queries[turn % QUERIES], limit=LIMIT))
            return 1

        return one

    rows = []
    for callers in CALLERS:
        spent: list[list[float]] = [[], []]
        rates: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for place, collection in enumerate(pair):
                done, each, elapsed = run_callers(search(collection), callers, seconds)
                spent[place] += each
                rates[place].append(done / elapsed)
        row: dict[str, Any] = {"callers": callers}
        for name, times, rate in zip(("embedded", "gRPC"), spent, rates, strict=True):
            row |= _figures(name, np.array(times), float(np.median(rate)))
        rows.append(row | {"x embedded": row["gRPC q/s"] / row["embedded q/s"], **found})
    return rows


def _figures(name: str, milliseconds: Float64, rate: float) -> dict[str, float]:
    quantiles = np.quantile(milliseconds, [0.5, 0.95, 0.99]).tolist()
    named = zip(("p50", "p95", "p99"), quantiles, strict=True)
    return {f"{name} q/s": rate} | {f"{name} {share} ms": figure for share, figure in named}


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
