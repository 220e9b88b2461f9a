"""Nearest neighbours of dense vectors: every library at equal recall, and at equal bytes.

Every peer is tuned over its own settings; at each recall aimed at, its fastest settings that get
there, one for one query a call and one for batches, take turns with vecstore's, round after round,
so that the noise of the machine meets both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.cases import Case
from bench.curves import Point, by_bytes, fastest
from bench.databases import (
    BATCHES,
    MODES,
    RECALL_ENOUGH,
    SINGLES,
    THREADS,
    aligned,
    asked,
    over_rounds,
    ratio,
    supply,
)
from bench.measure import (
    INTERVALS,
    Settings,
    Table,
    bar,
    bootstrap,
    error_row,
    first_hits,
    search_row,
    shares,
    words,
)
from bench.peers import OURS, Entry
from bench.peers.drive import PeerFailedError, Worker, beside, take_turns

SIZES = (100_000, 1_000_000)
QUICK_ROWS = 20_000
QUICK_PEERS = ("faiss-ivfpqfs", "faiss-ivfrabitqfs", "faiss-hnswsq8", "faiss-binary")
LIMIT = 10
QUERIES = 1_000
TARGETS = (0.9, 0.95, 0.99)
BAR_TARGET = 0.95
ROUNDS, SECONDS = 5, 0.25
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.2
OPENED_S = 5.0  # searches after which the memory of a peer is looked at
SLOW_ROWS_MAX = 200_000  # peers marked slow are not built beyond
CURVE_COLUMNS = ("peer", "setting", "recall", "worst tenth", "flips", "disk B/vector")
WAYS = {"single": SINGLES, "batch": BATCHES}
TWO = {"single2": "one query a call, two callers", "batch2": "batches, two threads"}

Answers = list[dict[str, Any]]


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sizes = [QUICK_ROWS] if settings.quick else [n for n in SIZES if n <= settings.rows]
    bars: list[dict[str, Any]] = []
    for count in sizes or [settings.rows]:
        folder = settings.folder / f"ann-{count}"
        queries = min(QUERIES, settings.calls)
        case = supply(settings, count, queries).case(folder / "case", count)
        run = Run(case, folder, settings)
        for _ in run.every(asked(settings, "dense", QUICK_PEERS)):
            yield from run.tables()
        bars += run.bars()
        yield Table("ann-bars", f"Bars; {INTERVALS}", bars)
        shutil.rmtree(folder)


class Run:
    """All peers on one case."""

    def __init__(self, case: Case, folder: Path, settings: Settings) -> None:
        self.case = case
        self.folder = folder
        self.rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        self.seconds = QUICK_SECONDS if settings.quick else SECONDS
        self.rows: dict[float, list[dict[str, Any]]] = {target: [] for target in TARGETS}
        self.curve: list[dict[str, Any]] = []
        # vecstore's settings, by target and way; and what they took in all turns, by mode.
        self.own: dict[float, dict[str, Point]] = {}
        self.ours: dict[float, dict[str, Answers]] = {
            target: {mode: [] for mode in MODES} for target in TARGETS
        }

    def every(self, found: Sequence[Entry]) -> Iterator[None]:
        """Measure the peers one after another, each by turns with vecstore, which stays.

        After each, the tables hold what is known so far.
        """
        ours = next(entry for entry in found if entry.known.name == OURS)
        with Worker(ours, self.case, self.folder / OURS, THREADS) as anchor:
            built = anchor.build(self.case)
            points, failed = self._followed(anchor, built)
            if failed:
                raise PeerFailedError("; ".join(failed), OURS)
            for target in TARGETS:
                self.own[target] = fastest(anchor, points, target)
            built |= self._opened(ours, anchor, self.own[BAR_TARGET]["batch"])
            anchor.restart()
            others = [entry for entry in found if entry is not ours]
            for entry in others:
                self._peer(entry, anchor)
                self._own_rows(anchor, built)
                yield
            if not others:
                self._own_rows(anchor, built)
                yield

    def _peer(self, entry: Entry, anchor: Worker) -> None:
        name = entry.known.name
        folder = self.folder / name
        try:
            measure = partial(self._measure, entry, folder, anchor)
            beside(anchor, measure, partial(self._forget, name))
        except PeerFailedError as error:
            if error.peer == OURS:
                raise
            for target in TARGETS:
                if not any(row["peer"] == name for row in self.rows[target]):
                    self.rows[target].append(error_row(name, str(error)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, entry: Entry, folder: Path, anchor: Worker) -> None:
        """Build a peer, follow its settings, and take turns at each recall."""
        if entry.known.slow and self.case.rows > SLOW_ROWS_MAX:
            raise PeerFailedError(f"left out beyond {SLOW_ROWS_MAX:,} rows: slow to build")
        shutil.rmtree(folder, ignore_errors=True)
        with Worker(entry, self.case, folder, THREADS) as worker:
            built = worker.build(self.case)
            points, failed = self._followed(worker, built)
            for target in TARGETS:
                self._turns(worker, built, points, anchor, target, failed)
            reached = [point for point in points if point.recall >= BAR_TARGET]
            place = max(reached or points, key=lambda each: each.qps if reached else each.recall)
            memory = self._opened(entry, worker, place)
        for row in self._rows_of(entry.known.name):
            row["RSS of"] = memory["RSS of"]
            if "rss" in memory:
                row["RSS B/vector"] = memory["rss"] / self.case.rows

    def _rows_of(self, name: str) -> list[dict[str, Any]]:
        """Those with figures."""
        every = [row for rows in self.rows.values() for row in rows if row["peer"] == name]
        return [row for row in every if row["recall"] is not None]

    def _opened(self, entry: Entry, built: Worker, point: Point) -> dict[str, Any]:
        """Memory of a new process that opened what was built and searched; or why there is none.

        The process that built it is ended first.
        """
        count = max(1, min(len(point.found), int(point.qps * OPENED_S)))
        try:
            built.ask("close")
            built.kill()
            with Worker(entry, self.case, built.folder, THREADS) as worker:
                worker.ask("open")
                worker.find(point.setting, LIMIT, count=count)
                return {"rss": worker.ask("measure")["rss"], "RSS of": "opened"}
        except PeerFailedError as error:
            return {"RSS of": f"built: {error}"}

    def _forget(self, name: str) -> None:
        """Drop what was found with a peer, which begins again."""
        for rows in (self.curve, *self.rows.values()):
            rows[:] = [row for row in rows if row["peer"] != name]

    def _own_rows(self, anchor: Worker, built: dict[str, Any]) -> None:
        """Put vecstore's rows first, of all turns so far; it is opened anew where it failed."""
        try:
            rows = [self._own_row(anchor, built, target) for target in TARGETS]
        except PeerFailedError:
            anchor.restart()
            rows = [self._own_row(anchor, built, target) for target in TARGETS]
        for target, row in zip(TARGETS, rows, strict=True):
            others = [each for each in self.rows[target] if each["peer"] != OURS]
            self.rows[target] = [row, *others]

    def _followed(self, worker: Worker, built: dict[str, Any]) -> tuple[list[Point], list[str]]:
        """Every setting of a peer, from fast to thorough, until no more is to be found.

        And why some of them failed.
        """
        points: list[Point] = []
        failed: list[str] = []
        for setting in worker.ask("settings"):
            if points and points[-1].recall >= RECALL_ENOUGH and worker.name != OURS:
                break
            try:
                found, qps = worker.find(setting, LIMIT)
            except PeerFailedError as error:
                if not worker.alive:
                    raise
                failed.append(f"{words(setting)}: {error}")
                continue
            share = shares(found, self.case.truth, LIMIT)
            points.append(Point(setting, found, float(share.mean()), qps))
            row = self._searched(worker.name, points[-1], built, {})
            self.curve.append({name: row[name] for name in CURVE_COLUMNS} | {"q/s": qps})
        if not points:
            raise PeerFailedError("; ".join(failed) or "no settings", worker.name)
        built |= worker.ask("measure")  # maps count once they are read
        return points, failed

    def _turns(
        self,
        worker: Worker,
        built: dict[str, Any],
        points: Sequence[Point],
        anchor: Worker,
        target: float,
        failed: Sequence[str],
    ) -> None:
        """A row of a peer at a recall, with what could be timed, and why the rest could not."""
        errors = list(failed)
        try:
            chosen = fastest(worker, points, target)
        except PeerFailedError as error:
            if not worker.alive:
                raise
            errors.append(f"chosen by one pass, as timed again: {error}")
            reached = [point for point in points if point.recall >= target]
            chosen = dict.fromkeys(WAYS, max(reached, key=lambda point: point.qps))
        if not chosen:
            best = max(point.recall for point in points)
            said = "; ".join((f"not reached: {best:.4f} at best", *errors))
            self.rows[target].append(error_row(worker.name, said))
            return
        times: dict[str, Any] = {}
        for way, mode in ((way, mode) for way, modes in WAYS.items() for mode in modes):
            if not worker.alive:
                break
            try:
                self._mode(times, mode, (worker, chosen[way]), anchor, target)
            except PeerFailedError as error:
                if error.peer != worker.name:
                    raise
                errors.append(f"{mode}: {error}")
        row = self._row(worker.name, chosen, built, times)
        self.rows[target].append(row | {"error": "; ".join(errors)})
        if not worker.alive:
            raise PeerFailedError(errors[-1], worker.name)

    def _mode(
        self,
        times: dict[str, Any],
        mode: str,
        side: tuple[Worker, Point],
        anchor: Worker,
        target: float,
    ) -> None:
        """Time a peer's setting by turns with ours; or ours alone, where it would take too long."""
        worker, point = side
        own = self._asked(anchor, self.own[target], mode)
        if MODES[mode]["batch"] and point.slow:
            if MODES[mode]["threads"] < THREADS:  # than the first pass had
                return
            (ours,) = take_turns([own], self.rounds)
            times[mode] = {"qps": point.qps}
            theirs: Sequence[Mapping[str, Any]] = [times[mode]] * self.rounds
        else:
            asking = self._asked(worker, {"single": point, "batch": point}, mode)
            theirs, ours = take_turns([asking, own], self.rounds)
            times[mode] = over_rounds(theirs)
        self.ours[target][mode] += ours
        times[f"x {mode}"] = ratio(ours, theirs)

    def _asked(
        self, worker: Worker, chosen: Mapping[str, Point], mode: str
    ) -> tuple[Worker, dict[str, Any]]:
        how = MODES[mode]
        point = chosen["batch" if how["batch"] else "single"]
        return worker, {"limit": LIMIT, "seconds": self.seconds, "setting": point.setting, **how}

    def _own_row(self, anchor: Worker, built: dict[str, Any], target: float) -> dict[str, Any]:
        chosen = self.own[target]
        times: dict[str, Any] = {}
        ours = self.ours[target]
        for mode in MODES:
            if not ours[mode]:  # no peer came so far
                ours[mode] += take_turns([self._asked(anchor, chosen, mode)], self.rounds)[0]
            times[mode] = over_rounds(ours[mode])
        return self._row(OURS, chosen, built, times)

    def _searched(
        self, name: str, point: Point, built: Mapping[str, Any], times: Mapping[str, Any]
    ) -> dict[str, Any]:
        return search_row(
            name,
            point.setting,
            shares=shares(point.found, self.case.truth, LIMIT),
            first=first_hits(point.found, self.case.truth),
            built=built,
            rows=self.case.rows,
            times=times,
        )

    def _row(
        self,
        name: str,
        chosen: Mapping[str, Point],
        built: Mapping[str, Any],
        times: Mapping[str, Any],
    ) -> dict[str, Any]:
        """A row of the table of a recall: that of any search, and what is of batches and turns."""
        batch = chosen["batch"]
        own: dict[str, dict[str, Any]] = {
            "batch q/s 1 thread": {
                "batch setting": words(batch.setting),
                "batch recall": bootstrap(shares(batch.found, self.case.truth, LIMIT)),
            },
            "build s": {"RSS of": built.get("RSS of", "built")},
            "error": {f"vecstore x, {mode}": times.get(f"x {mode}") for mode in TWO},
        }
        row: dict[str, Any] = {}
        for column, value in self._searched(name, chosen["single"], built, times).items():
            row |= own.get(column, {}) | {column: value}
        return row

    def tables(self) -> Iterator[Table]:
        """What was found: at equal recall, the curves, at equal bytes."""
        size = f"{self.case.rows:,} x {self.case.dim}, {self.case.name}"
        tag = f"{self.case.rows // 1000}k"
        for target, rows in self.rows.items():
            what = f"Recall@{LIMIT} >= {target} over {size}; vecstore x: its q/s by turns"
            yield Table(f"ann-{tag}-{round(100 * target)}", f"{what}; {INTERVALS}", aligned(rows))
        what = f"Every setting tried over {size}, one pass in batches"
        yield Table(f"ann-{tag}-curve", f"{what}; {INTERVALS}", self.curve)
        what = f"Within so many bytes a vector on disk, {size}: each peer's best recall, and its "
        what += "best q/s in batches, of one pass, at recalls of at least so much"
        yield Table(f"ann-{tag}-bytes", what, by_bytes(self.curve, TARGETS))

    def bars(self) -> list[dict[str, Any]]:
        """Whether vecstore answers more queries a second than each peer, at equal recall.

        It does where it did in every round.
        """
        rows = []
        for mode, how in TWO.items():
            for row in self.rows[BAR_TARGET]:
                name, found = row["peer"], row.get(f"vecstore x, {mode}")
                if name.startswith(OURS):
                    continue
                what = f"vecstore's q/s x {name}'s, {how}, recall {BAR_TARGET}, {self.case.rows:,}"
                met = None if found is None else found.low > 1
                rows.append(bar(what, found, "> 1 in every round", met=met))
        return rows
