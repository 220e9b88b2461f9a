"""Searches that read from the disk: the page cache is dropped before them, and reads are counted.

Nothing but vecstore and numpy is loaded, as the memory of this process is one of the figures.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import vecstore as vs
from bench.measure import LIMIT, OPENED, anonymous_bytes
from bench.peers.vecstore_local import NAME
from vecstore.types import Float32, Float64

WARM_CALLS, COLD_CALLS, OPENS = 100, 10, 3  # of each process


def drop(files: Iterable[Path]) -> None:
    """Take files that are synced out of memory, also where this process maps them.

    What another process maps stays. Not for files that are locked: closing one, as is done here,
    gives up the locks that this process holds on it.

    Raises:
        OSError: the system refused.
        AttributeError: the system has no call for it.
    """
    paths = [path.resolve() for path in files]
    _let_go(set(map(str, paths)))
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _let_go(names: set[str]) -> None:
    """Take the pages of some files out of this process; they come back when touched.

    The page cache keeps what any process has mapped.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, _, _, _, _, *name = line.split(maxsplit=5)
        if not name or name[0] not in names:
            continue
        start, stop = (int(address, 16) for address in span.split("-"))
        place, size = ctypes.c_void_p(start), ctypes.c_size_t(stop - start)
        if library.madvise(place, size, mmap.MADV_DONTNEED):
            code = ctypes.get_errno()
            raise OSError(code, f"madvise of {name[0]}: {os.strerror(code)}")


def read_bytes() -> int:
    """Bytes that this process has had read from disks so far, what was read ahead included."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "read_bytes":
            return int(value)
    raise OSError("/proc/self/io has no read_bytes")


def read_ahead_kib(path: Path) -> int | None:
    """How much the system reads around a page that it fetches, by default; None: not told."""
    device = path.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for queue in (place / "queue", place.resolve().parent / "queue"):  # of a partition: its disk's
        if (queue / "read_ahead_kb").is_file():
            return int((queue / "read_ahead_kb").read_text(encoding="ascii"))
    return None


def fresh(path: Path, queries: Path, calls: int, number: int) -> dict[str, Any]:
    """What `probe` finds in a process of its own, whose memory and maps are those of this alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(probe, path, queries, calls, number).result()


def probe(path: Path, queries: Path, calls: int, number: int) -> dict[str, Any]:
    """Open a database cold and search it, warm and cold.

    Args:
        path: the database; no other process has it open.
        queries: float32 [Q, D] in a file; the first half is for warm searches.
        calls: warm searches, at most.
        number: of this process: each takes cold queries of its own.

    Returns:
        Milliseconds of opening and of the first search, both cold; of opening again, warm; of
        each warm and cold search; bytes of codes that the stages of a search say they read, and
        those that came from the disk in each cold one; anonymous memory; segments.
    """
    importlib.import_module("vecstore.database")  # so that no import counts
    asked = np.load(queries)
    half = len(asked) // 2
    known, new = asked[:half], asked[half:]
    files = [path / "data.mdb", *(each for each in path.glob("segments/**/*") if each.is_file())]
    options = vs.Options(threads=1)
    drop(files)
    cold_open, database = _spent(partial(vs.open, path, read_only=True, options=options))
    with database:
        collection = database.collection(NAME)
        search = partial(collection.search, limit=LIMIT, with_payload=False)
        first, _ = _spent(partial(search, known[0]))
        stages = [search(query, explain=True).explain or () for query in known]
        warm = _warm(search, known, min(calls, WARM_CALLS))
        cold, read = [], []
        for turn in range(min(calls, COLD_CALLS)):
            drop(files)
            before = read_bytes()
            query = new[(number * COLD_CALLS + turn) % len(new)]
            cold.append(_spent(partial(search, query))[0])
            read.append(read_bytes() - before)
        anon, segments = anonymous_bytes(), collection.stats().segments
    again = []
    for _ in range(1 + OPENS):  # the first brings back what was dropped
        spent, database = _spent(partial(vs.open, path, read_only=True, options=options))
        database.close()
        again.append(spent)
    return {
        "cold_open": cold_open,
        "open": float(np.median(again[1:])),
        "first": first,
        "warm": warm,
        "cold": np.array(cold),
        "read": np.array(read),
        "codes": [sum(stage.bytes_read for stage in each) for each in stages],
        "anon": anon,
        "segments": segments,
    }


def _warm(search: Any, queries: Float32, calls: int) -> Float64:
    return np.array([_spent(partial(search, queries[n % len(queries)]))[0] for n in range(calls)])


def _spent(call: Any) -> tuple[float, Any]:
    """Milliseconds of a call, and its result."""
    begun = perf_counter()
    result = call()
    return (perf_counter() - begun) * 1e3, result


def disk_row(probed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns, from all processes; what is cold is left out where nothing came from a disk."""

    def all_of(key: str) -> Float64:
        return np.concatenate([each[key] for each in probed])

    warm, cold, read = all_of("warm"), all_of("cold"), all_of("read")
    row: dict[str, Any] = {"segments": probed[0]["segments"]}
    row["codes MB/query"] = float(all_of("codes").mean()) / 1e6
    row["open ms"] = float(np.median([each["open"] for each in probed]))
    known = read.sum() > 0
    for key, column in (("cold_open", "open ms, cold"), ("first", "first ms, cold")):
        row[column] = float(np.median([each[key] for each in probed])) if known else None
    for state, spent in (("warm", warm), ("cold", cold)):
        for share in (50, 95, 99):
            figure = float(np.quantile(spent, share / 100))
            row[f"p{share} ms, {state}"] = figure if known or state == "warm" else None
    row["disk MB/query, cold"] = float(read.mean()) / 1e6 if known else None
    row["cold x warm"] = float(np.median(cold) / np.median(warm)) if known else None
    row["RSS anon MiB"] = float(np.median([each["anon"] for each in probed])) / 2**20
    row["RSS of"] = OPENED
    return row
