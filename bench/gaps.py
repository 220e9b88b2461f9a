"""Where a peer is faster than vecstore, worked out from the tables of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.measure import Interval, Table
from bench.peers import OURS

GAP = 1.1  # as many times as fast, or more, is listed
RECALL_LEAST = 0.9  # of what a peer finds: to be fast without it is no lead
TIMES = "vecstore x, "  # begins the columns of ratios by turns
RATES = re.compile(r"/s\b")
# Tables of single passes and of what is in others.
LEFT_OUT = re.compile(r".*-(curve|bytes|rounds|study|bars)")
PLACES = ("set", "state", "rows", "allowed")  # columns that tell rows of one peer apart


def gaps(suite: str, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Of each peer and way to ask, how many times as fast as vecstore it is, where by a tenth.

    By turns, where there are ratios; else by the rates in both rows. Peers that find less than
    RECALL_LEAST of the truth are left out.
    """
    found = []
    for table in tables:
        if LEFT_OUT.fullmatch(table.name):
            continue
        ours = {_place(row): row for row in table.rows if row.get("peer") == OURS}
        for row in table.rows:
            recall = row.get("recall", row.get("overlap@10"))
            few = recall is not None and _mean(recall) < RECALL_LEAST
            if few or not row.get("peer") or row["peer"].startswith(OURS):
                continue
            for mode, times in _slower(row, ours.get(_place(row), {})):
                where = ", ".join(f"{name} {value}" for name, value in _place(row))
                gap = {"suite": suite, "table": table.name, "peer": row["peer"], "of": where or "-"}
                found.append(gap | {"mode": mode, "x vecstore": times})
    return found


def shown(found: Sequence[Mapping[str, Any]]) -> str:
    """The gaps in words, peer by peer."""
    peers: dict[str, list[str]] = {}
    for row in found:
        peers.setdefault(row["peer"], []).append(f"{row['mode']} {row['x vecstore']:.2f}")
    return "; ".join(f"{name} ({', '.join(said)})" for name, said in peers.items())


def _place(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, row[name]) for name in PLACES if row.get(name) is not None)


def _slower(row: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Ways to ask in which the peer is faster, and how many times."""
    if any(name.startswith(TIMES) for name in row):
        rates = {name.removeprefix(TIMES): row[name] for name in row if name.startswith(TIMES)}
        found = {mode: 1 / _mean(times) for mode, times in rates.items() if times is not None}
    else:
        names = [name for name in row if RATES.search(name) and row[name] and ours.get(name)]
        found = {name: _mean(row[name]) / _mean(ours[name]) for name in names}
    for mode, times in found.items():
        if times >= GAP:
            yield mode, times


def _mean(figure: Interval | float) -> float:
    return figure.mean if isinstance(figure, Interval) else float(figure)
