"""What is left after a process was killed while it wrote.

A peer is given a base and indexes it; then it inserts batches one after another until SIGKILL ends
it, at a random moment within a batch. A new process opens what is there. Each row that was
acknowledged is looked for by its own vector, with the most thorough setting: it is there when it is
among the best. Opening is timed in a process that has opened a database before, so that imports are
not part of it. The batch in flight may be there or not, but not in part. The next round goes on
with that batch, in the same database. As a control, the first round ends with a proper close.

The machine stays up, so that what the system holds for a file outlives the process: this says
nothing of a power loss, which only what is synced outlives (column `synced`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, nearest
from bench.databases import (
    Rows,
    aligned,
    asked,
    every,
    first_enough,
    lay,
    measured,
    narrow,
    sizes,
    supply,
)
from bench.measure import INTERVALS, LIMIT, OPENED, THREADS, Settings, Table, bar, error_row
from bench.peers import OURS, Entry
from bench.peers.drive import PeerFailedError, Worker
from vecstore.types import Bool, Float32

ROWS, QUICK_ROWS = 10_000, 5_000
ROUNDS, QUICK_ROUNDS = 8, 3
BATCH_ROWS = 50  # few, as each row is looked for, and some peers scan for it
BATCHES_MAX = 12  # acknowledged before the moment is drawn, at most
SLACK = 10  # further batches that one round may take: one that is quick outruns the moment drawn
CONTROL_BATCHES = 5
OPEN_S_MAX = INSERT_S_MAX = 120  # a peer that waits for itself never ends
SAMPLE = 300  # rows of the base that are looked for at the end


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, QUICK_ROWS if settings.quick else ROWS)
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    more = BATCH_ROWS * (CONTROL_BATCHES + rounds * (BATCHES_MAX + SLACK))
    source = supply(settings, rows + more)
    case = source.case(settings.folder / "case", rows)
    vectors = source.part(0, rows + more)
    lay(case, "all", vectors)
    rounded: Rows = []

    def measure(entry: Entry, place: Path) -> Iterator[dict[str, Any]]:
        run = Run(entry, case, vectors, place)
        try:
            searches = run.rounds(rounds, settings)
        except PeerFailedError as error:
            searches = narrow(error_row(entry.known.name, str(error)))
        rounded.extend(run.found)
        yield {"peer": entry.known.name, "synced": entry.synced} | run.summary() | searches

    batches = f"batches of {BATCH_ROWS} after {rows:,} x {case.dim}"
    title = f"SIGKILL during inserts, {batches}; the machine stays up; {case.name}; {INTERVALS}"
    found: Rows = []
    for found in every(asked(settings, "database"), settings.folder, measure):
        yield Table("recovery", title, found)
        yield Table("recovery-rounds", f"Each round of it; {case.name}", aligned(rounded))
    yield Table("recovery-bars", "Bars", _bars(found))


@dataclass(frozen=True, slots=True)
class Written:
    """What one round wrote: rows [start, stop) are acknowledged, [stop, flying) were in flight."""

    start: int
    stop: int
    flying: int


class Run:
    """One peer, killed again and again.

    Attributes:
        found: a row of each round.
    """

    def __init__(self, entry: Entry, case: Case, vectors: Float32, place: Path) -> None:
        self.entry = entry
        self.case = case
        self.vectors = vectors
        self.place = place
        self.rng = np.random.default_rng(11)
        self.next = case.rows
        self.lost_base: int | None = None
        self.lost_at_last: int | None = None
        self.found: Rows = []

    def rounds(self, count: int, settings: Settings) -> dict[str, Any]:
        """A control and so many kills; a row about searches of what is left."""
        with ExitStack() as stack:
            worker = stack.enter_context(self._worker())
            built = worker.build(self.case)
            for number in range(count + 1):
                written = self._killed(worker) if number else self._closed(worker)
                worker = stack.enter_context(self._warm(number))
                self._reopened(worker, number, written)
            # A client would write what was not acknowledged again; then it is known what is there.
            self._insert(worker, self.next, self.next + BATCH_ROWS)
            self.next += BATCH_ROWS
            there = self._there(worker, self.case.rows, self.next)
            self.lost_at_last = int((~there).sum())
            self.lost_base = int((~self._there(worker, 0, min(SAMPLE, self.case.rows))).sum())
            truth = nearest(self.vectors[: self.next], self.case.queries, LIMIT)
            taken = sizes(worker, built["build_s"], OPENED)
            return measured(worker, first_enough(worker, truth), taken, self.next, settings)

    def summary(self) -> dict[str, Any]:
        """What the rounds so far come to."""
        control = [row for row in self.found if not row["killed"]]
        killed = [row for row in self.found if row["killed"]]
        opened = [row["open ms"] for row in killed]
        first = [row["first query ms"] for row in killed]
        return {
            "kills": len(killed),
            "acknowledged": sum(row["acknowledged"] for row in killed),
            "gone": sum(row["gone"] for row in killed) if killed else None,
            "gone at last": self.lost_at_last,
            "gone of the base": self.lost_base,
            "gone, closed well": control[0]["gone"] if control else None,
            "torn batches": sum(row["torn"] for row in killed) if killed else None,
            "open p50 ms": float(np.median(opened)) if opened else None,
            "open max ms": max(opened, default=None),
            "open ms, closed well": control[0]["open ms"] if control else None,
            "first query p50 ms": float(np.median(first)) if first else None,
        }

    def _worker(self) -> Worker:
        return Worker(self.entry, self.case, self.place / "peer", THREADS)

    def _warm(self, number: int) -> Worker:
        """A new process that has made another database, and holds what was left of ours."""
        worker = Worker(self.entry, self.case, self.place / f"warm-{number}", THREADS)
        try:
            worker.ask("create")
            known = self.entry.known
            shape = {"rows": self.case.rows, "dim": self.case.dim, "metric": self.case.metric}
            worker.ask(
                "start",
                module=self.entry.module,
                kind=known.kind,
                options=dict(known.options),
                folder=str(self.place / "peer"),
                shape=shape | {"threads": THREADS},
            )
        except PeerFailedError:
            worker.kill()
            raise
        return worker

    def _insert(self, worker: Worker, start: int, stop: int, limit_s: float = INSERT_S_MAX) -> None:
        rows = {"source": "all", "start": start, "stop": stop, "batch": stop - start}
        worker.ask("insert", limit_s=limit_s, **rows)

    def _closed(self, worker: Worker) -> Written:
        """Batches, all acknowledged, and a proper end."""
        start = self.next
        for _ in range(CONTROL_BATCHES):
            self._insert(worker, self.next, self.next + BATCH_ROWS)
            self.next += BATCH_ROWS
        worker.ask("close")
        worker.kill()
        return Written(start, self.next, self.next)

    def _killed(self, worker: Worker) -> Written:
        """Batches until the process is killed within one."""
        start = self.next
        spent: list[float] = []
        sure = int(self.rng.integers(1, BATCHES_MAX + 1))
        while len(spent) < BATCHES_MAX + SLACK - 1:
            limit_s = float(INSERT_S_MAX)
            if len(spent) >= sure:
                limit_s = float(self.rng.uniform(0, np.median(spent)))
            begun = time.perf_counter()
            try:
                self._insert(worker, self.next, self.next + BATCH_ROWS, limit_s)
            except PeerFailedError:
                # The limit has passed, and the worker was killed for it; or it failed by itself.
                if len(spent) < sure or time.perf_counter() - begun < limit_s:
                    raise
                return Written(start, self.next, self.next + BATCH_ROWS)
            spent.append(time.perf_counter() - begun)
            self.next += BATCH_ROWS
        worker.kill()
        return Written(start, self.next, self.next)

    def _reopened(self, worker: Worker, number: int, written: Written) -> None:
        """Open in a new process, and look for what was written."""
        try:
            begun = time.perf_counter()
            worker.ask("open", limit_s=OPEN_S_MAX)
            opened = time.perf_counter() - begun
            thorough = worker.ask("settings")[-1]
            _, rate = worker.find(thorough, LIMIT, count=1, warm=False)
            there = self._there(worker, written.start, written.flying)
        except PeerFailedError as error:
            raise PeerFailedError(f"after {number} kills: {error}") from None
        count = written.stop - written.start
        flying = there[count:]
        self.found.append(
            {
                "peer": self.entry.known.name,
                "round": number,
                "killed": number > 0,
                "acknowledged": count,
                "gone": int((~there[:count]).sum()),
                "in flight": len(flying),
                "of these there": int(flying.sum()),
                "torn": bool(flying.any() and not flying.all()),
                "open ms": opened * 1e3,
                "first query ms": 1e3 / rate,
            }
        )

    def _there(self, worker: Worker, start: int, stop: int) -> Bool:
        """Whether [stop - start] each row is among the best for its own vector."""
        own = self.place / "own"
        own.mkdir(exist_ok=True)
        np.save(own / "queries.npy", self.vectors[start:stop])
        worker.ask("case", folder=str(own))
        found, _ = worker.find(worker.ask("settings")[-1], LIMIT)
        worker.ask("case", folder=str(self.case.folder))
        there: Bool = (found == np.arange(start, stop)[:, None]).any(axis=1)
        return there


def _bars(found: Rows) -> Rows:
    rows = []
    for row in found:
        name = row["peer"]
        if name == OURS or name.startswith(f"{OURS}-"):
            failed = bool(row["error"])
            for what in ("gone", "gone at last", "torn batches"):
                met = None if failed else row[what] == 0
                rows.append(bar(f"{name}: {what}", row.get(what), "0", met=met))
    return rows
