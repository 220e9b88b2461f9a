"""Run benchmarks and print tables.

    python -m bench.run [SUITE ...] [--data DIR] [--rows N] [--calls N] [--out DIR] [--readme]

Suites: kernels, quality, engine, storage, serve; all by default. See bench/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Settings, Table, machine

SUITES = ("kernels", "quality", "engine", "storage", "serve")
ROWS = 1_000_000
CALLS = 500
README = ROOT / "bench" / "README.md"
# Too long to read; its outcome is the table "ladder".
UNREAD = "ladder-study"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites asked for."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.suites if name not in SUITES]
    if unknown:
        parser.error(f"suite is {unknown[0]!r}, expected one of {', '.join(SUITES)}")
    data = asked.data if asked.data.is_dir() else None
    about = machine()
    print(_line(about), end="\n\n")
    if data is None:
        print(f"no real embeddings: {asked.data} is no folder; synthetic rows stand in\n")
    bars: list[Mapping[str, Any]] = []
    for suite in dict.fromkeys(asked.suites or SUITES):
        begun = time.perf_counter()
        found: list[Table] = []
        with tempfile.TemporaryDirectory(prefix="vecstore-bench-") as folder:
            settings = Settings(data=data, rows=asked.rows, calls=asked.calls, folder=Path(folder))
            for table in importlib.import_module(f"bench.suites.{suite}").tables(settings):
                print(table)
                found.append(table)
        seconds = time.perf_counter() - begun
        print(f"({suite}: {seconds:.0f} s)\n")
        bars += (
            {"suite": suite, **row}
            for table in found
            if table.name == f"{suite}-bars"
            for row in table.rows
        )
        if asked.out is not None:
            _write(asked.out / f"{suite}.json", about | {"seconds": seconds}, found)
        if asked.readme:
            shown = "\n".join(str(table) for table in found if table.name != UNREAD)
            text = README.read_text(encoding="utf-8")
            text = with_figures(text, suite, f"{_line(about)}\n\n{shown}")
            README.write_text(text, encoding="utf-8")
    print(Table("bars", "All bars", bars))


def with_figures(text: str, suite: str, figures: str) -> str:
    """A document with other figures between the marks of a suite."""
    begin, end = f"<!-- figures: python -m bench.run {suite} -->\n", "<!-- end of figures -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document lacks {begin!r} or, after it, {end!r}")
    return f"{before}{begin}\n```text\n{figures.rstrip()}\n```\n\n{end}{after}"


def _line(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("VECSTORE_DATA", ROOT.parent / "shared" / "data")),
        help="folder of real embeddings; $VECSTORE_DATA, else ../shared/data",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the large database")
    parser.add_argument("--calls", type=int, default=CALLS, help="timed calls of each kind")
    parser.add_argument("--out", type=Path, help="folder for SUITE.json")
    parser.add_argument("--readme", action="store_true", help="put figures in bench/README.md")
    return parser


def _write(path: Path, about: dict[str, Any], tables: Sequence[Table]) -> None:
    def plain(value: object) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        raise TypeError(f"{value!r} has no place in JSON")

    content = {"machine": about} | {table.name: table for table in tables}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=plain) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
