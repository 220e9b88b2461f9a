"""What the suites about databases share: rows that last, measured searches, peer after peer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, dense_case
from bench.data import BATCH, real, synthetic
from bench.measure import (
    BUILT,
    LIMIT,
    Interval,
    Settings,
    error_row,
    first_hits,
    search_row,
    shares,
)
from bench.peers import Entry, entries
from bench.peers.base import Ability, Setting
from bench.peers.drive import PeerFailedError, Worker, take_turns
from vecstore.types import Array, Bool, Float32, Float64, Int64

QUERIES, QUICK_QUERIES = 300, 100
TARGET = 0.95
ROUNDS = 3
SECONDS, QUICK_SECONDS = 0.3, 0.1  # of one round
RECALL_ENOUGH = 0.9995  # past this recall a peer's settings are not followed
# How searches are timed: one query a call and one thread a search, from one caller and from two;
# and batches from one caller, with one thread and with two.
SINGLES: dict[str, dict[str, Any]] = {
    "single": {"batch": False, "threads": 1},
    "single2": {"batch": False, "threads": 2},
}
BATCHES: dict[str, dict[str, Any]] = {
    "batch": {"batch": True, "threads": 1},
    "batch2": {"batch": True, "threads": 2},
}
MODES = SINGLES | BATCHES
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SYNC_BYTES, SYNCS = 1_000 * 384 * 4, 20

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Rows to write, as many as a suite asked for, and queries that are none of them.

    Attributes:
        name: where they are from.
        part: float32 [stop - start, D] of rows start ... stop.
        queries: float32 [Q, D].
    """

    name: str
    part: Callable[[int, int], Float32]
    queries: Float32

    def case(self, folder: Path, rows: int) -> Case:
        """The first rows, with the truth."""
        spans = ((at, min(at + BATCH, rows)) for at in range(0, rows, BATCH))
        parts = (self.part(start, stop) for start, stop in spans)
        return dense_case(folder, self.name, parts, rows, self.queries)


