"""Run benchmarks and print tables.

    python -m bench.run [SUITE ...] [--data DIR] [--rows N] [--calls N] [--out DIR]

Suites: kernels, quality, engine, serve; all by default. See bench/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Settings, Table, machine

SUITES = ("kernels", "quality", "engine", "serve")
ROWS = 1_000_000
CALLS = 500


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites asked for."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.suites if name not in SUITES]
    if unknown:
        parser.error(f"suite is {unknown[0]!r}, expected one of {', '.join(SUITES)}")
    data = asked.data if asked.data.is_dir() else None
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
    if data is None:
        print(f"no real embeddings: {asked.data} is no folder; synthetic rows stand in\n")
    for suite in dict.fromkeys(asked.suites or SUITES):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="vecstore-bench-") as folder:
            settings = Settings(data=data, rows=asked.rows, calls=asked.calls, folder=Path(folder))
            found = []
            for table in _tables(suite, settings):
                print(table)
                found.append(table)
        seconds = time.perf_counter() - begun
        print(f"({suite}: {seconds:.0f} s)\n")
        if asked.out is not None:
            _write(asked.out / f"{suite}.json", about | {"seconds": seconds}, found)


def _tables(suite: str, settings: Settings) -> Iterator[Table]:
    if suite != "kernels":
        yield from importlib.import_module(f"bench.{suite}").tables(settings)
        return
    # A script that prints its own tables.
    environment = os.environ | {"VECSTORE_DATA": str(settings.data or settings.folder)}
    command = [sys.executable, str(ROOT / "bench" / "kernels.py")]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    yield Table("kernels", "Kernels", [{"": line} for line in done.stdout.splitlines()])


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
