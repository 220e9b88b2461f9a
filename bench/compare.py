"""What got worse from one run to another.

    python -m bench.compare OLD NEW [--tolerance 0.1] [--ours] [--force]
    python -m bench.compare --within OLD NEW

OLD and NEW are folders of results or single SUITE.json. Of the same suite and table, rows of the
same text and the same sizes are compared, column by column; the name of a column says whether more
is better, and one that does not say is left out, as are times that were measured once. A figure got
worse when it is worse by more than the tolerance, as a share of the old one; by more than twice the
tolerance, where the intervals of both overlap, or where it is a p95 or p99 without an interval.
Shares, such as recall, are compared by difference, with a tenth of the tolerance. New errors, and
bars that are no longer met, count as worse, and so does what vecstore had in a suite and has no
more: rows, figures, bars. What else is missing in NEW is listed and does not: a run may be of
fewer suites and peers.

Runs of different rows, calls, data or machines are not compared, unless with --force.

With --within, of two runs of ann of the same code, only those intervals are listed, of figures of
the same peer and recall, that have no part in common.

Ends with 1 where something got worse, or lies outside, or nothing could be compared.
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
from bench.results import Result, line, read_all, without_figures

TOLERANCE = 0.1
# By the name of a column, words in it; the first that fits decides. The figure of a bar is in some
# other table, with its interval: of bars it counts whether they are met.
KINDS = (
    ("up", r"^x faiss$|vecstore x"),
    (
        "neither",
        r"^(figure|calls|rounds|faiss ms)$|^x |\bx\b|\b(least|most|plain|sync)\b|read GB/s",
    ),
    ("share up", r"recall|overlap|ndcg|worst tenth|^hold|known|both first"),
    ("share down", r"flip"),
    ("up", r"/s\b|compression|reads 1/"),
    ("down", r"\b(ms|us|s|seconds|MiB|GiB)\b|bytes|B/(vector|row|token|document)"),
    ("up", r"^same hits$|^synced$"),
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
ONCE = re.compile(r".*-(curve|bytes|rounds|study)")
TIMES = re.compile(r"/s\b|\b(ms|us|s)\b")
TAILS = re.compile(r"\bp9[59]\b")
# Columns of text that say what was found, not of what.
SETTINGS = frozenset({"setting", "batch setting"})
OUTCOMES = SETTINGS | {
    *("error", "met", "of which", "figure", "wanted", "RSS of", "batch by", "synced"),
}
SUBJECTS = ("peer", "codec")  # columns that say whose a row is; without, it is vecstore's
# What two runs must share, so that a difference of figures is one of the code.
SAME_RUN, SAME_MACHINE = ("rows", "calls", "quick", "embeddings", "sets"), ("cpu", "cores")
WITHIN = "ann"  # the suite that two runs of the same code must agree in


@dataclass
class Comparison:
    """What was seen.

    Attributes:
        worse: lines, of what got worse.
        missing: lines, of what NEW lacks.
        unjudged: columns whose names do not say which way is better.
        compared: figures that were compared.
        unlike: lines, of suites that were not compared, as the runs differ.
    """

    worse: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unjudged: set[str] = field(default_factory=set)
    compared: int = 0
    unlike: list[str] = field(default_factory=list)


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
    parser.add_argument(
        "--force", action="store_true", help="compare runs of other rows, data or machines, too"
    )
    parser.add_argument(
        "--within", action="store_true", help="list the intervals of ann that do not overlap"
    )
    asked = parser.parse_args(arguments)
    try:
        old, new = read_all(asked.old), read_all(asked.new)
    except FileNotFoundError as error:
        parser.error(str(error))
    if asked.within:
        found = within(old, new, force=asked.force)
    else:
        found = compared(old, new, asked.tolerance, ours=asked.ours, force=asked.force)
    for name, results in (("old", old), ("new", new)):
        for about in dict.fromkeys(line(result.machine) for result in results.values()):
            print(f"{name}: {about}")
    said, word = ("lie outside", "outside") if asked.within else ("got worse", "worse")
    print(f"\n{found.compared:,} figures compared, {len(found.worse)} {said}")
    listed = {word: found.worse, "missing": found.missing, "NOT COMPARED": found.unlike}
    for what, lines in listed.items():
        for each in lines:
            print(f"{what}: {each}")
    if found.unjudged:
        print(f"not judged, as names do not say which way is better: {_listed(found.unjudged)}")
    if found.unlike:
        print("runs that differ so much say nothing of the code; --force compares them")
    elif not found.compared:
        print("the runs have no figures in common")
    return 1 if found.worse or found.unlike or not found.compared else 0


def compared(
    old: Mapping[str, Result],
    new: Mapping[str, Result],
    tolerance: float = TOLERANCE,
    *,
    ours: bool = False,
    force: bool = False,
) -> Comparison:
    """What got worse from one run of suites to another, and what is missing in it."""
    found = Comparison()
    for suite, before in old.items():
        after = new.get(suite)
        if after is None:
            found.missing.append(suite)
            continue
        unlike = differences(before, after)
        if unlike and not force:
            found.unlike.append(f"{suite}: {'; '.join(unlike)}")
            continue
        if after.error and not before.error:
            found.worse.append(f"{suite}: ended early: {after.error}")
        fewer = before.run.get("peers") != after.run.get("peers")
        for table in before.tables:
            kept = [row for row in table.rows if _is_ours(row) or not ours]
            pair = _Pair(found, suite, Table(table.name, table.title, kept), tolerance, fewer)
            pair.compare(after.table(table.name))
    return found


def within(
    old: Mapping[str, Result], new: Mapping[str, Result], *, force: bool = False
) -> Comparison:
    """The intervals of one run of ann that have no part in common with those of the other."""
    found = Comparison()
    if WITHIN not in old or WITHIN not in new:
        found.missing.append(WITHIN)
        return found
    before, after = old[WITHIN], new[WITHIN]
    unlike = differences(before, after)
    if unlike and not force:
        found.unlike.append(f"{WITHIN}: {'; '.join(unlike)}")
        return found
    for table in before.tables:
        other = after.table(table.name)
        drop = OUTCOMES - (SETTINGS if ONCE.fullmatch(table.name) else set())
        rows = {} if other is None else dict(_keyed(other, drop))
        for key, row in _keyed(table, drop):
            place = f"{WITHIN}, {table.name}, {' '.join(key[:-1])}"
            pairs = [(name, value, rows.get(key, {}).get(name)) for name, value in row.items()]
            for name, value, again in pairs:
                if not isinstance(value, Interval):
                    continue
                if not isinstance(again, Interval):
                    found.missing.append(f"{place}: {name} is not there")
                    continue
                found.compared += 1
                if not _overlap(value, again):
                    found.worse.append(f"{place}: {name} {_shown(value)} and {_shown(again)}")
    return found


def differences(old: Result, new: Result) -> list[str]:
    """What keeps two runs of a suite from being compared."""
    pairs = [(name, old.run.get(name), new.run.get(name)) for name in SAME_RUN]
    pairs += [(name, old.machine.get(name), new.machine.get(name)) for name in SAME_MACHINE]
    return [f"{name} {before} and {after}" for name, before, after in pairs if before != after]


def _subject(row: Mapping[str, Any]) -> str:
    """Whose the row is."""
    return next((str(row[name]) for name in SUBJECTS if row.get(name)), OURS)


def _is_ours(row: Mapping[str, Any]) -> bool:
    return _subject(row).startswith(OURS)


@dataclass(frozen=True)
class _Pair:
    """A table of the old run, to be compared with that of the new one.

    Attributes:
        found: where to write down what is seen.
        suite: whose table it is.
        old: the table, with the rows that count.
        tolerance: see the module.
        fewer: whether the new run had other peers, whose bars may be gone.
    """

    found: Comparison
    suite: str
    old: Table
    tolerance: float
    fewer: bool

    @property
    def _once(self) -> bool:
        return ONCE.fullmatch(self.old.name) is not None

    def compare(self, new: Table | None) -> None:
        """Compare every row, or write down that there is none."""
        where = f"{self.suite}, {self.old.name}"
        if new is None:
            ours = any(map(self._counts, self.old.rows))
            (self.found.worse if ours else self.found.missing).append(f"{where}: no such table")
            return
        drop = OUTCOMES
        if not all(_unique(table, drop) for table in (self.old, new)):
            drop = OUTCOMES - SETTINGS
        rows = dict(_keyed(new, drop))
        for key, before in _keyed(self.old, drop):
            place = f"{where}, {' '.join(key[:-1])}"
            if without_figures(before):
                continue
            after = rows.get(key) or _failed(new, before)
            if after is None:
                ours = self._counts(before)
                (self.found.worse if ours else self.found.missing).append(f"{place}: no such row")
            elif without_figures(after):
                self.found.worse.append(f"{place}: {after['error']}")
            else:
                self._row(place, before, after, new.columns)

    def _counts(self, row: Mapping[str, Any]) -> bool:
        """Whether the row must be in the new run: not one of the settings that were only tried."""
        return _is_ours(row) and not self._once and not ("met" in row and self.fewer)

    def _row(
        self,
        place: str,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        columns: Sequence[str],
    ) -> None:
        if old.get("met") == "yes" and new.get("met") != "yes":
            what = "met no longer" if new.get("met") == "NO" else "measured no longer"
            self.found.worse.append(f"{place}: {what}")
        for name, before in old.items():
            if not _is_figure(before) or _is_size(name, before):
                continue
            kind = _kind(name)
            if not kind:
                self.found.unjudged.add(name)
            elif kind == "neither" or (self._once and TIMES.search(name)):
                continue
            elif not _is_figure(new.get(name)):
                gone = name in columns and self._counts(old)
                (self.found.worse if gone else self.found.missing).append(
                    f"{place}: {name} is not there"
                )
            else:
                self.found.compared += 1
                self._figure(f"{place}: {name}", kind, before, new[name])

    def _figure(self, place: str, kind: str, old: Any, new: Any) -> None:
        share = self.tolerance / 10
        allowed = share if kind.startswith("share") else self.tolerance * abs(_mean(old))
        bare_tail = TAILS.search(place) is not None and not isinstance(old, Interval)
        if bare_tail or _overlap(old, new):
            allowed *= 2
        lost = (_mean(old) - _mean(new)) * (1 if kind.endswith("up") else -1)
        if lost > allowed:
            self.found.worse.append(f"{place} {_shown(old)} -> {_shown(new)}")


def _failed(table: Table, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row that says why there is none like another: of its peer, and of its sizes if any.

    Rows of errors lack most texts and sizes, by which rows are told apart otherwise.
    """
    for each in table.rows:
        sizes = [name for name in each if _is_size(name, each[name])]
        alike = all(row.get(name) == each[name] for name in sizes)
        if without_figures(each) and _subject(each) == _subject(row) and alike:
            return each
    return None


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


def _kind(name: str) -> str:
    """Which way is better, and how it is compared; "" where the name does not say."""
    kinds = (kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE))
    return next(kinds, "")


def _overlap(old: Any, new: Any) -> bool:
    """Whether both have intervals, and these have a part in common."""
    if not isinstance(old, Interval) or not isinstance(new, Interval):
        return False
    return old.low <= new.high and new.low <= old.high


def _mean(figure: Any) -> float:
    return figure.mean if isinstance(figure, Interval) else float(figure)


def _is_figure(value: object) -> bool:
    return isinstance(value, Interval | int | float)  # and bools, which are 0 or 1


def _shown(figure: Any) -> str:
    return str(figure) if isinstance(figure, Interval | bool) else f"{figure:,.4g}"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