def supply(settings: Settings, rows: int, queries: int | None = None) -> Supply:
    """So many real rows, where there are as many, else synthetic ones around them."""
    count = queries or (QUICK_QUERIES if settings.quick else QUERIES)
    found = real(settings.data, settings.keep)
    if found is not None and len(found.vectors) >= rows:
        vectors = found.vectors
        return Supply(
            name=f"real, {found.name}",
            part=lambda start, stop: vectors[start:stop],
            queries=found.queries[:count],
        )
    source = synthetic(settings.data)

    def part(start: int, stop: int) -> Float32:
        first = start // BATCH
        batches = [source.rows(batch) for batch in range(first, -(-stop // BATCH))]
        return np.concatenate(batches)[start - first * BATCH : stop - first * BATCH]

    return Supply(name=source.source, part=part, queries=source.queries(count))


def asked(settings: Settings, ability: Ability, quick: Sequence[str] = ()) -> list[Entry]:
    """The peers to measure: those named.

    Where none is, in a quick run those that need no environment, or that `quick` names.
    """
    if not settings.quick or settings.peers is not None:
        return entries(ability, settings.peers)
    if quick:
        return entries(ability, quick)
    return [entry for entry in entries(ability) if not entry.environment.requirements]


def every(
    found: Sequence[Entry], folder: Path, measure: Callable[[Entry, Path], Iterator[dict[str, Any]]]
) -> Iterator[Rows]:
    """After each peer, measured in an empty folder, all rows so far.

    Of a peer that failed, or for which the system had no room, the last row says why.
    """
    rows: Rows = []
    for entry in found:
        place = folder / entry.known.name
        try:
            place.mkdir(parents=True)
            for row in measure(entry, place):
                rows.append(row)  # one by one: those before an error stay
        except (PeerFailedError, OSError) as error:
            rows.append(narrow(error_row(entry.known.name, str(error))))
        shutil.rmtree(place, ignore_errors=True)
        yield aligned(rows)


def aligned(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """The same columns in each row, None where it had no such; the error last."""
    names = dict.fromkeys(name for row in rows for name in row if name != "error")
    return [
        {name: row.get(name) for name in names} | {"error": row.get("error", "")} for row in rows
    ]


def narrow(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row about searches without the columns about batches of queries, which are for ann."""
    return {name: value for name, value in row.items() if not name.startswith("batch q/s")}


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting, and what was found with it.

    Attributes:
        setting: the peer's own words.
        found: int64 [Q, LIMIT].
        shares: recall [Q] of each query.
        first: whether [Q] the first hit is the true first.
    """

    setting: Setting
    found: Int64
    shares: Float64
    first: Bool


def first_enough(worker: Worker, truth: Int64, enough: float = TARGET) -> Tried:
    """The peer's first setting whose recall is enough, else its most thorough one."""
    for setting in worker.ask("settings"):
        tried = searched(worker, setting, truth)
        if tried.shares.mean() >= enough:
            break
    return tried


def searched(worker: Worker, setting: Setting, truth: Int64, below: int | None = None) -> Tried:
    """Every query of the case, once."""
    found, _ = worker.find(setting, LIMIT, below=below)
    return Tried(setting, found, shares(found, truth, LIMIT), first_hits(found, truth))


def timed(worker: Worker, setting: Setting, settings: Settings) -> dict[str, Any]:
    """One query a call, from one caller and from two: `times` of a search row."""
    asking: dict[str, Any] = {"setting": setting, "limit": LIMIT, "seconds": seconds(settings)}
    found = {mode: take_turns([(worker, asking | how)], ROUNDS)[0] for mode, how in SINGLES.items()}
    return {mode: over_rounds(answers) for mode, answers in found.items()}


def seconds(settings: Settings) -> float:
    """How long searches of one kind are timed, in one round."""
    return QUICK_SECONDS if settings.quick else SECONDS


def over_rounds(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the answers to "time" of all rounds come to, for `times` of a search row.

    "qps" is the median, with the least and the most; "p50", "p95" and "p99" are of the calls of
    all rounds, with the least and the most of those of one; "calls" is how many these are.
    """
    made: dict[str, Any] = {"qps": spread([answer["qps"] for answer in answers])}
    if "ms" in answers[0]:
        calls = [answer["ms"] for answer in answers]
        pooled = np.concatenate(calls)
        for name, share in PERCENTILES.items():
            middle = float(np.quantile(pooled, share))
            each = [middle, *(float(np.quantile(part, share)) for part in calls)]
            made[name] = Interval(middle, min(each), max(each))
        made["calls"] = len(pooled)
    return made


def ratio(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> Interval:
    """Queries a second of one by those of the other, round by round."""
    return spread([own["qps"] / its["qps"] for own, its in zip(ours, theirs, strict=True)])


def spread(values: Sequence[float]) -> Interval:
    """The median, the least and the most."""
    return Interval(float(np.median(values)), min(values), max(values))


def measured(
    worker: Worker, tried: Tried, built: Mapping[str, Any], rows: int, settings: Settings
) -> dict[str, Any]:
    """A row about searches with a setting that was tried, less its error."""
    times = timed(worker, tried.setting, settings)
    row = search_row(
        worker.name,
        tried.setting,
        shares=tried.shares,
        first=tried.first,
        built=worker.searched(built, built.get("RSS of", BUILT)),
        rows=rows,
        times=times,
    )
    return narrow(row)


def sizes(worker: Worker, build_s: float | None = None, of: str = BUILT) -> dict[str, Any]:
    """What a peer takes now, as `Worker.build` says it; memory is that of a process that `of`."""
    return {"disk": worker.ask("measure")["disk"], "RSS of": of, "build_s": build_s}


def quantiles(milliseconds: Sequence[float] | Float64, name: str) -> dict[str, float]:
    """The columns "NAME p50 ms", p95 and p99."""
    drawn = np.quantile(milliseconds, [0.5, 0.95, 0.99]).tolist()
    return {f"{name} p{of} ms": value for of, value in zip((50, 95, 99), drawn, strict=True)}


def lay(case: Case, name: str, vectors: Array) -> None:
    """Put further rows beside a case, for requests to insert them by name."""
    np.save(case.folder / f"{name}.npy", vectors)


def sync_ms(folder: Path) -> float:
    """What it takes to append as many bytes as a batch has and sync them: what durable costs."""
    part = np.random.default_rng(13).bytes(SYNC_BYTES)
    spent = []
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(part)
            os.fsync(file.fileno())
            spent.append((time.perf_counter() - begun) * 1e3)
    (folder / "plain").unlink()
    return float(np.median(spent))
