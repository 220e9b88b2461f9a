"""Writing: batches one after another, each as durable as the library makes it.

A batch is one call of the library's own API, which is told that the rows are new where it can be.
What it promises when that call returns differs: `synced` says whether the rows are on disk then;
the class of each adapter says more. The column `plain sync ms` is what it took just before to
append as many bytes to a plain file and sync them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.databases import (
    Rows,
    asked,
    every,
    first_enough,
    measured,
    quantiles,
    supply,
    sync_ms,
)
from bench.measure import INTERVALS, THREADS, Settings, Table, bar
from bench.peers import OURS, Entry
from bench.peers.drive import Worker

ROWS, QUICK_ROWS = 100_000, 20_000
BATCH_ROWS = 1_000
WANTED = 20_000  # rows a second, synced


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, QUICK_ROWS if settings.quick else ROWS)
    source = supply(settings, rows)
    case = source.case(settings.folder / "case", rows)

    def measure(entry: Entry, place: Path) -> Iterator[dict[str, Any]]:
        plain = sync_ms(place)
        with Worker(entry, case, place / "peer", THREADS) as worker:
            built = worker.build(case, BATCH_ROWS)
            searches = measured(worker, first_enough(worker, case.truth), built, rows, settings)
            named = {"peer": entry.known.name, "synced": entry.synced}
            yield named | writing(built, rows, plain) | searches

    title = f"{rows:,} x {case.dim} in batches of {BATCH_ROWS:,}, then indexed; {case.name}"
    title += f"; {INTERVALS}"
    found: Rows = []
    for found in every(asked(settings, "database"), settings.folder, measure):
        yield Table("ingest", title, found)
    yield Table("ingest-bars", "Bars", _bars(found))


def writing(built: dict[str, Any], rows: int, plain_ms: float) -> dict[str, Any]:
    """The columns about writes, of what `Worker.build` answered."""
    batches = np.array(built["batch_ms"])
    part = max(1, len(batches) // 10)
    return {
        "rows/s": rows / built["insert_s"],
        "rows/s, indexed": rows / built["build_s"],
        **quantiles(batches, "batch"),
        "plain sync ms": plain_ms,
        # Of the last tenth of all batches: whether writes slow down as the rows grow.
        "x first tenth": float(np.median(batches[-part:]) / np.median(batches[:part])),
        "finish s": built["finish_s"],
        "anon B/vector": built["anon"] / rows,
    }


def _bars(found: Rows) -> Rows:
    ours = next(row for row in found if row["peer"] == OURS)
    rate = ours.get("rows/s")
    met = None if rate is None else rate >= WANTED
    return [bar(f"{OURS}: rows/s, each batch synced", rate, f">= {WANTED:,}", met=met)]
