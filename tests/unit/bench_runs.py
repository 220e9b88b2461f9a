"""Results of benchmarks that tests write, compare and sum up."""

from __future__ import annotations

from typing import Any

from bench import results
from bench.measure import Interval, Table
from bench.results import Result


def result(*tables: Table, suite: str = "ann", error: str = "") -> Result:
    """A result with some tables."""
    run = {"rows": results.ROWS, "calls": results.CALLS, "quick": False, "peers": "all"}
    run |= {"sets": results.ALL_SETS}
    return Result(suite=suite, machine={"cpu": "x"}, run=run, tables=[*tables], error=error)


def ann(speed: float, *, recall: Interval | None = None, error: str = "") -> Result:
    """What ann finds of two peers, at two sizes."""
    row: dict[str, Any] = {"peer": "vecstore", "setting": "plan default"}
    row |= {"recall": recall or Interval(0.96, 0.95, 0.97), "q/s 1 thread": speed}
    row |= {"p99 ms": 2.0, "disk B/vector": 870.0, "error": ""}
    other = row | {"peer": "faiss-flat", "setting": "-", "q/s 1 thread": 900.0}
    failed = dict.fromkeys(row) | {"peer": "svs-lvq", "setting": "-", "error": "CPU | too old"}
    small = Table("ann-100k-95", "small", [row | {"q/s 1 thread": 7.0}])
    large = Table("ann-1000k-95", "Recall@10 >= 0.95 over 1,000,000", [row, other, failed])
    return result(large, small, error=error)
