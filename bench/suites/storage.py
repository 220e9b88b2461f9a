"""What keeping a database in shape costs: searches beside compaction, space, and LMDB's file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

import vecstore as vs
from bench.data import BATCH, DIM, synthetic
from bench.measure import Settings, Table, bar, percentiles
from vecstore.collection import Collection
from vecstore.types import Float32

ROWS_MAX = 100_000
PARTS = 8  # segments that a compaction merges
ROUNDS = 3
UPDATED = 20_000
UPDATE_ROUNDS = 50
NAME = "bench"
QUIET = vs.Options(background=False)
# LMDB holds the write buffer, and its file never shrinks: one that fits the records tells more.
SMALL_BUFFER = vs.Options(flush_bytes_max=4 << 20)
# Opens the database, searches, holds what it found until it is told to end.
READER = """
import sys
import vecstore as vs
with vs.open(sys.argv[1], read_only=True) as database:
    hits = database.collection("bench").search([1.0] * int(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
"""


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, ROWS_MAX)
    bars: list[dict[str, Any]] = []
    found = _beside_compaction(settings.folder / "busy", rows, settings)
    source = synthetic(settings.data).source
    title = (
        f"Search of {rows:,} x {DIM}, default plan, idle and beside a compaction of all; {source}"
    )
    yield Table("busy", title, found)
    times = found[1]["p99 ms"] / found[0]["p99 ms"]
    bars.append(bar("search p99 beside a compaction, x idle", times, "<= 2", met=times <= 2))
    space = _space(settings.folder, rows, settings)
    yield Table("space", f"Disk after half was deleted and the rest compacted; {source}", [space])
    times = space["x fresh"]
    bars.append(bar("space after compaction, x fresh", times, "<= 1.1", met=times <= 1.1))
    reclaimed = _reclaim(settings.folder / "updates", settings)
    title = (
        f"data.mdb after {UPDATE_ROUNDS} updates of {UPDATED:,} records, a reader beside; {source}"
    )
    yield Table("reclaim", title, [reclaimed])
    times = reclaimed["x fresh"]
    bars.append(bar("data.mdb after the updates, x fresh", times, "<= 2", met=times <= 2))
    yield Table("storage-bars", "Bars", bars)


def _fill(collection: Collection, rows: int, settings: Settings, *, flush_every: int) -> None:
    source = synthetic(settings.data)
    for start in range(0, rows, BATCH):
        stop = min(start + BATCH, rows)
        collection.upsert(range(start, stop), source.rows(start // BATCH, stop - start))
        if stop % flush_every == 0:
            collection.flush()
    collection.flush()


def _made(path: Path, rows: int, settings: Settings, *, parts: int = 1) -> None:
    """Make a database of some segments."""
    step = -(-rows // parts)
    with vs.open(path, options=QUIET) as database:
        made = database.create_collection(NAME, vs.Schema(vectors=[vs.Vector("text", DIM)]))
        _fill(made, rows, settings, flush_every=-(-step // BATCH) * BATCH)


def _beside_compaction(path: Path, rows: int, settings: Settings) -> list[dict[str, Any]]:
    queries = synthetic(settings.data).queries(256)
    idle: list[float] = []
    busy: list[float] = []
    compacting = 0.0
    for number in range(ROUNDS):
        folder = path / str(number)
        _made(folder, rows, settings, parts=PARTS)
        with vs.open(folder, options=QUIET) as database:
            collection = database.collection(NAME)
            _searches(collection, queries, _at_most(100), [])
            _searches(collection, queries, _at_most(settings.calls), idle)
            worker = Thread(target=collection.compact)
            begun = time.perf_counter()
            worker.start()
            _searches(collection, queries, worker.is_alive, busy)
            worker.join()
            compacting += time.perf_counter() - begun
    each = 1e3 * compacting / ROUNDS
    return [
        {
            "state": state,
            "searches": len(spent),
            **percentiles(np.array(spent)),
            "compaction ms": ms,
        }
        for state, spent, ms in (("idle", idle, None), ("beside", busy, each))
    ]


def _at_most(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is not None


def _searches(
    collection: Collection, queries: Float32, goes_on: Callable[[], bool], spent: list[float]
) -> None:
    """Search again and again, and note the milliseconds."""
    number = 0
    while goes_on() and number < 100_000:
        begun = time.perf_counter()
        collection.search(queries[number % len(queries)])
        spent.append((time.perf_counter() - begun) * 1e3)
        number += 1


def _space(folder: Path, rows: int, settings: Settings) -> dict[str, Any]:
    kept = rows // BATCH // 2 * BATCH
    _made(folder / "fresh", kept, settings)
    _made(folder / "halved", 2 * kept, settings, parts=PARTS)
    with vs.open(folder / "halved", options=QUIET) as database:
        collection = database.collection(NAME)
        for start in range(kept, 2 * kept, BATCH):
            collection.delete(range(start, start + BATCH))
        full = collection.stats().disk_bytes
        collection.compact()
    fresh, halved = _bytes(folder / "fresh"), _bytes(folder / "halved")
    return {
        "rows": kept,
        "fresh bytes": fresh,
        "bytes before": full,
        "bytes after": halved,
        "x fresh": halved / fresh,
    }


def _bytes(folder: Path) -> int:
    """Bytes of the segments' files, as the disk has them."""
    files = (folder / "segments").rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def _reclaim(path: Path, settings: Settings) -> dict[str, Any]:
    _made(path, UPDATED, settings)
    source = synthetic(settings.data)
    mdb = path / "data.mdb"
    with vs.open(path, options=SMALL_BUFFER) as database:
        collection = database.collection(NAME)
        _update(collection, source.rows(0, UPDATED))
        fresh = mdb.stat().st_blocks * 512
        command = [sys.executable, "-c", READER, str(path), str(DIM)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as reader:
            said = reader.stdout.readline()  # type: ignore[union-attr]
            if said != "ready\n":
                raise RuntimeError(f"the reader beside said {said!r}, expected 'ready'")
            for number in range(UPDATE_ROUNDS):
                _update(collection, source.rows(number + 1, UPDATED))
            reader.communicate("\n")
        if reader.returncode:
            raise RuntimeError(f"the reader beside ended with {reader.returncode}, expected 0")
        collection.compact()
        return {
            "fresh bytes": fresh,
            "bytes after": mdb.stat().st_blocks * 512,
            "x fresh": mdb.stat().st_blocks * 512 / fresh,
            "segments": collection.stats().segments,
        }


def _update(collection: Collection, vectors: Float32) -> None:
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        collection.upsert(range(start, start + len(part)), part)
