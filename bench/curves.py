"""Recall against speed: the settings of a peer, the fastest of them, and what fits in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.databases import MODES, over_rounds
from bench.measure import LIMIT, THREADS
from bench.peers.base import Setting
from bench.peers.drive import CALLS_LEAST, PeerFailedError, Worker, go_on, take_turns
from vecstore.types import Int64

# Of each recall, so many settings, the fastest of the first pass, are timed again.
CANDIDATES, ROUNDS, SECONDS = 3, 3, 0.2
# A setting whose first pass took longer is not timed again in batches: its speed is that.
PASS_S_MAX = 5.0
# Of each way to ask, the mode by which a setting is chosen.
JUDGE = {"single": "single", "batch": "batch2"}
TURNS, ONE_PASS = "turns", "one pass"  # what a figure of batches is of
BYTES = (64, 128, 256, 512, 1_024, 2_048)


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

    @property
    def slow(self) -> bool:
        """Whether it takes too long to be timed in batches again."""
        return len(self.found) / self.qps > PASS_S_MAX


def fastest(
    worker: Worker, points: Sequence[Point], targets: Sequence[float]
) -> dict[float, dict[str, Point]]:
    """For each recall the fastest setting that reaches it, "single" and "batch"; {} for none.

    Of each recall the fastest of the first pass are timed again, all of them by turns. So a
    setting that is chosen for a high recall is chosen for a lower one, too, where it was faster.
    """
    passed = sorted(points, key=lambda point: -point.qps)
    first = [[point for point in passed if point.recall >= least][:CANDIDATES] for least in targets]
    tried = list({id(point): point for each in first for point in each}.values())
    chosen: dict[float, dict[str, Point]] = {least: {} for least in targets}
    for way, mode in JUDGE.items():
        left = [point for point in tried if way == "single" or not point.slow]
        timed = _by_speed(worker, left, mode)
        for least in targets:
            enough = [point for point in (*timed, *passed) if point.recall >= least]
            if enough:
                chosen[least][way] = enough[0]
    return chosen


def _by_speed(worker: Worker, points: Sequence[Point], mode: str) -> list[Point]:
    """The fastest first, as they are when they take turns."""
    if len(points) < 2:
        return list(points)
    sides = [(worker, asking(point, mode, SECONDS)) for point in points]
    turns = take_turns(sides, ROUNDS, least=0)
    rates = {
        id(point): over_rounds(answers)["qps"].mean
        for point, answers in zip(points, turns, strict=True)
    }
    return sorted(points, key=lambda point: -rates[id(point)])


@dataclass(eq=False, slots=True)
class Pair:
    """A setting of a peer and one of vecstore that take turns in one mode.

    Attributes:
        mode: of `bench.databases.MODES`.
        point: the peer's.
        own: vecstore's.
        theirs: answers to "time", one a round; none where batches were slow, or it failed.
        ours: likewise.
        error: why it is not asked any more; "" for nothing.
    """

    mode: str
    point: Point
    own: Point
    theirs: list[dict[str, Any]] = field(default_factory=list)
    ours: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def take_pairs(
    sides: tuple[Worker, Worker], pairs: Sequence[Pair], seconds: float, rounds: int
) -> None:
    """Fill pairs, in each round all of them: so a slow while of the machine meets all modes.

    What takes too long in batches is not timed again: vecstore is, for two threads as the first
    pass had. A pair that fails is not asked again, and none once the peer's process has ended.

    Raises:
        PeerFailedError: it was vecstore that failed.
    """
    worker, anchor = sides
    least = -(-CALLS_LEAST // rounds)
    for pair in (pair for _ in range(rounds) for pair in pairs):
        how, alone = MODES[pair.mode], MODES[pair.mode]["batch"] and pair.point.slow
        if pair.error or not worker.alive or (alone and how["threads"] < THREADS):
            continue
        try:
            if not alone:
                go_on(worker, asking(pair.point, pair.mode, seconds), pair.theirs, least)
            go_on(anchor, asking(pair.own, pair.mode, seconds), pair.ours, least)
        except PeerFailedError as error:
            if error.peer != worker.name:
                raise
            pair.error = str(error)


def asking(point: Point, mode: str, seconds: float) -> dict[str, Any]:
    """The arguments of the request "time"."""
    return {"limit": LIMIT, "seconds": seconds, "setting": point.setting, **MODES[mode]}


def by_bytes(curve: Sequence[Mapping[str, Any]], targets: Sequence[float]) -> list[dict[str, Any]]:
    """For each bound on bytes, the most queries a second of each peer at each recall within it."""
    rows = []
    for most in BYTES:
        peers: dict[str, list[Mapping[str, Any]]] = {}
        for row in curve:
            if row["disk B/vector"] <= most:
                peers.setdefault(row["peer"], []).append(row)
        found = [_best(name, tried, targets) for name, tried in peers.items()]
        found.sort(key=lambda row: tuple(row[_rate(at)] or 0.0 for at in targets), reverse=True)
        rows += [{"B/vector at most": str(most)} | row for row in found]
    return rows


def _best(
    name: str, tried: Sequence[Mapping[str, Any]], targets: Sequence[float]
) -> dict[str, Any]:
    best = max(tried, key=lambda row: float(row["recall"].mean))
    made: dict[str, Any] = {"peer": name, "disk B/vector": best["disk B/vector"]}
    for target in targets:
        rates = [row["q/s"] for row in tried if row["recall"].mean >= target]
        made[_rate(target)] = max(rates, default=None)
    return made | {"best recall": best["recall"]}


def _rate(target: float) -> str:
    return f"q/s at {target}"
