"""Cost against the number of rows: one database of each size, warm, and read from the disk.

Rows are synthetic, around real embeddings (see bench.data), and those of a size are the first of
those of the next. FAISS stands beside vecstore as far as it is held in memory at ease.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from bench.cases import Case, dense_case, nearest
from bench.cold import disk_row, fresh, read_ahead_kib
from bench.data import BATCH, DIM, synthetic
from bench.databases import SINGLES, TARGET, aligned, first_enough, over_rounds, ratio
from bench.measure import (
    INTERVALS,
    LIMIT,
    OPENED,
    THREADS,
    Settings,
    Table,
    bar,
    error_row,
    first_hits,
    search_row,
    shares,
)
from bench.peers import OURS, Entry, entries
from bench.peers.base import Setting
from bench.peers.drive import PeerFailedError, Worker, take_turns
from vecstore.errors import VecstoreError
from vecstore.types import Int64

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
QUICK_ROWS = 30_000
LADDERS = (OURS, "vecstore-bits1")
RIVAL, RIVAL_ROWS_MAX = "faiss-ivfpqfs+refine", 1_000_000
# Of disk for each row: float32, two databases, and one of them again while it is compacted.
BYTES_NEEDED = 4_500
QUERIES = 200
ROUNDS, SECONDS = 3, 1.0
CALLS = 500  # fewer than these, and turns are shorter in proportion
PROCESSES = 3
OPEN_MS_MAX = 50
TITLE = (
    "Search of N x {dim}, {source}, default plan, by turns; vecstore x: its q/s by turns; "
    f"{INTERVALS}"
)
DISK_TITLE = "From the disk, one thread: the page cache dropped before each cold call, new queries"


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    most = min(settings.rows, QUICK_ROWS) if settings.quick else settings.rows
    sizes = [size for size in SIZES if size <= most] or [most]
    fit = fitting(sizes, shutil.disk_usage(settings.folder).free)
    rows: list[dict[str, Any]] = []
    disk: list[dict[str, Any]] = []
    source = synthetic(settings.data)
    wanted = chosen(settings.peers)
    title = TITLE.format(dim=DIM, source=source.source)
    beyond = [f"{size:,}" for size in SIZES if size > sizes[-1]]
    if beyond:
        title += f"; stopped at --rows {most:,}: not measured are {', '.join(beyond)}"

    def so_far() -> Iterator[Table]:
        yield Table("scale", title, aligned(rows))
        yield Table("scale-disk", f"{DISK_TITLE}; {source.source}", aligned(disk))
        yield Table("scale-bars", "Bars", _bars(disk))

    if fit:
        for case in _cases(settings, fit):
            size = Size(case, settings)
            size.every(wanted)
            rows += size.rows
            disk += size.disk
            yield from so_far()
    for count in sizes[len(fit) :]:
        error = f"not enough free disk: needs {count * BYTES_NEEDED / 1e9:.0f} GB"
        rows += [_numbered(count, error_row(entry.known.name, error)) for entry in wanted]
    if len(fit) < len(sizes):
        yield from so_far()


def fitting(sizes: Sequence[int], free: int) -> list[int]:
    """The sizes for which so many bytes of disk are enough."""
    return [size for size in sizes if size * BYTES_NEEDED <= free]


def chosen(names: Sequence[str] | None) -> list[Entry]:
    """The peers of this suite that are asked for; vecstore always."""
    wanted = None if names is None else (*names, *LADDERS)
    found = entries("dense", wanted)
    return [entry for entry in found if entry.known.name in (*LADDERS, RIVAL)]


def _cases(settings: Settings, sizes: Sequence[int]) -> Iterator[Case]:
    """The rows of the largest size laid down once; each size is the first of them."""
    source, most = synthetic(settings.data), max(sizes)
    parts = (source.rows(at // BATCH, min(BATCH, most - at)) for at in range(0, most, BATCH))
    folder = settings.folder / "scale-rows"
    whole = dense_case(folder, source.source, parts, most, source.queries(QUERIES))
    for size in sizes:
        truth = None if size == most else nearest(whole.vectors[:size], whole.queries, LIMIT)
        yield whole if truth is None else replace(whole, rows=size, truth=truth)
    shutil.rmtree(folder)


def _numbered(count: int, row: dict[str, Any]) -> dict[str, Any]:
    return {"rows": count} | row


@dataclass(frozen=True, slots=True)
class Held:
    """A peer that was built, opened again in a new process, and is ready to be timed.

    Attributes:
        worker: the new process.
        built: what building took, and bytes on disk.
        open_ms: of opening, where the worker can tell.
        setting: what it is timed with.
        found: int64 [Q, LIMIT].
    """

    worker: Worker
    built: dict[str, Any]
    open_ms: float | None
    setting: Setting
    found: Int64


class Size:
    """All peers at one size."""

    def __init__(self, case: Case, settings: Settings) -> None:
        self.case = case
        self.folder = settings.folder / f"scale-{case.rows}"
        self.calls = settings.calls
        self.rows: list[dict[str, Any]] = []
        self.disk: list[dict[str, Any]] = []

    def every(self, wanted: Sequence[Entry]) -> None:
        """Build one peer after another, time them by turns, then vecstore from the disk."""
        built: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        for entry in wanted:
            name = entry.known.name
            try:
                built[name] = self._build(entry)
            except PeerFailedError as error:
                failed[name] = str(error)
        with ExitStack() as stack:
            held: list[Held] = []
            for entry in (entry for entry in wanted if entry.known.name in built):
                name = entry.known.name
                try:
                    held.append(self._opened(stack, entry, built[name]))
                except PeerFailedError as error:
                    failed[name] = str(error)
            failed |= self._timed(held)
        for name in (name for name in LADDERS if name in built and name not in failed):
            self._from_disk(name)
        self.rows += [_numbered(self.case.rows, error_row(*each)) for each in failed.items()]
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self, entry: Entry) -> dict[str, Any]:
        if entry.known.name == RIVAL and self.case.rows > RIVAL_ROWS_MAX:
            raise PeerFailedError(f"left out beyond {RIVAL_ROWS_MAX:,} rows: held in memory")
        with Worker(entry, self.case, self.folder / entry.known.name, THREADS) as worker:
            built = worker.build(self.case)
            worker.ask("close")
            return built

    def _opened(self, stack: ExitStack, entry: Entry, built: dict[str, Any]) -> Held:
        folder = self.folder / entry.known.name
        open_ms = None
        if entry.known.name not in LADDERS:  # ours is opened below, cold and warm
            with Worker(entry, self.case, folder, THREADS) as worker:
                worker.ask("open")
                # The second time, as the first makes what the library makes once.
                open_ms = worker.ask("open")["seconds"] * 1e3
        worker = stack.enter_context(Worker(entry, self.case, folder, THREADS))
        worker.ask("open")
        setting, found = self._tuned(worker)
        for how in SINGLES.values():  # what fails does so here, and not while others wait
            worker.ask("time", **timing(setting, how, 0))
        return Held(worker, built, open_ms, setting, found)

    def _tuned(self, worker: Worker) -> tuple[Setting, Int64]:
        """Ours: the default plan. The rival: its first setting that finds enough, else its last."""
        enough = 0.0 if worker.name in LADDERS else TARGET
        tried = first_enough(worker, self.case.truth, enough)
        return tried.setting, tried.found

    def _timed(self, held: Sequence[Held]) -> dict[str, str]:
        """Time those that are there by turns; why some failed, without which it begins again."""
        failed: dict[str, str] = {}
        while left := [each for each in held if each.worker.name not in failed]:
            try:
                self.rows += self._turns(left)
                break
            except PeerFailedError as error:
                failed[error.peer] = str(error)
        return failed

    def _turns(self, held: Sequence[Held]) -> list[dict[str, Any]]:
        times: list[dict[str, Any]] = [{} for _ in held]
        ours = next((place for place, each in enumerate(held) if each.worker.name == OURS), None)
        for mode, how in SINGLES.items():
            seconds = SECONDS * min(1, self.calls / CALLS)
            sides = [(each.worker, timing(each.setting, how, seconds)) for each in held]
            turns = take_turns(sides, ROUNDS)
            for place, answers in enumerate(turns):
                times[place][mode] = over_rounds(answers)
                if ours is not None and place != ours:
                    times[place][f"x {mode}"] = ratio(turns[ours], answers)
        return [self._row(*each) for each in zip(held, times, strict=True)]

    def _row(self, held: Held, times: dict[str, Any]) -> dict[str, Any]:
        rows, truth = self.case.rows, self.case.truth
        memory = held.worker.ask("measure")  # of the new process, after all searches
        row = search_row(
            held.worker.name,
            held.setting,
            shares=shares(held.found, truth, LIMIT),
            first=first_hits(held.found, truth),
            built={**held.built, "rss": memory["rss"], "RSS of": OPENED},
            rows=rows,
            times=times,
        )
        error = row.pop("error")
        row |= {
            "build rows/s": rows / held.built["build_s"],
            "insert rows/s": rows / held.built["insert_s"],
            "RSS anon MiB": memory["anon"] / 2**20,
            "open ms": held.open_ms,
            "p50 ms a million rows": row["p50 ms"].times(1e6 / rows),
        }
        row |= {f"vecstore x, {mode}": times.get(f"x {mode}") for mode in SINGLES}
        return _numbered(rows, row | {"error": error})

    def _from_disk(self, name: str) -> None:
        path = self.folder / name / "database"
        queries = self.case.folder / "queries.npy"
        row: dict[str, Any] = {"rows": self.case.rows, "peer": name}
        try:
            probed = [fresh(path, queries, self.calls, number) for number in range(PROCESSES)]
            row |= disk_row(probed) | {"read-ahead KiB": read_ahead_kib(path), "error": ""}
        except (OSError, AttributeError, BrokenProcessPool, VecstoreError) as error:
            row["error"] = f"{type(error).__name__}: {error}"
        self.disk.append(row)
        for each in self.rows:
            if each["peer"] == name:
                each["open ms"] = row.get("open ms")


def timing(setting: Setting, how: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The arguments of the request "time", in one of the ways of MODES."""
    return {"limit": LIMIT, "seconds": seconds, "setting": setting, **how}


def _bars(disk: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Opening loads nothing, however many rows there are."""
    bars = []
    for name in LADDERS:
        own = [row for row in disk if row["peer"] == name]
        rows, spent = (own[-1]["rows"], own[-1].get("open ms")) if own else (0, None)
        met = None if spent is None else spent <= OPEN_MS_MAX
        bars.append(bar(f"{name}: open, {rows:,} rows, ms", spent, f"<= {OPEN_MS_MAX}", met=met))
    return bars
