"""Recall against speed: the settings of a peer, the fastest of them, and what fits in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.databases import LIMIT, MODES, over_rounds
from bench.peers.base import Setting
from bench.peers.drive import Worker, take_turns
from vecstore.types import Int64

# So many settings, the fastest of the first pass, are timed again before one is chosen.
CANDIDATES, ROUNDS, SECONDS = 3, 2, 0.1
# A setting whose first pass took longer is not timed again in batches: its speed is that.
PASS_S_MAX = 5.0
# Of each way to ask, the mode by which a setting is chosen.
JUDGE = {"single": "single", "batch": "batch2"}
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


def fastest(worker: Worker, points: Sequence[Point], target: float) -> dict[str, Point]:
    """The fastest setting that reaches a recall, "single" and "batch"; empty where none does.

    The fastest of the first pass are timed again, by turns, and the fastest of these is it.
    """
    reached = [point for point in points if point.recall >= target]
    first = sorted(reached, key=lambda point: -point.qps)[:CANDIDATES]
    chosen: dict[str, Point] = {}
    for way, mode in JUDGE.items():
        left = [point for point in first if way == "single" or not point.slow] or first[:1]
        if len(left) > 1:
            what = {"limit": LIMIT, "seconds": SECONDS, **MODES[mode]}
            sides = [(worker, what | {"setting": point.setting}) for point in left]
            turns = take_turns(sides, ROUNDS, least=0)
            rates = [over_rounds(answers)["qps"].mean for answers in turns]
            chosen[way] = left[rates.index(max(rates))]
        elif left:
            chosen[way] = left[0]
    return chosen


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
