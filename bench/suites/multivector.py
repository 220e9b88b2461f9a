"""Late interaction: MaxSim over several vectors a record, exact and compressed, peers by turns.

Beside vecstore's own multivectors stands its dense search, then exact MaxSim of what it found.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.cases import Case, nearest, token_case
from bench.curves import ONE_PASS, TURNS
from bench.databases import MODES, RECALL_ENOUGH, Rows, asked, over_rounds
from bench.measure import (
    INTERVALS,
    LIMIT,
    THREADS,
    Settings,
    Table,
    bar,
    bootstrap,
    error_row,
    first_hits,
    search_row,
    shares,
)
from bench.peers import OURS, Entry
from bench.peers.base import Setting
from bench.peers.drive import CALLS_LEAST, PeerFailedError, Worker, go_on
from bench.peers.exact_maxsim import DENSE_FIRST, ENVIRONMENT
from bench.suites.quality import ndcg
from bench.tokens import SETS, TokenSet, load, ranking, synthetic, with_dense
from vecstore.types import Int64

ROUNDS, SECONDS = 3, 0.6
QUICK_ROUNDS, QUICK_SECONDS, QUICK_QUERIES = 2, 0.2, 50
SYNTHETIC_DOCUMENTS, SYNTHETIC_QUERIES = 500, 100
# Batches that took longer at first are not timed again: their speed is that of the first.
BATCH_S_MAX = 2.0
# Likewise a setting whose single searches took longer in the first round.
SINGLE_MS_MAX = 1_000.0
# A setting is not timed at all where another finds as much, so many times as fast in one pass.
BEATEN_TIMES = 1.1
# To insert all documents may take so long, and to finish again; ten times what vecstore may take.
BUILD_S_MAX = 600
# What vecstore is held to: queries/s of one thread at this recall, from codes of so many bytes.
OVERLAP = 0.97
SPEEDS = {"cranfield": 700, "scifact": 250}
TOKEN_BYTES = 40
TOKENS = "vecstore-tokens"
# Of nDCG that exact MaxSim has, what the default plan of a ladder may lose.
LOSSES = {"vecstore-float16": 0.001, "vecstore-res2": 0.01, "vecstore-res1": 0.015}
DEFAULT = "plan default"


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    bars: Rows = []
    for found in _sets(settings):
        data = found.first(QUICK_QUERIES) if settings.quick else found
        run = Run(data, settings)
        for _ in run.every(asked(settings, "late")):
            yield run.table()
        bars += run.bars()
    if bars:
        yield Table("multivector-bars", "Bars of the suite", bars)


def _sets(settings: Settings) -> list[TokenSet]:
    found = [data for name in SETS if (data := load(settings.data, name)) is not None]
    return found or [synthetic(SYNTHETIC_DOCUMENTS, SYNTHETIC_QUERIES)]


@dataclass(kw_only=True)
class Point:
    """A peer at one of its settings.

    Attributes:
        setting: the peer's own words.
        found: int64 [Q, LIMIT].
        qps: queries a second of the whole set, in batches, once.
        recall: share of the true first documents that it finds.
        times: answers to "time" of each mode, one for each round.
        errors: of a mode that failed, why.
    """

    setting: Setting
    found: Int64
    qps: float
    recall: float
    times: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def slow(self) -> bool:
        """Whether batches take too long to be timed again."""
        return len(self.found) / self.qps > BATCH_S_MAX

    @property
    def done(self) -> bool:
        """Whether single searches were timed, and take too long to be timed again."""
        first = self.times.get("single")
        return bool(first) and float(np.median(first[0]["ms"])) > SINGLE_MS_MAX

    def beaten(self, others: Sequence[Point]) -> bool:
        """Whether nobody would choose it, as another setting is better; plans with a name stay."""
        return "plan" not in self.setting and any(
            each.recall >= self.recall and each.qps > BEATEN_TIMES * self.qps for each in others
        )


@dataclass(kw_only=True)
class Held:
    """A peer that was built, and what it was tried with; memory is that after searches."""

    worker: Worker
    built: Mapping[str, Any]
    points: Sequence[Point]


class Run:
    """All peers on one set of documents."""

    def __init__(self, data: TokenSet, settings: Settings) -> None:
        self.data = data
        self.folder = settings.folder / f"multivector-{data.name.partition(',')[0]}"
        self.rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        self.seconds = QUICK_SECONDS if settings.quick else SECONDS
        self.truth = ranking(data, LIMIT)
        self.held: list[Held] = []
        self.failed: dict[str, str] = {}
        self.gone: set[str] = set()  # peers whose process ended while they were timed

    def every(self, found: Sequence[Entry]) -> Iterator[None]:
        """Build one peer after another, then time all of them by turns.

        After each peer and each round, the table holds what is known so far.
        """
        case = token_case(
            self.folder / "case",
            self.data.name,
            self.data.documents,
            self.data.queries,
            self.truth,
        )
        try:
            for entry, asks in (self._dense_first(), *((entry, case) for entry in found)):
                self._hold(entry, asks)
                yield
            for _ in range(self.rounds):
                for held in self.held:
                    self._round(held)
                yield
        finally:
            for held in self.held:
                held.worker.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _dense_first(self) -> tuple[Entry, Case]:
        head, documents, queries = with_dense(self.data)
        folder = self.folder / "case-dense"
        case = token_case(folder, self.data.name, documents, queries, self.truth)
        known = dataclasses.replace(DENSE_FIRST, options={"head": head})
        return Entry(known, "exact_maxsim", ENVIRONMENT), case

    def _hold(self, entry: Entry, case: Case) -> None:
        """Build a peer and try its settings, from fast to thorough, until no more is found."""
        name = entry.known.name
        try:
            worker = Worker(entry, case, self.folder / name.replace(" ", "-"), THREADS)
        except PeerFailedError as error:
            self.failed[name] = str(error)
            return
        points: list[Point] = []
        try:
            built: dict[str, Any] = worker.build(case, limit_s=BUILD_S_MAX)
            for setting in worker.ask("settings"):
                found, qps = worker.find(setting, LIMIT)
                recall = float(shares(found, self.truth, LIMIT).mean())
                points.append(Point(setting=setting, found=found, qps=qps, recall=recall))
                if recall >= RECALL_ENOUGH:
                    break
            built = worker.searched(built)
        except PeerFailedError as error:
            self.failed[name] = str(error)
        if points:
            self.held.append(Held(worker=worker, built=built, points=points))
        else:
            worker.kill()

    def _round(self, held: Held) -> None:
        """Time the settings of a peer that are worth it, and look at its memory."""
        for point in held.points:
            if not point.done and not point.beaten(held.points):
                self._turn(held.worker, point)
        if held.worker.alive:
            held.built = held.worker.searched(held.built)

    def _turn(self, worker: Worker, point: Point) -> None:
        """Time one setting in each mode; one that fails is not asked again, and its row says so."""
        modes = {mode: how for mode, how in MODES.items() if not (how["batch"] and point.slow)}
        what = {"setting": point.setting, "limit": LIMIT, "seconds": self.seconds}
        least = -(-CALLS_LEAST // self.rounds)
        for mode, how in modes.items():
            if mode in point.errors or worker.name in self.gone:
                continue
            try:
                go_on(worker, what | how, point.times.setdefault(mode, []), least)
            except PeerFailedError as error:
                point.errors[mode] = str(error)
                if not worker.alive:
                    self.gone.add(worker.name)

    def table(self) -> Table:
        """What was found."""
        rows = [_with_own(error_row(name, text), {}) for name, text in self.failed.items()]
        for held in self.held:
            rows += [self._row(held, point) for point in held.points]
        rows.sort(key=lambda row: not row["peer"].startswith(OURS))
        rows.append(self._dense_row())
        documents, tokens = len(self.data.documents), self.data.tokens
        title = (
            f"{self.data.name}: {documents:,} documents, {tokens:,} vectors, "
            f"{len(self.data.queries):,} queries; recall is of exact MaxSim's first {LIMIT}, "
            f"whose nDCG@{LIMIT} is {bootstrap(ndcg(self.truth, self.data.relevant))}; {INTERVALS}"
        )
        return Table(f"multivector-{self.data.name.partition(',')[0]}", title, rows)

    def bars(self) -> Rows:
        """Whether vecstore, by its default ladder, does what it shall on this set."""
        name, wanted = self.data.name, SPEEDS.get(self.data.name)
        if wanted is None:
            return []
        own = [row for row in self.table().rows if row["recall"] and not row["error"]]
        rows = [row for row in own if row["peer"] == TOKENS]
        best = max((row["recall"].mean for row in rows), default=0.0)
        timed = [row["q/s 1 thread"] for row in rows if row["recall"].mean >= OVERLAP]
        speed = max((figure.mean for figure in timed if figure), default=0)
        size = max((row["disk B/vector"] for row in rows), default=0)
        return [
            bar(f"{name}: recall of exact MaxSim", best, f">= {OVERLAP}", met=best >= OVERLAP),
            bar(f"{name}: q/s of one thread there", speed, f">= {wanted}", met=speed >= wanted),
            bar(
                f"{name}: bytes per token on disk",
                size,
                f"<= {TOKEN_BYTES}",
                met=0 < size <= TOKEN_BYTES,
            ),
            *self._losses(own),
        ]

    def _losses(self, rows: Rows) -> Rows:
        """Whether the default plans of some ladders lose no more nDCG than they may."""
        exact = float(ndcg(self.truth, self.data.relevant).mean())
        found = []
        for row in rows:
            if row["peer"] in LOSSES and row["setting"] == DEFAULT:
                lost, most = exact - row[f"nDCG@{LIMIT}"].mean, LOSSES[row["peer"]]
                what = f"{self.data.name}: nDCG@{LIMIT} that {row['peer']} loses"
                found.append(bar(what, lost, f"<= {most}", met=lost <= most))
        return found

    def _row(self, held: Held, point: Point) -> dict[str, Any]:
        times: dict[str, Any] = {
            mode: over_rounds(answers) for mode, answers in point.times.items() if answers
        }
        times.setdefault("batch2", {"qps": point.qps})
        row = search_row(
            held.worker.name,
            point.setting,
            shares=shares(point.found, self.truth, LIMIT),
            first=first_hits(point.found, self.truth),
            built=held.built,
            rows=self.data.tokens,
            times=times,
        )
        own = {
            f"nDCG@{LIMIT}": bootstrap(ndcg(point.found, self.data.relevant)),
            "batch by": TURNS if point.times.get("batch2") else ONE_PASS,
            "disk B/document": held.built["disk"] / len(self.data.documents),
        }
        return _with_own(row, own) | {"error": _joined(point.errors)}

    def _dense_row(self) -> dict[str, Any]:
        """What one vector a record would find, exactly searched."""
        dense = self.data.dense
        found = nearest(dense.vectors, dense.queries, LIMIT)
        row = search_row(
            "dense alone, exact",
            {},
            shares=shares(found, self.truth, LIMIT),
            first=first_hits(found, self.truth),
            built={},
            rows=self.data.tokens,
            times={},
        )
        return _with_own(row, {f"nDCG@{LIMIT}": bootstrap(ndcg(found, self.data.relevant))})


def _with_own(row: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of this suite among those of every search."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        if name == "recall":
            made[f"nDCG@{LIMIT}"] = own.get(f"nDCG@{LIMIT}")
        made[name] = value
        if name == "disk B/vector":
            made["disk B/document"] = own.get("disk B/document")
        if name == "batch q/s 2 threads":
            made["batch by"] = own.get("batch by")
    return made


def _joined(errors: Mapping[str, str]) -> str:
    return "; ".join(f"{mode}: {text}" for mode, text in errors.items())
