"""What runs leave behind: SUITE.json to compute with, SUITE.md to read, and pages made of them.

    python -m bench.results README   # the summary in the README, from the newest full run
    python -m bench.results FIGURES  # the tables in bench/README.md, likewise
    python -m bench.results GAPS     # where a peer is faster, printed and in bench/README.md

A folder of results holds the newest run of each suite made that day: DATE the full ones, DATE-quick
and DATE-partial the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import SETS
from bench.gaps import gaps, shown
from bench.measure import ROOT, Interval, Table
from bench.peers import OURS, known

RESULTS = ROOT / "bench" / "results"
PAGE, FIGURES_PAGE = ROOT / "README.md", ROOT / "bench" / "README.md"
# A full run: of all peers, of so many rows and calls at least, to its end. Pages are made of these.
ROWS, CALLS = 1_000_000, 500
ALL_SETS = ", ".join(SETS)
CHANGED = "commit at the end"  # of a run during which it changed
DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
# Too long for a page: what they come to is in other tables and in pictures.
UNREAD = re.compile(r"ladder-study|ann-.*-curve")
RESERVED = ("machine", "run", "versions")
# Columns that every row about searches has one of: without a figure in it, nothing was found.
FOUND = ("recall", "overlap@10")
BEGIN, END = "<!-- summary: python -m bench.results -->\n", "<!-- end of summary -->\n"
GAPS_BEGIN, GAPS_END = "<!-- gaps: python -m bench.results GAPS -->\n", "<!-- end of gaps -->\n"
GAPS_TITLE = "Where a peer is faster than vecstore by a tenth or more, in the newest full runs"
FIGURES_END = "<!-- end of figures -->\n"
SUMMED = re.compile(r"ann-(\d+)k-95")  # the tables of a recall of 0.95, by thousands of rows
SUMMARY_COLUMNS = (
    "recall",
    "q/s 1 thread",
    "q/s 2 threads",
    "batch q/s 2 threads",
    "p99 ms",
    "disk B/vector",
    "build s",
)


@dataclass(kw_only=True)
class Result:
    """One run of one suite.

    Attributes:
        suite: its name.
        machine: what it ran on: `bench.measure.machine`.
        run: how it was asked for, and the seconds it took.
        tables: what it found, up to where it ended.
        versions: of the libraries measured.
        error: what ended it early; "" for nothing.
    """

    suite: str
    machine: Mapping[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    error: str = ""

    def put(self, table: Table) -> None:
        """Add a table, instead of one of the same name that had fewer rows."""
        self.tables = [known for known in self.tables if known.name != table.name] + [table]

    @property
    def figures(self) -> str:
        """The machine and the tables that are fit to be read, as text."""
        shown = [str(table) for table in self.tables if not UNREAD.fullmatch(table.name)]
        ended = [f"Ended early: {self.error}\n"] if self.error else []
        return "\n".join([f"{line(self.machine)}\n{line(self.run)}\n", *shown, *ended])

    def table(self, name: str) -> Table | None:
        """The table of that name, if the run came to it."""
        return next((table for table in self.tables if table.name == name), None)


def line(about: Mapping[str, Any]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name} {value}" for name, value in about.items())


def write(folder: Path, result: Result) -> None:
    """Write SUITE.json and SUITE.md, each whole or not at all."""
    content: dict[str, Any] = {"machine": dict(result.machine)}
    content["run"] = {"suite": result.suite, **result.run, "error": result.error}
    content["versions"] = dict(sorted(result.versions.items()))
    for table in result.tables:
        if table.name in content:
            raise ValueError(f"{result.suite} has two tables {table.name!r}, or that name is taken")
        content[table.name] = {
            "name": table.name,
            "title": table.title,
            "rows": [{name: _plain(value) for name, value in row.items()} for row in table.rows],
        }
    text = json.dumps(content, indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{result.suite}.json", text + "\n")
    _replace(folder / f"{result.suite}.md", markdown(result))


def read(path: Path) -> Result:
    """What `write` wrote to SUITE.json."""
    content = json.loads(path.read_text(encoding="utf-8"))
    run = content["run"]
    suite, error = run.pop("suite"), run.pop("error")
    tables = [
        Table(each["name"], each["title"], [_rich(row) for row in each["rows"]])
        for name, each in content.items()
        if name not in RESERVED
    ]
    return Result(
        suite=suite,
        machine=content["machine"],
        run=run,
        tables=tables,
        versions=content.get("versions", {}),
        error=error,
    )


def read_all(folder: Path) -> dict[str, Result]:
    """Suite -> its result, of a folder, or of one SUITE.json.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
    found = [read(path) for path in paths]
    if not found:
        raise FileNotFoundError(f"{folder} holds no results")
    return {result.suite: result for result in found}


def is_full(result: Result) -> bool:
    """Whether it is of all peers and real sets, as large as by default, one commit, and ended."""
    how = result.run
    whole = how["peers"] == "all" and not how["quick"] and not result.error
    whole = whole and how.get("sets") == ALL_SETS and CHANGED not in how
    return whole and how["rows"] >= ROWS and how["calls"] >= CALLS


def without_figures(row: Mapping[str, Any]) -> bool:
    """Whether there is an error and nothing else; some rows have figures and an error, too."""
    return bool(row.get("error")) and all(row.get(name) is None for name in FOUND)


def lonely(result: Result) -> bool:
    """Whether peers were asked, and none but vecstore has figures."""
    names = known()
    rows = [row for table in result.tables for row in table.rows if row.get("peer") in names]
    others = [row for row in rows if not row["peer"].startswith(OURS)]
    return bool(others) and all(map(without_figures, others))


