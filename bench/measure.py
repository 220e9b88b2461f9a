"""What all suites share: settings, times, tables, the machine they ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.types import Float64

ROOT = Path(__file__).resolve().parents[1]
WARM_CALLS = 20
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How large a run is.

    Attributes:
        data: folder of real embeddings, or None.
        rows: rows of the large database.
        calls: timed calls of each kind.
        folder: where databases are made; removed afterwards.
    """

    data: Path | None
    rows: int
    calls: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its bootstrap 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Table:
    """Figures: rows of the same columns.

    Attributes:
        name: its key in the JSON.
        title: what was measured, and how.
        rows: column -> number, text, bool or Interval.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.title}\n  nothing\n"
        names = list(self.rows[0])
        cells = [names, *([_cell(row[name]) for name in names] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        numbers = [not isinstance(self.rows[0][name], str) for name in names]
        lines = [
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(line, widths, numbers, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n  ".join([self.title, *lines]) + "\n"


def bar(what: str, figure: float | None, wanted: str, *, met: bool | None) -> dict[str, Any]:
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
    """The columns p50 ms and p99 ms."""
    return {
        "p50 ms": float(np.median(milliseconds)),
        "p99 ms": float(np.quantile(milliseconds, 0.99)),
    }


def bootstrap(values: Float64) -> Interval:
    """The mean of a figure of each query, and its 95 % interval over queries drawn again."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


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
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": _commit(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return "unknown"
    return (head or "unknown") + (" and changes" if changed else "")
