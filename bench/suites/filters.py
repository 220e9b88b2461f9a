"""Searches among some of the records: recall against the truth of these, and what it costs.

Each peer searches with the setting that is enough without a filter, so that what a filter does to
it shows; it takes turns with vecstore. Two kinds of marks to filter by: drawn evenly, and by place,
where the records allowed lie on one side of the space and most queries do not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, nearest
from bench.databases import (
    ROUNDS,
    SINGLES,
    TARGET,
    Rows,
    aligned,
    asked,
    first_enough,
    narrow,
    over_rounds,
    ratio,
    seconds,
    supply,
)
from bench.measure import (
    INTERVALS,
    LIMIT,
    THREADS,
    Settings,
    Table,
    bar,
    error_row,
    first_hits,
    search_row,
    shares,
)
from bench.peers import OURS, Entry
from bench.peers.base import MARKS, Setting
from bench.peers.drive import PeerFailedError, Worker, beside, take_turns
from vecstore.types import Float32, Int64

ROWS, QUICK_ROWS = 100_000, 20_000
BELOW = (None, 900, 500, 100, 10, 1)  # of MARKS; None: no filter
KINDS = {"even": "marks drawn evenly", "place": "marks by place"}
SAMPLE = 10_000


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, QUICK_ROWS if settings.quick else ROWS)
    even = supply(settings, rows).case(settings.folder / "even", rows)
    bars: Rows = []
    for kind in ("even",) if settings.quick else KINDS:
        case = even if kind == "even" else _placed(even, settings.folder / "place")
        run = Run(case, settings.folder / f"{kind}-peers", settings)
        title = f"Filters over {rows:,} x {case.dim}, {KINDS[kind]}; {case.name}"
        legend = "short: queries with fewer hits than there are; vecstore x: its q/s by turns"
        legend += f"; {INTERVALS}"
        for found in run.every(asked(settings, "filter")):
            yield Table(f"filters-{kind}", f"{title}; {legend}", found)
        bars += _bars(run.rows, kind)
        yield Table("filters-bars", "Bars", bars)


def _placed(case: Case, folder: Path) -> Case:
    """The same rows with marks that grow along the direction in which they differ most."""
    folder.mkdir()
    for name in ("vectors.npy", "queries.npy"):
        os.link(case.folder / name, folder / name)
    np.save(folder / "marks.npy", ranks(case.vectors))
    return replace(case, folder=folder)


def ranks(vectors: Float32) -> Int64:
    """Marks [N], as many of each: by the product with the first principal axis of a sample."""
    sample = vectors[:SAMPLE] - vectors[:SAMPLE].mean(axis=0)
    axis = np.linalg.eigh(sample.T @ sample)[1][:, -1]
    marks = np.empty(len(vectors), dtype=np.int64)
    marks[np.argsort(vectors @ axis, kind="stable")] = np.arange(len(vectors))
    return marks * MARKS // len(vectors)


class Run:
    """All peers on one case."""

    def __init__(self, case: Case, folder: Path, settings: Settings) -> None:
        self.case = case
        self.folder = folder
        self.seconds = seconds(settings)
        self.rows: Rows = []
        self.marks = case.marks
        self.truths = {
            below: case.truth if below is None else _truth(case, below) for below in BELOW
        }
        self.allowed = {
            below: case.rows if below is None else int((self.marks < below).sum())
            for below in BELOW
        }

    def every(self, found: list[Entry]) -> Iterator[Rows]:
        """Measure one peer after another, each by turns with vecstore, which stays.

        After each, all rows so far.
        """
        ours = next(entry for entry in found if entry.known.name == OURS)
        with Worker(ours, self.case, self.folder / OURS, THREADS) as anchor:
            built = anchor.build(self.case)
            setting = first_enough(anchor, self.case.truth).setting
            for below in BELOW:
                self._shares(anchor, setting, built, below, None)
            yield aligned(self.rows)
            for entry in found:
                if entry is not ours:
                    self._peer(entry, (anchor, setting))
                    yield aligned(self.rows)

    def _peer(self, entry: Entry, anchor: tuple[Worker, Setting]) -> None:
        name, before = entry.known.name, len(self.rows)
        folder = self.folder / name

        def undo() -> None:
            del self.rows[before:]

        def measure() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            with Worker(entry, self.case, folder, THREADS) as worker:
                built = worker.build(self.case)
                setting = first_enough(worker, self.case.truth).setting
                for below in BELOW:
                    self._shares(worker, setting, built, below, anchor)

        try:
            beside(anchor[0], measure, undo)
        except PeerFailedError as error:
            if error.peer == OURS:
                raise
            done = min(len(self.rows) - before, len(BELOW) - 1)
            named = {"peer": name, "allowed": _share(BELOW[done])}
            self.rows.append(named | narrow(error_row(name, str(error))))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _shares(
        self,
        worker: Worker,
        setting: Setting,
        built: dict[str, Any],
        below: int | None,
        anchor: tuple[Worker, Setting] | None,
    ) -> None:
        """Search and time with one filter."""
        truth, most = self.truths[below], min(LIMIT, self.allowed[below])
        found, _ = worker.find(setting, LIMIT, below=below)
        times: dict[str, Any] = {}
        ratios: dict[str, Any] = {}
        for mode, how in SINGLES.items():
            asking = {"limit": LIMIT, "seconds": self.seconds, "below": below, **how}
            sides = [(worker, asking | {"setting": setting})]
            if anchor is not None:
                sides.append((anchor[0], asking | {"setting": anchor[1]}))
            answers, *ours = take_turns(sides, ROUNDS)
            times[mode] = over_rounds(answers)
            ratios[f"vecstore x, {mode}"] = ratio(ours[0], answers) if ours else None
        row = search_row(
            worker.name,
            setting,
            shares=shares(found, truth, LIMIT),
            first=first_hits(found, truth),
            built=worker.searched(built),
            rows=self.case.rows,
            times=times,
        )
        given = found >= 0
        wrong = given & (self.marks[found] >= (MARKS if below is None else below))
        named = {
            "peer": worker.name,
            "allowed": _share(below),
            "rows allowed": self.allowed[below],
            "short": float((given.sum(axis=1) < most).mean()),
            "forbidden hits": int(wrong.sum()),
        }
        self.rows.append(named | narrow(row) | ratios)


def _truth(case: Case, below: int) -> Int64:
    return nearest(case.vectors, case.queries, LIMIT, case.marks < below)


def _share(below: int | None) -> str:
    return "all" if below is None else f"{100 * below / MARKS:g} %"


def _bars(rows: Rows, kind: str) -> Rows:
    ours = [row for row in rows if row["peer"] == OURS]
    lowest = min(row["recall"].mean for row in ours)
    fewer = max(row["short"] for row in ours)
    wrong = sum(row["forbidden hits"] for row in ours)
    what = f"{OURS}, {KINDS[kind]}"
    return [
        bar(f"{what}: recall at any share", lowest, f">= {TARGET}", met=lowest >= TARGET),
        bar(f"{what}: queries with fewer hits than there are", fewer, "0", met=fewer == 0),
        bar(f"{what}: hits that the filter forbids", wrong, "0", met=wrong == 0),
    ]