def move(suite: str, source: Path, target: Path) -> None:
    """Put what `write` wrote of a suite in another folder, in place of what is there."""
    target.mkdir(parents=True, exist_ok=True)
    for ending in ("json", "md"):
        os.replace(source / f"{suite}.{ending}", target / f"{suite}.{ending}")
    if not any(source.iterdir()):
        source.rmdir()


def newest(suite: str, root: Path | None = None) -> Path | None:
    """SUITE.json of the newest full run of a suite."""
    root = RESULTS if root is None else root
    found = [path for path in root.glob(f"*/{suite}.json") if DATED.fullmatch(path.parent.name)]
    full = [path for path in found if is_full(read(path))]
    return max(full, key=lambda path: path.parent.name, default=None)


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {name: _plain(each) for name, each in dataclasses.asdict(value).items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} has no place in a table")


def _rich(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Interval(**value) if isinstance(value, dict) else value for name, value in row.items()
    }


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


# Pages


def markdown(result: Result) -> str:
    """A page of one run: the machine, and every table."""
    parts = [f"# {result.suite}", line(result.machine), line(result.run)]
    if result.versions:
        parts.append(line(dict(sorted(result.versions.items()))))
    if result.error:
        parts.append(f"**Ended early: {result.error}**")
    for table in result.tables:
        parts += [f"## {table.name}", table.title, grid(table)]
    return "\n\n".join(parts) + "\n"


def grid(table: Table) -> str:
    """The rows of a table in Markdown."""
    if not table.rows:
        return "nothing"
    rule = ["---:" if number else "---" for number in table.numeric]
    lines = [table.columns, rule, *table.cells]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines
    )


def with_block(text: str, begin: str, end: str, content: str) -> str:
    """A document with other content between two marks."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document lacks {begin!r} or, after it, {end!r}")
    return f"{before}{begin}\n{content.rstrip()}\n\n{end}{after}"


def with_figures(text: str, suite: str, figures: str, pictures: Sequence[Path] = ()) -> str:
    """A document with other figures between the marks of a suite, and links to its pictures."""
    begin = f"<!-- figures: python -m bench.run {suite} -->\n"
    links = [f"![{path.stem}]({path.as_posix()})" for path in pictures]
    return with_block(
        text, begin, FIGURES_END, "\n\n".join([f"```text\n{figures.rstrip()}\n```", *links])
    )


def put_figures(result: Result, folder: Path) -> None:
    """Put the tables of a run in bench/README.md, and links to its pictures in `folder`.

    Those are left out where the folder is elsewhere, as links would break.
    """
    root = FIGURES_PAGE.resolve().parent
    found = sorted(folder.resolve().glob(f"{result.suite}*.png"))
    pictures = [path.relative_to(root) for path in found if path.is_relative_to(root)]
    text = FIGURES_PAGE.read_text(encoding="utf-8")
    _replace(FIGURES_PAGE, with_figures(text, result.suite, result.figures, pictures))


def summary(result: Result) -> str:
    """What `ann` found at a recall of 0.95 in the largest data that it came to.

    Raises:
        ValueError: it came to none.
    """
    found = {
        int(match[1]): table
        for table in result.tables
        if (match := SUMMED.fullmatch(table.name)) is not None
    }
    if not found:
        raise ValueError("ann has no table of recall 0.95")
    table = found[max(found)]
    measured = [row for row in table.rows if not without_figures(row)]
    rows = [
        {"peer": row["peer"], **{name: row.get(name) for name in SUMMARY_COLUMNS}}
        for row in sorted(measured, key=lambda row: -_speed(row))
    ]
    parts = [f"{table.title}. {line(result.machine)}.", grid(Table("summary", "", rows))]
    failed = [f"{row['peer']} ({row['error']})" for row in table.rows if without_figures(row)]
    if failed:
        parts.append(f"Without figures: {'; '.join(failed)}.")
    behind = gaps(result.suite, [table])
    parts.append(f"vecstore is behind by a tenth or more: {shown(behind) or 'nowhere'}.")
    return "\n\n".join(parts)


def _speed(row: Mapping[str, Any]) -> float:
    value = row.get("q/s 1 thread")
    return float(value.mean if isinstance(value, Interval) else value or 0)


def _gaps(path: Path) -> list[dict[str, Any]]:
    result = read(path)
    return gaps(result.suite, result.tables)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make pages again from the newest results; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("page", choices=("README", "FIGURES", "GAPS"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of dated results")
    asked = parser.parse_args(arguments)
    if asked.page == "README":
        path = newest("ann", asked.results)
        if path is None:
            print(f"no full run of ann in {asked.results}", file=sys.stderr)
            return 1
        text = with_block(PAGE.read_text(encoding="utf-8"), BEGIN, END, summary(read(path)))
        _replace(PAGE, text)
        return 0
    text = FIGURES_PAGE.read_text(encoding="utf-8")
    suites = re.findall(r"<!-- figures: python -m bench\.run (\w+) -->", text)
    if asked.page == "GAPS":
        paths = [path for suite in suites if (path := newest(suite, asked.results)) is not None]
        table = Table("gaps", GAPS_TITLE, [row for path in paths for row in _gaps(path)])
        print(table)
        _replace(
            FIGURES_PAGE, with_block(text, GAPS_BEGIN, GAPS_END, f"{table.title}:\n\n{grid(table)}")
        )
        return 0
    for suite in suites:
        path = newest(suite, asked.results)
        if path is None:
            print(f"no full run of {suite} in {asked.results}", file=sys.stderr)
        else:
            put_figures(read(path), path.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
