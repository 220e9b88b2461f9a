"""What the engine costs: writing, opening, importing, searching, filtering, Python itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import vecstore as vs
from bench.data import BATCH, DIM, synthetic
from bench.measure import Settings, Table, anonymous_bytes, bar, percentiles, take_turns
from vecstore.collection import Collection
from vecstore.kernels import _kernels
from vecstore.types import Float32, Float64

SEARCH_ROWS = 100_000
# Above GATHER_ROWS_MAX, so that the default plan scans and rescores.
TINY_ROWS = 4_096
TRUTH_QUERIES = 50
BATCH_QUERIES = (1, 16, 256)
PERCENT = (1, 10, 50)
PROCESSES = 5
KERNEL_CALLS = 2_000
NAME = "bench"

OPEN = """
import json, sys, time
import numpy as np
begun = time.perf_counter()
import vecstore as vs
import vecstore.database
imported = time.perf_counter()
database = vs.open(sys.argv[1], read_only=sys.argv[2] == "reader")
collection = database.collection("bench")
opened = time.perf_counter()
query = np.load(sys.argv[3])
ready = time.perf_counter()
collection.search(query)
first = time.perf_counter()
collection.search(query)
second = time.perf_counter()
times = imported - begun, opened - imported, first - ready, second - first
print(json.dumps([1e3 * seconds for seconds in times]))
"""
IMPORT = """
import sys, time
{before}
begun = time.perf_counter()
import {module}
print(1e3 * (time.perf_counter() - begun))
"""


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    bars: list[dict[str, Any]] = []
    large = settings.folder / "large"
    few = min(settings.rows, SEARCH_ROWS)
    source = synthetic(settings.data).source
    writes = [
        _fresh(write, settings.folder / "payload", few, settings.data, with_payload=True),
        _fresh(write, large, settings.rows, settings.data, with_payload=False),
    ]
    yield Table("upsert", f"Durable upsert, {DIM}-d, batches of {BATCH:,}, one writer", writes)
    rate = writes[1]["rows/s"]
    bars.append(bar("durable upsert, rows/s", rate, ">= 20,000", met=rate >= 20_000))
    times = writes[1]["p99 ms"] / writes[1]["p50 ms"]
    bars.append(bar("durable upsert, p99 x p50", times, "<= 10", met=times <= 10))
    opens = _opens(large, settings)
    yield Table("open", f"Open {settings.rows:,} rows in a new process, medians; {source}", opens)
    spent = max(row["open ms"] for row in opens)
    bars.append(bar(f"open, {settings.rows:,} rows, ms", spent, "<= 50", met=spent <= 50))
    imports = _imports()
    yield Table("import", "Import in a new process, medians", imports)
    spent = imports[1]["ms"]
    bars.append(bar("import vecstore beyond numpy, ms", spent, "<= 200", met=spent <= 200))
    overhead = _overhead(settings)
    yield Table(
        "overhead", f"Python around the kernels, tiny collections, medians; {source}", overhead
    )
    spent = max(row["python us"] for row in overhead)
    bars.append(bar("Python around a search's kernels, us", spent, "<= 50", met=spent <= 50))
    payload = settings.folder / "payload"
    yield Table(
        "search",
        f"Search, default plan, all cores; {source}",
        _searches([payload, large], settings),
    )
    yield Table(
        "filter", f"Search of {few:,} rows with a filter; {source}", _filters(payload, settings)
    )
    yield Table("engine-bars", "Bars", bars)


def _fresh(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call in a process of its own, so that memory is that of this work alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments, **named).result()


# Writing


def write(path: Path, rows: int, data: Path | None, *, with_payload: bool) -> dict[str, Any]:
    """Fill a database in batches, and flush it; the figures.

    With a payload, its key "part" is a column: the id modulo 100.
    """
    source = synthetic(data)
    columns = [vs.Column("part", "int")] if with_payload else []
    schema = vs.Schema(vectors=[vs.Vector("text", DIM)], columns=columns)
    spent, synced, memory = [], [], [anonymous_bytes()]
    with vs.open(path) as database, (path.parent / "plain").open("wb") as plain:
        collection = database.create_collection(NAME, schema)
        for start in range(0, rows, BATCH):
            ids = range(start, min(start + BATCH, rows))
            vectors = source.rows(start // BATCH, len(ids))
            payloads = [{"part": id_ % 100} for id_ in ids] if with_payload else None
            spent.append(_seconds(partial(collection.upsert, ids, vectors, payloads)))
            synced.append(_seconds(partial(_sync, plain, vectors.astype(np.float16).tobytes())))
            memory.append(anonymous_bytes())
        flushed = _seconds(collection.flush)
    half = len(memory) // 2
    return {
        "rows": rows,
        "payload": "a column" if with_payload else "none",
        "source": source.source,
        "rows/s": rows / sum(spent),
        "p50 ms": float(np.median(spent) * 1e3),
        "p99 ms": float(np.quantile(spent, 0.99) * 1e3),
        "longest ms": max(spent) * 1e3,
        "plain fsync ms": float(np.median(synced) * 1e3),
        "x plain": float(np.median(spent) / np.median(synced)),
        "last flush s": flushed,
        "MiB at start": memory[0] / 2**20,
        "peak, 1st half": max(memory[:half]) / 2**20,
        "peak, 2nd half": max(memory[half:]) / 2**20,
    }


def _sync(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# New processes


def _opens(path: Path, settings: Settings) -> list[dict[str, Any]]:
    query = settings.folder / "query.npy"
    np.save(query, synthetic(settings.data).queries(1)[0])
    rows = []
    for mode in ("writer", "reader"):
        times = [json.loads(_python(OPEN, str(path), mode, str(query))) for _ in range(PROCESSES)]
        engine, opened, first, second = np.median(times, axis=0).tolist()
        row = {"opened as": mode, "open ms": opened, "import of the engine ms": engine}
        rows.append(row | {"first search ms": first, "second search ms": second})
    return rows


def _imports() -> list[dict[str, Any]]:
    cases = (
        ("numpy", ""),
        ("vecstore", "import numpy"),
        ("vecstore.database", "import vecstore"),
        ("vecstore_client", "import vecstore"),
    )
    rows = []
    for module, before in cases:
        code = IMPORT.format(before=before, module=module)
        times = [float(_python(code)) for _ in range(PROCESSES)]
        rows.append({"import": module, "after": before or "-", "ms": float(np.median(times))})
    return rows


def _python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


# Python around the kernels


def _overhead(settings: Settings) -> list[dict[str, Any]]:
    """The time of a search less that of the compiled calls it makes, each made again alone."""
    source = synthetic(settings.data)
    query = source.queries(1)[0]
    rows = []
    with vs.open(settings.folder / "tiny") as database:
        for name, count in (("gather", BATCH), ("scan > rescore", TINY_ROWS)):
            schema = vs.Schema(vectors=[vs.Vector("text", DIM)])
            collection = database.create_collection(f"tiny-{count}", schema)
            collection.upsert(range(count), source.dataset(count, 1).vectors)
            collection.flush()
            collection.search(query)
            with recorded_kernels() as calls:
                collection.search(query)
            rows.append(_overhead_row(name, count, _parts(collection, query, calls, settings)))
    return rows


def _parts(
    collection: Collection,
    query: Float32,
    calls: Sequence[tuple[str, Callable[[], object]]],
    settings: Settings,
) -> tuple[list[str], list[float]]:
    """Names and median microseconds: the search, its hits, and the compiled calls."""
    names = ["search", "ids", "hits", *(name for name, _ in calls)]
    timed: list[Callable[[int], object]] = [
        lambda _: collection.search(query),
        lambda _: collection.search(query).ids,
        lambda _: list(collection.search(query)),
        *(lambda _, call=call: call() for _, call in calls),
    ]
    spent = take_turns(timed, min(KERNEL_CALLS, 4 * settings.calls))
    return names, [float(np.median(times) * 1e3) for times in spent]


def _overhead_row(plan: str, count: int, parts: tuple[list[str], list[float]]) -> dict[str, Any]:
    names, spent = parts
    search, ids, hits, *kernels = spent
    return {
        "plan": plan,
        "rows": count,
        "search us": search,
        "kernels us": sum(kernels),
        "python us": search - sum(kernels),
        "of which": ", ".join(
            f"{name} {us:.0f}" for name, us in zip(names[3:], kernels, strict=True)
        ),
        "+ hits.ids us": ids - search,
        "+ list(hits) us": hits - search,
    }


@contextmanager
def recorded_kernels() -> Iterator[list[tuple[str, Callable[[], object]]]]:
    """Every call of compiled code made meanwhile: its name, and the same call to make again."""
    calls: list[tuple[str, Callable[[], object]]] = []

    def record(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any) -> Any:
            calls.append((name, lambda: function(*arguments)))
            return function(*arguments)

        return recorded

    names = ("flat", "octets", "nibbles", "packed", "packed_queries", "packed_asked", "rotate")
    with ExitStack() as stack:
        for name in (*names, "cascade"):
            recorder = record(name, getattr(_kernels, name))
            stack.enter_context(patch.object(_kernels, name, recorder))
        yield calls


# Searching


def _searches(paths: Sequence[Path], settings: Settings) -> list[dict[str, Any]]:
    queries = synthetic(settings.data).queries(max(BATCH_QUERIES))
    rows = []
    for path in paths:
        with vs.open(path) as database:
            collection = database.collection(NAME)
            search = _searcher(collection, queries, None)
            (times,) = take_turns([search], settings.calls)
            stats = collection.stats()
            row = {"rows": stats.records, "segments": stats.segments, **percentiles(times)}
            for count in BATCH_QUERIES:
                row[f"queries/s, {count}"] = _throughput(collection, queries[:count], settings)
            rows.append(row | {"overlap@10": _overlap(collection, queries[:TRUTH_QUERIES])})
    return rows


def _throughput(collection: Collection, queries: Float32, settings: Settings) -> float:
    """Queries per second of batches of this size, by the median batch."""
    turns = max(3, min(settings.calls // 4, 2 * max(BATCH_QUERIES) // len(queries)))
    (times,) = take_turns([lambda _: collection.search_batch(queries)], turns)
    return float(len(queries) * 1e3 / np.median(times))


def _overlap(collection: Collection, queries: Float32) -> float:
    """With an exact search of the finest representation; queries at once, so it is read once."""
    found = collection.search_batch(queries)
    truth = collection.search_batch(queries, exact=True)
    shares = [np.isin(true.ids, hits.ids).mean() for hits, true in zip(found, truth, strict=True)]
    return float(np.mean(shares))


def _filters(path: Path, settings: Settings) -> list[dict[str, Any]]:
    queries = synthetic(settings.data).queries(max(BATCH_QUERIES))
    with vs.open(path) as database:
        collection = database.collection(NAME)
        filters = [None, *(f"part < {percent}" for percent in PERCENT)]
        searches = [_searcher(collection, queries, where) for where in filters]
        times = take_turns(searches, settings.calls)
        return [
            _filter_row(collection, queries[0], where, (spent, times[0]))
            for where, spent in zip(filters, times, strict=True)
        ]


def _searcher(
    collection: Collection, queries: Float32, where: str | None
) -> Callable[[int], object]:
    return lambda turn: collection.search(queries[turn % len(queries)], where=where)


def _filter_row(
    collection: Collection, query: Float32, where: str | None, times: tuple[Float64, Float64]
) -> dict[str, Any]:
    spent, plain = times
    stages = collection.search(query, where=where, explain=True).explain or ()
    return {
        "where": where or "-",
        "plan": " > ".join(f"{stage.stage} {stage.representation}" for stage in stages),
        "rows allowed": stages[0].rows_in if stages else 0,
        **percentiles(spent),
        "x no filter": float(np.median(spent) / np.median(plain)),
    }
