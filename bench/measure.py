"""What all suites share: settings, times, tables, the machine they ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import envs
from vecstore.types import Bool, Float64, Int64

ROOT = Path(__file__).resolve().parents[1]
# What runs write, as git is told to leave it out.
WRITTEN = (":(exclude)README.md", ":(exclude)bench/README.md", ":(exclude)bench/results")
LIMIT, THREADS = 10, 2  # hits asked, and threads of a build, of a batch, or callers
WARM_CALLS = 20
RESAMPLES = 2_000
# The columns of a row about searches, in this order; None where a figure is not known.
SEARCH_COLUMNS = (
    "peer",
    "setting",
    "recall",
    "worst tenth",
    "flips",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "calls",
    "q/s 1 thread",
    "q/s 2 threads",
    "batch q/s 1 thread",
    "batch q/s 2 threads",
    "disk B/vector",
    "RSS B/vector",
    "RSS of",
    "build s",
    "error",
)
BUILT, OPENED = "built", "opened"  # whether a process whose memory is told has built, too
# Of the libraries that were measured in this process: package -> version.
versions: dict[str, str] = {}
# What stands in brackets in a table about searches: a part of its title.
INTERVALS = (
    "in brackets: of recall, worst tenth and flips the bootstrap 95 % interval over queries, "
    "of times and ratios the least and most of the rounds"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How large a run is.

    Attributes:
        data: folder of real embeddings, or None.
        rows: rows of the large database.
        calls: timed calls of each kind.
        folder: where databases are made; removed afterwards.
        peers: peers whose names begin with one of these, and vecstore; None: all.
        quick: a run of ten minutes at most: fewer rows, and only peers that need no environment
            of their own.
        keep: where what is dear to make stays from run to run: environments, embeddings.
    """

    data: Path | None
    rows: int
    calls: int
    folder: Path
    peers: tuple[str, ...] | None = None
    quick: bool = False
    keep: Path = field(default_factory=envs.folder)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure between two others: `bootstrap` and `bench.databases.over_rounds` say which."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if abs(self.mean) < 10:
            return f"{self.mean:.4f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{_cell(self.mean)} [{_cell(self.low)}, {_cell(self.high)}]"

    def times(self, factor: float) -> Interval:
        """All three in other units."""
        return Interval(factor * self.mean, factor * self.low, factor * self.high)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures: rows of the same columns.

    Attributes:
        name: its key in the JSON.
        title: what was measured, and how.
        rows: column -> number, text, bool, Interval, or None where a figure is not known.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.title}\n  nothing\n"
        names = self.columns
        cells = [names, *self.cells]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        numbers = self.numeric
        lines = [
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(line, widths, numbers, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n  ".join([self.title, *lines]) + "\n"

    @property
    def columns(self) -> list[str]:
        """The columns of all rows, in the order in which they appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def cells(self) -> list[list[str]]:
        """What each row shows in each column."""
        return [[_cell(row.get(name)) for name in self.columns] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Of each column, whether it holds figures and no text."""
        return [
            not any(isinstance(row.get(name), str) for row in self.rows) for name in self.columns
        ]


def bar(
    what: str, figure: float | Interval | None, wanted: str, *, met: bool | None
) -> dict[str, Any]:
    """A row of a table of bars: what must hold, and whether it did; None: not measured."""
    answer = {True: "yes", False: "NO", None: "not measured"}[met]
    return {"bar": what, "figure": figure, "wanted": wanted, "met": answer}


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if abs(value) >= 1_000:
            return f"{value:,.0f}"
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.4g}"
    return str(value)


def take_turns(calls: Sequence[Callable[[int], object]], count: int) -> list[Float64]:
    """Milliseconds [count] of each of some calls that take turns, so that noise meets them all.

    Each is given the number of the turn.
    """
    spent: list[list[float]] = [[] for _ in calls]
    for turn in (*range(min(WARM_CALLS, count)), *range(count)):
        for call, times in zip(calls, spent, strict=True):
            begun = time.perf_counter()
            call(turn)
            times.append(time.perf_counter() - begun)
    return [np.array(times[-count:]) * 1e3 for times in spent]


def percentiles(milliseconds: Float64) -> dict[str, float]:
    """The columns p50 ms, p95 ms and p99 ms."""
    found = np.quantile(milliseconds, [0.5, 0.95, 0.99]).tolist()
    return {f"p{of} ms": figure for of, figure in zip((50, 95, 99), found, strict=True)}


def bootstrap(values: Float64) -> Interval:
    """The mean of a figure of each query, and its 95 % interval over queries drawn again."""
    low, high = np.quantile(values[_drawn(len(values))].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


@lru_cache(maxsize=4)
def _drawn(count: int) -> Int64:
    """Queries [RESAMPLES, count] drawn again, the same for each figure of them."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def shares(found: Int64, truth: Int64, limit: int) -> Float64:
    """The share [Q] of the first `limit` true rows that are among the first `limit` found.

    A row is found once however often it is given; -1 stands for no row, on both sides.
    """
    wanted = truth[:, :limit]
    real = wanted >= 0
    hit = (wanted[:, :, None] == found[:, None, :limit]).any(axis=2) & real
    counts = real.sum(axis=1)
    return np.where(counts, hit.sum(axis=1) / np.maximum(counts, 1), 1.0)


def first_hits(found: Int64, truth: Int64) -> Bool:
    """Whether [Q] the first row found is the true first."""
    same: Bool = found[:, 0] == truth[:, 0]
    return same


def worst_tenth(values: Float64) -> Interval:
    """The mean of the lowest tenth of the values, of one at least, likewise with its interval."""
    count = max(1, len(values) // 10)
    lowest = np.partition(values[_drawn(len(values))], count - 1, axis=1)[:, :count]
    low, high = np.quantile(lowest.mean(axis=1), [0.025, 0.975])
    return Interval(float(np.sort(values)[:count].mean()), float(low), float(high))


def flips(first: Bool) -> Interval:
    """The share of queries whose first hit is not the true first, with its interval."""
    return bootstrap(1.0 - first)


def words(setting: Mapping[str, Any]) -> str:
    """A setting as tables show it."""
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "-"


def search_row(  # noqa: PLR0913 - a row has as many parts
    peer: str,
    setting: Mapping[str, Any],
    *,
    shares: Float64,
    first: Bool,
    built: Mapping[str, Any],
    rows: int,
    times: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of SEARCH_COLUMNS.

    RSS is all of the process after searches, with the library and mapped files; "RSS of" says
    whether the process has built what it searched, or opened it.

    Args:
        peer: its name.
        setting: what it was searched with.
        shares: recall [Q] of each query.
        first: whether [Q] the first hit is the true first.
        built: what `Worker.build` answered, with memory after searches (`Worker.searched`);
            "build_s", where given, is insert and finish.
        rows: how many vectors it holds.
        times: "single" and "batch" from one thread, "single2" and "batch2" from two, of each
            what `bench.databases.over_rounds` made of its rounds; any may be absent.
    """
    single = times.get("single") or {}

    def rate(mode: str) -> float | None:
        return (times.get(mode) or {}).get("qps")

    def each(name: str) -> float | None:
        count = built.get(name)
        return None if count is None else count / rows

    spent = built.get("build_s")
    if spent is None and "finish_s" in built:
        spent = built["insert_s"] + built["finish_s"]

    known = {
        "peer": peer,
        "setting": words(setting),
        "recall": bootstrap(shares),
        "worst tenth": worst_tenth(shares),
        "flips": flips(first),
        "p50 ms": single.get("p50"),
        "p95 ms": single.get("p95"),
        "p99 ms": single.get("p99"),
        "calls": single.get("calls"),
        "q/s 1 thread": rate("single"),
        "q/s 2 threads": rate("single2"),
        "batch q/s 1 thread": rate("batch"),
        "batch q/s 2 threads": rate("batch2"),
        "disk B/vector": each("disk"),
        "RSS B/vector": each("rss"),
        "RSS of": built.get("RSS of", BUILT) if "rss" in built else None,
        "build s": spent,
        "error": "",
    }
    return {name: known[name] for name in SEARCH_COLUMNS}


def error_row(peer: str, error: str) -> dict[str, Any]:
    """The row of SEARCH_COLUMNS of a peer that could not be measured, and why."""
    row: dict[str, Any] = dict.fromkeys(SEARCH_COLUMNS)
    return row | {"peer": peer, "setting": "-", "error": error}


def anonymous_bytes() -> int:
    """Memory of this process that is not a mapped file; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) << 10 if found else 0


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def commit() -> str:
    """What is checked out, and whether it has changes, except in what runs themselves write."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN)
    except OSError:
        return "unknown"
    return (head or "unknown") + (" and changes" if changed else "")
