"""Overwriting and deleting, round after round: what becomes of recall, speed, space and memory.

Each round overwrites a tenth of the records, in runs of neighbours at places drawn at random, and
deletes a twentieth of those that are there, drawn one by one. Nothing is indexed or compacted
by hand between rounds: what the library does by itself is what is measured. Then `finish`, and
beside it a database made afresh of the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, nearest
from bench.databases import (
    TARGET,
    Rows,
    Supply,
    asked,
    every,
    first_enough,
    lay,
    measured,
    searched,
    sizes,
    supply,
)
from bench.measure import INTERVALS, LIMIT, THREADS, Settings, Table, bar
from bench.peers import OURS, Entry
from bench.peers.base import Setting
from bench.peers.drive import Worker
from vecstore.types import Bool, Float32, Int64

ROWS, QUICK_ROWS = 50_000, 10_000
ROUNDS, QUICK_ROUNDS = 5, 2
OVERWRITTEN, DELETED = 0.1, 0.05
RUN_ROWS = 100  # neighbours that one call overwrites
DELETE_ROWS = 1_000  # of one call
BUILT, FINISHED, FRESH = "built", "finished", "fresh"
SPACE_MAX = 1.1


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, QUICK_ROWS if settings.quick else ROWS)
    study = Study(rows, settings)

    def measure(entry: Entry, place: Path) -> Iterator[dict[str, Any]]:
        states: Rows = []
        for row in study.peer(entry, place):
            states.append(row)
            yield row
        last = states[-1]["disk B/vector"]
        for row in states:
            row["x fresh"] = row["disk B/vector"] / last

    what = f"overwrite {OVERWRITTEN:.0%}, delete {DELETED:.0%} of {rows:,} x {study.case.dim}"
    title = f"{what} in each round, {study.case.name}; B/vector and x fresh: of records there"
    title += f"; {INTERVALS}"
    found: Rows = []
    for found in every(asked(settings, "database"), settings.folder, measure):
        yield Table("updates", title, found)
    yield Table("updates-bars", "Bars", _bars(found))


class Change:
    """What one round does, and the truth after it.

    Attributes:
        name: of the array with the new vectors, beside those of the case.
        runs: int64 [R], the first row of each run that is overwritten.
        deleted: int64, rows that are deleted then.
        alive: how many records there are afterwards.
        truth: int64 [Q, LIMIT].
    """

    def __init__(
        self, name: str, case: Case, vectors: Float32, alive: Bool, rng: np.random.Generator
    ) -> None:
        """Draw the round, and change `vectors` [N, D] and `alive` [N] as it does."""
        self.name = name
        places = len(vectors) // RUN_ROWS
        count = max(1, int(OVERWRITTEN * places))
        self.runs: Int64 = RUN_ROWS * rng.choice(places, size=count, replace=False)
        new: Float32 = np.load(case.folder / f"{name}.npy")[: count * RUN_ROWS]
        rows = (self.runs[:, None] + np.arange(RUN_ROWS)).ravel()
        vectors[rows] = new
        alive[rows] = True
        there = np.flatnonzero(alive)
        self.deleted: Int64 = rng.choice(there, size=int(DELETED * len(there)), replace=False)
        alive[self.deleted] = False
        self.alive = int(alive.sum())
        self.truth = nearest(vectors, case.queries, LIMIT, alive)


class Study:
    """The same rounds for every peer."""

    def __init__(self, rows: int, settings: Settings) -> None:
        self.settings = settings
        rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        new = max(RUN_ROWS, int(OVERWRITTEN * rows))
        source = supply(settings, rows + rounds * new)
        self.case = source.case(settings.folder / "case", rows)
        vectors = np.array(self.case.vectors)
        alive = np.ones(rows, dtype=np.bool_)
        rng = np.random.default_rng(17)
        self.changes = [
            self._change(number, source, vectors, alive, rng) for number in range(rounds)
        ]
        there = vectors[alive]
        fresh = replace(source, part=lambda start, stop: there[start:stop])
        self.fresh = fresh.case(settings.folder / "fresh", len(there))

    def _change(
        self,
        number: int,
        source: Supply,
        vectors: Float32,
        alive: Bool,
        rng: np.random.Generator,
    ) -> Change:
        new = max(RUN_ROWS, int(OVERWRITTEN * len(vectors)))
        first = len(vectors) + number * new
        name = f"round-{number + 1}"
        lay(self.case, name, source.part(first, first + new))
        return Change(name, self.case, vectors, alive, rng)

    def peer(self, entry: Entry, place: Path) -> Iterator[dict[str, Any]]:
        """A row of each state: built, after each round, finished, and made afresh."""
        with Worker(entry, self.case, place / "peer", THREADS) as worker:
            built = worker.build(self.case)
            tried = first_enough(worker, self.case.truth)
            searches = measured(worker, tried, built, self.case.rows, self.settings)
            yield _named(entry, BUILT) | {"records": self.case.rows} | searches
            for number, change in enumerate(self.changes):
                wrote = _applied(worker, change)
                row = self._state(worker, tried.setting, change, None)
                yield _named(entry, f"round {number + 1}") | row | wrote
            finished = worker.ask("finish", limit_s=3600)
            row = self._state(worker, tried.setting, self.changes[-1], finished["seconds"])
            yield _named(entry, FINISHED) | row
        with Worker(entry, self.fresh, place / "fresh", THREADS) as worker:
            built = worker.build(self.fresh)
            again = searched(worker, tried.setting, self.fresh.truth)
            searches = measured(worker, again, built, self.fresh.rows, self.settings)
            yield _named(entry, FRESH) | {"records": self.fresh.rows} | searches

    def _state(
        self, worker: Worker, setting: Setting, change: Change, build_s: float | None
    ) -> dict[str, Any]:
        tried = searched(worker, setting, change.truth)
        taken = sizes(worker, build_s)
        searches = measured(worker, tried, taken, change.alive, self.settings)
        return {"records": change.alive} | searches


def _named(entry: Entry, state: str) -> dict[str, Any]:
    return {"peer": entry.known.name, "state": state}


def _applied(worker: Worker, change: Change) -> dict[str, Any]:
    """Overwrite and delete; rows a second of each."""
    writing = 0.0
    for number, row in enumerate(change.runs.tolist()):
        start = number * RUN_ROWS
        done = worker.ask(
            "insert",
            source=change.name,
            start=start,
            stop=start + RUN_ROWS,
            batch=RUN_ROWS,
            first=row,
        )
        writing += done["seconds"]
    deleting = 0.0
    for at in range(0, len(change.deleted), DELETE_ROWS):
        rows = change.deleted[at : at + DELETE_ROWS].tolist()
        deleting += worker.ask("delete", rows=rows)["seconds"]
    return {
        "overwritten rows/s": len(change.runs) * RUN_ROWS / writing,
        "deleted rows/s": len(change.deleted) / deleting,
    }


def _bars(found: Rows) -> Rows:
    ours = [row for row in found if row["peer"] == OURS]
    if any(row["error"] for row in ours):
        return [bar(f"{OURS}: updates", None, "no error", met=None)]
    lowest = min(row["recall"].mean for row in ours)
    space = next(row["x fresh"] for row in ours if row["state"] == FINISHED)
    what = f"{OURS}: disk once finished, x fresh"
    return [
        bar(f"{OURS}: recall after any round", lowest, f">= {TARGET}", met=lowest >= TARGET),
        bar(what, space, f"<= {SPACE_MAX}", met=space <= SPACE_MAX),
    ]
