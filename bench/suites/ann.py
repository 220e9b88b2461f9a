"""Nearest neighbours of dense vectors: every library at equal recall, and at equal bytes.

Every peer is tuned over its own settings; at each recall aimed at, its fastest setting that gets
there takes turns with vecstore's, round after round, so that the noise of the machine meets both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case
from bench.databases import supply
from bench.measure import (
    Interval,
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
from bench.peers.drive import PeerFailedError, Worker, beside, take_turns
from vecstore.types import Int64

SIZES = (100_000, 1_000_000)
QUICK_ROWS = 20_000
QUICK_PEERS = ("faiss-ivfpqfs", "faiss-ivfrabitqfs", "faiss-hnswsq8", "faiss-binary")
LIMIT = 10
THREADS = 2
QUERIES = 1_000
TARGETS = (0.9, 0.95, 0.99)
BAR_TARGET = 0.95
BYTES = (64, 128, 256, 512, 1_024, 2_048)
ROUNDS, SECONDS = 5, 0.4
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.2
SLOW_ROWS_MAX = 200_000  # peers marked slow are not built beyond
# A curve is not followed past this recall: more work finds nothing.
RECALL_ENOUGH = 0.9995
CURVE_COLUMNS = ("peer", "setting", "recall", "worst tenth", "flips")
MODES = {
    "single": {"batch": False, "threads": 1},
    "single2": {"batch": False, "threads": 2},
    "batch": {"batch": True, "threads": 1},
    "batch2": {"batch": True, "threads": 2},
}


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sizes = [QUICK_ROWS] if settings.quick else [n for n in SIZES if n <= settings.rows]
    names = QUICK_PEERS if settings.quick and settings.peers is None else settings.peers
    bars: list[dict[str, Any]] = []
    for count in sizes or [settings.rows]:
        folder = settings.folder / f"ann-{count}"
        queries = min(QUERIES, settings.calls)
        case = supply(settings, count, queries).case(folder / "case", count)
        run = Run(case, folder, settings)
        for _ in run.every(entries("dense", names)):
            yield from run.tables()
        bars += run.bars()
        yield Table("ann-bars", "Bars", bars)
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Point:
    """A setting that was tried.

    Attributes:
        setting: the peer's own words.
        found: int64 [Q, LIMIT].
        recall: mean share of the true rows.
        qps: queries a second of the whole set, in batches, once.
    """

    setting: Setting
    found: Int64
    recall: float
    qps: float


class Run:
    """All peers on one case."""

    def __init__(self, case: Case, folder: Path, settings: Settings) -> None:
        self.case = case
        self.folder = folder
        self.rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        self.seconds = QUICK_SECONDS if settings.quick else SECONDS
        self.rows: dict[float, list[dict[str, Any]]] = {target: [] for target in TARGETS}
        self.curve: list[dict[str, Any]] = []
        self.ratios: dict[float, dict[str, Interval]] = {target: {} for target in TARGETS}
        # What vecstore took in all turns, by target and mode.
        self.ours: dict[float, dict[str, list[dict[str, Any]]]] = {
            target: {mode: [] for mode in MODES} for target in TARGETS
        }

    def every(self, found: Sequence[Entry]) -> Iterator[None]:
        """Measure the peers one after another, each by turns with vecstore, which stays.

        After each, the tables hold what is known so far.
        """
        ours = next(entry for entry in found if entry.known.name == OURS)
        with Worker(ours, self.case, self.folder / OURS, THREADS) as anchor:
            built = anchor.build(self.case)
            points = self._followed(anchor, built)
            others = [entry for entry in found if entry is not ours]
            for entry in others:
                self._peer(entry, anchor, points)
                self._own_rows(anchor, built, points)
                yield
            if not others:
                self._own_rows(anchor, built, points)
                yield

    def _peer(self, entry: Entry, anchor: Worker, ours: Sequence[Point]) -> None:
        name = entry.known.name
        folder = self.folder / name

        def measure() -> None:
            if entry.known.slow and self.case.rows > SLOW_ROWS_MAX:
                raise PeerFailedError(f"left out beyond {SLOW_ROWS_MAX:,} rows: slow to build")
            shutil.rmtree(folder, ignore_errors=True)
            with Worker(entry, self.case, folder, THREADS) as worker:
                built = worker.build(self.case)
                points = self._followed(worker, built)
                for target in TARGETS:
                    self._turns(worker, built, points, anchor, ours, target)

        try:
            beside(anchor, measure, partial(self._forget, name))
        except PeerFailedError as error:
            if error.peer == OURS:
                raise
            for target in TARGETS:
                if not any(row["peer"] == name for row in self.rows[target]):
                    self.rows[target].append(error_row(name, str(error)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _forget(self, name: str) -> None:
        """Drop what was found with a peer, which begins again."""
        for rows in (self.curve, *self.rows.values()):
            rows[:] = [row for row in rows if row["peer"] != name]
        for ratios in self.ratios.values():
            ratios.pop(name, None)

    def _own_rows(self, anchor: Worker, built: dict[str, Any], points: Sequence[Point]) -> None:
        """Put vecstore's rows first, of all turns so far; it is opened anew where it failed."""
        try:
            rows = [self._own_row(anchor, built, points, target) for target in TARGETS]
        except PeerFailedError:
            anchor.restart()
            rows = [self._own_row(anchor, built, points, target) for target in TARGETS]
        for target, row in zip(TARGETS, rows, strict=True):
            others = [each for each in self.rows[target] if each["peer"] != OURS]
            self.rows[target] = [row, *others]

    def _followed(self, worker: Worker, built: dict[str, Any]) -> list[Point]:
        """Every setting of a peer, from fast to thorough, until no more is to be found."""
        points: list[Point] = []
        for setting in worker.ask("settings"):
            if points and points[-1].recall >= RECALL_ENOUGH and worker.name != OURS:
                break
            found, qps = worker.find(setting, LIMIT)
            recall = float(shares(found, self.case.truth, LIMIT).mean())
            points.append(Point(setting, found, recall, qps))
            row = search_row(
                worker.name,
                setting,
                shares=shares(found, self.case.truth, LIMIT),
                first=first_hits(found, self.case.truth),
                built=built,
                rows=self.case.rows,
                times={},
            )
            names = (*CURVE_COLUMNS, "disk B/vector")
            self.curve.append({name: row[name] for name in names} | {"q/s": qps})
        built |= worker.ask("measure")  # maps count once they are read
        return points

    def _turns(
        self,
        worker: Worker,
        built: dict[str, Any],
        points: Sequence[Point],
        anchor: Worker,
        ours: Sequence[Point],
        target: float,
    ) -> None:
        chosen, own = fastest(points, target), fastest(ours, target)
        if chosen is None:
            best = max(point.recall for point in points)
            self.rows[target].append(error_row(worker.name, f"not reached: {best:.4f} at best"))
            return
        times: dict[str, Any] = {}
        for mode, how in MODES.items():
            asked = {"limit": LIMIT, "seconds": self.seconds, **how}
            sides = [(worker, asked | {"setting": chosen.setting})]
            if own is not None:
                sides.append((anchor, asked | {"setting": own.setting}))
            theirs, *rest = take_turns(sides, self.rounds)
            times[mode] = median(theirs)
            if rest:
                self.ours[target][mode] += rest[0]
                pairs = [b["qps"] / a["qps"] for a, b in zip(theirs, rest[0], strict=True)]
                times[f"x {mode}"] = Interval(float(np.median(pairs)), min(pairs), max(pairs))
        row = self._row(worker.name, chosen, built, times)
        self.rows[target].append(row)
        if "x batch2" in times:
            self.ratios[target][worker.name] = times["x batch2"]

    def _own_row(
        self, anchor: Worker, built: dict[str, Any], points: Sequence[Point], target: float
    ) -> dict[str, Any]:
        chosen = fastest(points, target)
        assert chosen is not None, "exact search reaches every recall"
        times: dict[str, Any] = {}
        for mode, how in MODES.items():
            answers = self.ours[target][mode]
            if not answers:  # no peer came so far
                asked = {"limit": LIMIT, "seconds": self.seconds, **how}
                sides = [(anchor, asked | {"setting": chosen.setting})]
                answers += take_turns(sides, self.rounds)[0]
            times[mode] = median(answers)
        return self._row(OURS, chosen, built, times)

    def _row(
        self, name: str, point: Point, built: dict[str, Any], times: dict[str, Any]
    ) -> dict[str, Any]:
        row = search_row(
            name,
            point.setting,
            shares=shares(point.found, self.case.truth, LIMIT),
            first=first_hits(point.found, self.case.truth),
            built=built,
            rows=self.case.rows,
            times=times,
        )
        error = row.pop("error")
        turned = {f"vecstore x, {mode}": times.get(f"x {mode}") for mode in ("single2", "batch2")}
        return row | turned | {"error": error}

    def tables(self) -> Iterator[Table]:
        """What was found: at equal recall, the curves, at equal bytes."""
        size = f"{self.case.rows:,} x {self.case.dim}, {self.case.name}"
        tag = f"{self.case.rows // 1000}k"
        for target, rows in self.rows.items():
            same = [{name: row.get(name) for name in rows[0]} for row in rows]
            title = f"Recall@{LIMIT} >= {target} over {size}; vecstore x: its q/s by turns"
            yield Table(f"ann-{tag}-{round(100 * target)}", title, same)
        yield Table(f"ann-{tag}-curve", f"Every setting tried over {size}, batches", self.curve)
        yield Table(f"ann-{tag}-bytes", f"The best recall within bytes, {size}", self._by_bytes())

    def _by_bytes(self) -> list[dict[str, Any]]:
        rows = []
        for most in BYTES:
            fit = [row for row in self.curve if row["disk B/vector"] <= most]
            best: dict[str, dict[str, Any]] = {}
            for row in fit:
                held = best.get(row["peer"])
                if held is None or row["recall"].mean > held["recall"].mean:
                    best[row["peer"]] = row
            ranked = sorted(best.values(), key=lambda row: -row["recall"].mean)
            rows += [{"B/vector at most": str(most), **row} for row in ranked]
        return rows

    def bars(self) -> list[dict[str, Any]]:
        """Whether vecstore answers more queries a second than each peer, at equal recall."""
        rows = []
        for name, ratio in self.ratios[BAR_TARGET].items():
            what = f"vecstore's q/s in batches x {name}'s, recall {BAR_TARGET}, {self.case.rows:,}"
            rows.append(bar(what, ratio.mean, "> 1", met=ratio.mean > 1))
        return rows


def fastest(points: Sequence[Point], target: float) -> Point | None:
    """The fastest setting that reaches a recall."""
    reached = [point for point in points if point.recall >= target]
    return max(reached, key=lambda point: point.qps, default=None)


def median(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of several answers to "time", each figure's median."""
    return {name: float(np.median([answer[name] for answer in answers])) for name in answers[0]}
