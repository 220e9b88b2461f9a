"""Nearest neighbours of dense vectors: every library at equal recall, and at equal bytes.

Every peer is tuned over its own settings; at each recall aimed at, its fastest settings that get
there, one for one query a call and one for batches, take turns with vecstore's, round after round,
so that the noise of the machine meets both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from bench.cases import Case
from bench.curves import ONE_PASS, TURNS, Pair, Point, asking, by_bytes, fastest, take_pairs
from bench.databases import (
    BATCHES,
    MODES,
    QUICK_QUERIES,
    RECALL_ENOUGH,
    SINGLES,
    aligned,
    asked,
    over_rounds,
    ratio,
    supply,
)
from bench.measure import (
    BUILT,
    INTERVALS,
    LIMIT,
    OPENED,
    THREADS,
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
QUICK_PEERS = ("faiss-ivfpqfs", "faiss-ivfrabitqfs+", "faiss-hnswsq8", "faiss-binary")
QUERIES = 1_000
TARGETS = (0.9, 0.95, 0.99)
BAR_TARGET = 0.95
ROUNDS, SECONDS = 5, 0.25
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.2
OPENED_S = 5.0  # searches after which the memory of a peer is looked at
SLOW_ROWS_MAX = 200_000  # peers marked slow are not built beyond, unless they are named
CURVE_COLUMNS = ("peer", "setting", "recall", "worst tenth", "flips", "disk B/vector")
WAYS = {"single": SINGLES, "batch": BATCHES}
TWO = {"single2": "one query a call, two callers", "batch2": "batches, two threads"}


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sizes = [QUICK_ROWS] if settings.quick else [n for n in SIZES if n <= settings.rows]
    bars: list[dict[str, Any]] = []
    run: Run | None = None
    for count in sizes or [settings.rows]:
        folder = settings.folder / f"ann-{count}"
        queries = QUICK_QUERIES if settings.quick else QUERIES
        case = supply(settings, count, queries).case(folder / "case", count)
        run = Run(case, folder, settings, run)
        for _ in run.every(asked(settings, "dense", QUICK_PEERS)):
            yield from run.tables()
        bars += run.bars()
        yield Table("ann-bars", f"Bars; {INTERVALS}", bars)
        shutil.rmtree(folder)


class Run:
    """All peers on one case, after the same of a smaller one, if any."""

    def __init__(
        self, case: Case, folder: Path, settings: Settings, smaller: Run | None = None
    ) -> None:
        self.case = case
        self.folder = folder
        self.smaller = smaller
        self.named = settings.peers is not None  # such a peer is built however long it takes
        self.builds: dict[str, float] = {}  # seconds that each peer took
        self.rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        self.seconds = QUICK_SECONDS if settings.quick else SECONDS
        self.rows: dict[float, list[dict[str, Any]]] = {target: [] for target in TARGETS}
        self.curve: list[dict[str, Any]] = []
        # vecstore's settings, by target and way; and what they took in all turns, by mode.
        self.own: dict[float, dict[str, Point]] = {}
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
            points, failed = self._followed(anchor, built)
            if failed:
                raise PeerFailedError("; ".join(failed), OURS)
            self.own = fastest(anchor, points, TARGETS)
            built = self._opened(ours, anchor, built, self.own[BAR_TARGET]["batch"])
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
                self.rows[target].append(error_row(name, str(error)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, entry: Entry, folder: Path, anchor: Worker) -> None:
        """Build a peer, follow its settings, and take turns at all recalls."""
        if entry.known.slow and not self.named and self.case.rows > SLOW_ROWS_MAX:
            raise PeerFailedError(self._left_out(entry.known.name))
        shutil.rmtree(folder, ignore_errors=True)
        with Worker(entry, self.case, folder, THREADS) as worker:
            built = worker.build(self.case)
            self.builds[worker.name] = built["build_s"]
            points, failed = self._followed(worker, built)
            chosen, why = self._chosen(worker, points)
            pairs = self._pairs(chosen)
            take_pairs(
                (worker, anchor), list(dict.fromkeys(pairs.values())), self.seconds, self.rounds
            )
            if worker.alive:
                reached = [point for point in points if point.recall >= BAR_TARGET]
                place = max(
                    reached or points, key=lambda each: each.qps if reached else each.recall
                )
                built = self._opened(entry, worker, built, place)
        for target in TARGETS:
            own = {mode: pair for (least, mode), pair in pairs.items() if least == target}
            self.rows[target].append(self._their_row(worker.name, built, points, own, failed + why))
            for mode, pair in own.items():
                self.ours[target][mode] += pair.ours

    def _left_out(self, name: str) -> str:
        """Why a peer is not built: what it would take, by what it took at the size before."""
        said = f"left out beyond {SLOW_ROWS_MAX:,} rows: slow to build"
        spent = self.smaller.builds.get(name) if self.smaller is not None else None
        if self.smaller is None or spent is None:
            return said
        rows = self.smaller.case.rows
        more = spent * self.case.rows / rows
        return f"{said}: {spent:,.0f} s for {rows:,} rows, in proportion {more:,.0f} s for these"

    def _opened(
        self, entry: Entry, worker: Worker, built: Mapping[str, Any], point: Point
    ) -> dict[str, Any]:
        """What was built, with the memory of a new process that opened it and searched.

        The process that built it is ended first; where it cannot be opened, its memory is told,
        and why.
        """
        count = max(1, min(len(point.found), int(point.qps * OPENED_S)))
        known = dict(built)
        try:
            known = worker.searched(built)
            worker.ask("close")
            worker.kill()
            with Worker(entry, self.case, worker.folder, THREADS) as again:
                again.ask("open")
                again.find(point.setting, LIMIT, count=count)
                return again.searched(built, OPENED)
        except PeerFailedError as error:
            return known | {"RSS of": f"{BUILT}: {error}"}

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

    def _chosen(
        self, worker: Worker, points: Sequence[Point]
    ) -> tuple[dict[float, dict[str, Point]], list[str]]:
        """A peer's settings at each recall; by the first pass, where timing them again failed.

        And why, if so.
        """
        try:
            return fastest(worker, points, TARGETS), []
        except PeerFailedError as error:
            if not worker.alive:
                raise
            why = f"chosen by one pass, as timed again: {error}"
        passed = sorted(points, key=lambda point: -point.qps)
        chosen: dict[float, dict[str, Point]] = {}
        for target in TARGETS:
            reached = [point for point in passed if point.recall >= target]
            chosen[target] = dict.fromkeys(WAYS, reached[0]) if reached else {}
        return chosen, [why]

    def _pairs(self, chosen: Mapping[float, Mapping[str, Point]]) -> dict[tuple[float, str], Pair]:
        """Of each recall and mode; the same one where both settings are those of another recall."""
        made: dict[tuple[str, ...], Pair] = {}
        found = {}
        for target, (way, modes) in product(TARGETS, WAYS.items()):
            if not chosen[target]:
                continue
            point, own = chosen[target][way], self.own[target][way]
            for mode in modes:
                key = (mode, words(point.setting), words(own.setting))
                found[target, mode] = made.setdefault(key, Pair(mode, point, own))
        return found

    def _their_row(
        self,
        name: str,
        built: Mapping[str, Any],
        points: Sequence[Point],
        pairs: Mapping[str, Pair],
        failed: Sequence[str],
    ) -> dict[str, Any]:
        """A row of a peer at a recall, with what could be timed, and why the rest could not."""
        if not pairs:
            best = max(point.recall for point in points)
            return error_row(name, "; ".join((f"not reached: {best:.4f} at best", *failed)))
        chosen = {way: pairs[next(iter(modes))].point for way, modes in WAYS.items()}
        times: dict[str, Any] = {}
        for mode, pair in pairs.items():
            if pair.theirs:
                times[mode] = over_rounds(pair.theirs)
                times[f"x {mode}"] = ratio(pair.ours, pair.theirs)
            elif pair.ours:
                once = {"qps": pair.point.qps}
                times[mode] = once
                times[f"x {mode}"] = ratio(pair.ours, [once] * len(pair.ours))
        rounds = max(len(pair.ours) for pair in pairs.values())
        errors = (*failed, *(f"{pair.mode}: {pair.error}" for pair in pairs.values() if pair.error))
        row = self._row(name, chosen, built, times | {"rounds": rounds})
        return row | {"error": "; ".join(errors)}

    def _own_row(self, anchor: Worker, built: dict[str, Any], target: float) -> dict[str, Any]:
        times: dict[str, Any] = {}
        ours = self.ours[target]
        for way, mode in ((way, mode) for way, modes in WAYS.items() for mode in modes):
            if not ours[mode]:  # no peer came so far
                side = (anchor, asking(self.own[target][way], mode, self.seconds))
                ours[mode] += take_turns([side], self.rounds)[0]
            times[mode] = over_rounds(ours[mode])
        times["rounds"] = max(map(len, ours.values()))
        return self._row(OURS, self.own[target], built, times)

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
                "batch by": ONE_PASS if name != OURS and batch.slow else TURNS,
            },
            "error": {
                **{f"vecstore x, {mode}": times.get(f"x {mode}") for mode in MODES},
                "rounds": times["rounds"],
            },
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
            what = f"Recall@{LIMIT} >= {target} over {size}; vecstore x: its q/s by turns; "
            what += "rounds: with a peer; vecstore's are those with all, so over a longer time"
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
