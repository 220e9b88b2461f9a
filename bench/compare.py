"""What got worse from one run to another.

    python -m bench.compare OLD NEW [--tolerance 0.1]

OLD and NEW are folders of results or single SUITE.json. Of the same suite and table, rows of the
same text and the same sizes are compared, column by column; the name of a column says whether more
is better, and one that does not say is left out, as are times that were measured once. A figure got
worse when it is worse by more than the tolerance, as a share of the old one, and neither lies in
the other's interval, where they have some. Shares, such as recall, are compared by difference, with
a tenth of the tolerance. New errors, and bars that are no longer met, count as worse. What is
missing in NEW is listed and does not: a run may be of fewer suites.

Ends with 1 where something got worse, or nothing could be compared.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Interval, Table
from bench.peers import OURS
from bench.results import Result, line, read_all

TOLERANCE = 0.1
# By the name of a column, words in it; the first that fits decides. The figure of a bar is in some
# other table, with its interval: of bars it counts whether they are met.
KINDS = (
    ("up", r"^x faiss$|vecstore x"),
    ("neither", r"^figure$|^x |\bx\b|\b(least|most|plain|sync)\b|read GB/s"),
    ("share up", r"recall|overlap|ndcg|worst tenth|^hold|known|both first"),
    ("share down", r"flip"),
    ("up", r"/s\b|compression|reads 1/"),
    ("down", r"\b(ms|us|s|seconds|MiB|GiB)\b|bytes|B/(vector|row|token|document)"),
    ("down", r"MB/query|lost|gone|fewer|short|forbidden|torn|rescored|peak"),
)
# Columns of numbers that say what was measured, as text does.
SIZES = frozenset(
    (
        *("rows", "rows allowed", "records", "corpus", "documents", "dim", "dimensions", "round"),
        *("limit", "keep", "below", "threads", "callers", "queries", "batch"),
    )
)
# Tables of figures measured once: of these, only what is no time is compared.
ONCE = re.compile(r".*-(curve|rounds|study)")
TIMES = re.compile(r"/s\b|\b(ms|us|s)\b")
OUTCOMES = frozenset({"error", "met", "of which", "figure", "wanted", "setting"})


@dataclass
class Comparison:
    """What was seen.

    Attributes:
        worse: lines, of what got worse.
        missing: lines, of what NEW lacks.
        unjudged: columns whose names do not say which way is better.
        compared: figures that were compared.
    """

    worse: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unjudged: set[str] = field(default_factory=set)
    compared: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two runs; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument(
        "--ours", action="store_true", help="leave out rows of peers, whose times may drift too"
    )
    asked = parser.parse_args(arguments)
    try:
        old, new = read_all(asked.old), read_all(asked.new)
    except FileNotFoundError as error:
        parser.error(str(error))
    found = compared(old, new, asked.tolerance, ours=asked.ours)
    for name, results in (("old", old), ("new", new)):
        for about in dict.fromkeys(line(result.machine) for result in results.values()):
            print(f"{name}: {about}")
    print(f"\n{found.compared:,} figures compared, {len(found.worse)} got worse")
    for what, lines in (("worse", found.worse), ("missing", found.missing)):
        for each in lines:
            print(f"{what}: {each}")
    if found.unjudged:
        print(f"not judged, as names do not say which way is better: {_listed(found.unjudged)}")
    if not found.compared:
        print("the runs have no figures in common")
    return 1 if found.worse or not found.compared else 0


def compared(
    old: Mapping[str, Result],
    new: Mapping[str, Result],
    tolerance: float = TOLERANCE,
    *,
    ours: bool = False,
) -> Comparison:
    """What got worse from one run of suites to another, and what is missing in it."""
    found = Comparison()
    for suite, before in old.items():
        after = new.get(suite)
        if after is None:
            found.missing.append(suite)
            continue
        if after.error and not before.error:
            found.worse.append(f"{suite}: ended early: {after.error}")
        for table in before.tables:
            other = after.table(table.name)
            where = f"{suite}, {table.name}"
            if other is None:
                found.missing.append(where)
            else:
                mine = Table(table.name, table.title, [*filter(_is_ours, table.rows)])
                _tables(found, where, mine if ours else table, other, tolerance)
    return found


def _is_ours(row: Mapping[str, Any]) -> bool:
    return str(row.get("peer", OURS)).startswith(OURS)


def _tables(found: Comparison, where: str, old: Table, new: Table, tolerance: float) -> None:
    drop = OUTCOMES
    if not all(_unique(table, drop) for table in (old, new)):
        drop = OUTCOMES - {"setting"}
    once = ONCE.fullmatch(old.name) is not None
    rows = dict(_keyed(new, drop))
    for key, before in _keyed(old, drop):
        place = f"{where}, {' '.join(key[:-1])}"
        after = rows.get(key)
        if after is None:
            found.missing.append(place)
        elif after.get("error") and not before.get("error"):
            found.worse.append(f"{place}: {after['error']}")
        elif not before.get("error"):
            kept = {n: v for n, v in before.items() if not (once and TIMES.search(n))}
            _rows(found, place, kept, after, tolerance)


def _unique(table: Table, drop: frozenset[str]) -> bool:
    return all(key[-1] == "1" for key, _ in _keyed(table, drop))


def _keyed(
    table: Table, drop: frozenset[str]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Rows and what tells them apart: texts, sizes, and which it is of those that are alike."""
    seen: Counter[tuple[str, ...]] = Counter()
    for row in table.rows:
        names = [name for name in row if name not in drop]
        parts = [f"{row[name]}" for name in names if isinstance(row[name], str) and row[name]]
        parts += [f"{name} {row[name]}" for name in names if _is_size(name, row[name])]
        key = tuple(parts)
        seen[key] += 1
        yield (*key, str(seen[key])), row


def _is_size(name: str, value: object) -> bool:
    return name in SIZES and isinstance(value, int) and not isinstance(value, bool)


def _rows(
    found: Comparison,
    place: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    tolerance: float,
) -> None:
    if old.get("met") == "yes" and new.get("met") == "NO":
        found.worse.append(f"{place}: met no longer")
    for name, before in old.items():
        after = new.get(name)
        if not _is_figure(before) or _is_size(name, before):
            continue
        kind = _kind(name)
        if not kind:
            found.unjudged.add(name)
        elif kind == "neither":
            continue
        elif not _is_figure(after):
            found.missing.append(f"{place}: {name}")
        else:
            found.compared += 1
            if _worse(kind, before, after, tolerance):
                found.worse.append(f"{place}: {name} {_shown(before)} -> {_shown(after)}")


def _kind(name: str) -> str:
    """Which way is better, and how it is compared; "" where the name does not say."""
    kinds = (kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE))
    return next(kinds, "")


def _worse(kind: str, old: Any, new: Any, tolerance: float) -> bool:
    before, after = _mean(old), _mean(new)
    lost = before - after if kind.endswith("up") else after - before
    allowed = tolerance / 10 if kind.startswith("share") else tolerance * abs(before)
    return lost > allowed and not _within(after, old) and not _within(before, new)


def _within(value: float, figure: Any) -> bool:
    return isinstance(figure, Interval) and figure.low <= value <= figure.high


def _mean(figure: Any) -> float:
    return figure.mean if isinstance(figure, Interval) else float(figure)


def _is_figure(value: object) -> bool:
    return isinstance(value, Interval | int | float) and not isinstance(value, bool)


def _shown(figure: Any) -> str:
    return str(figure) if isinstance(figure, Interval) else f"{figure:,.4g}"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
