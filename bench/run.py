"""Run benchmarks: print tables, and leave them with pictures in a folder.

    python -m bench.run [SUITE ...] [--data DIR] [--peers A,B] [--quick] [--rows N] [--calls N]
                        [--out DIR] [--readme]

All suites by default. A suite that fails is recorded and the others still run. See bench/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: modules are found from the root, not from beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import plots, results
from bench.data import SETS, loaded
from bench.measure import ROOT, Settings, Table, commit, machine, versions
from bench.peers import envs, known
from bench.results import Result, line

# What is compared with peers, then what vecstore alone must keep to.
SUITES = (
    "ann",
    "codecs",
    "multivector",
    "quality",
    "filters",
    "ingest",
    "updates",
    "serve",
    "recovery",
    "scale",
    "limits",
    "kernels",
    "tokens",
    "engine",
    "storage",
)
QUICK_ROWS, QUICK_CALLS = 100_000, 100
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites asked for; the exit status."""
    with stoppable():
        return _run(_asked(arguments))


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, also in a job that a shell makes ignore them."""
    before = {
        each: signal.signal(each, signal.default_int_handler)
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def _run(asked: argparse.Namespace) -> int:
    data = asked.data if asked.data.is_dir() else None
    full = results.RESULTS / time.strftime("%Y-%m-%d")
    out = asked.out or _beside(full, asked)
    about = machine()
    print(line(about), end="\n\n")
    if data is None:
        print(f"no real embeddings: {asked.data} is no folder; synthetic rows stand in\n")
    elif absent := [name for name in SETS if name not in loaded(data, envs.folder())]:
        print(f"no embeddings (python -m bench.embed makes them): {', '.join(absent)}\n")
    done: list[Result] = []
    places: list[Path] = []
    status = 0
    for suite in dict.fromkeys(asked.suites or SUITES):
        with tempfile.TemporaryDirectory(prefix="vecstore-bench-") as folder:
            settings = Settings(
                data=data,
                rows=asked.rows,
                calls=asked.calls,
                folder=Path(folder),
                peers=asked.peers,
                quick=asked.quick,
            )
            ended = measured(suite, settings, machine(), out)
        done.append(ended)
        place = out
        if asked.out is None and results.is_full(ended):
            place = full
            results.move(suite, out, full)
        places.append(place)
        if not pictured(ended, place) or ended.error:
            status = 1
        if results.lonely(ended):
            print(f"{suite}: no peer but vecstore has figures\n")
            status = 1
        if asked.readme and results.is_full(ended):
            results.put_figures(ended, place)
        elif asked.readme:
            print(f"{suite}: not put in the page, as this was no full run\n")
        if ended.error == KeyboardInterrupt.__name__:
            status = INTERRUPTED
            break
    _end(done, places)
    return status


def _how(asked: argparse.Namespace | Settings) -> dict[str, Any]:
    return {
        "rows": asked.rows,
        "calls": asked.calls,
        "quick": asked.quick,
        "peers": ",".join(asked.peers or ("all",)),
    }


def _beside(full: Path, asked: argparse.Namespace) -> Path:
    """Where results are, until their run turns out to be a full one."""
    return full.with_name(f"{full.name}-{'quick' if asked.quick else 'partial'}")


def measured(suite: str, settings: Settings, about: Mapping[str, Any], out: Path) -> Result:
    """Run one suite; what it finds is written as it comes, also when it fails.

    A suite yields a table again when it has more rows, so that little is lost with the rest.
    """
    sets = loaded(settings.data, settings.keep)
    run = _how(settings) | {
        "embeddings": "real" if sets else "none",
        "sets": ", ".join(sets) or "none",
        "begun": time.strftime("%Y-%m-%d %H:%M"),
        "load": round(os.getloadavg()[0], 2),
    }
    versions.clear()
    result = Result(suite=suite, machine=about, run=run, versions=versions)
    begun = time.perf_counter()
    try:
        for table in importlib.import_module(f"bench.suites.{suite}").tables(settings):
            run["seconds"] = round(time.perf_counter() - begun)
            result.put(table)
            results.write(out, result)
            print(f"({table.name}: {len(table.rows)} rows, {run['seconds']} s)", flush=True)
    except KeyboardInterrupt:
        result.error = KeyboardInterrupt.__name__
    except Exception as error:
        traceback.print_exc()
        said = str(error).strip().splitlines() or ["no word"]
        result.error = f"{type(error).__name__}: {said[0]}"
    run["seconds"] = round(time.perf_counter() - begun)
    result.versions = dict(versions)
    if (now := commit()) != about["commit"]:
        run[results.CHANGED] = now
        print(f"{suite}: no full run, as the commit changed from {about['commit']} to {now}")
    results.write(out, result)
    print("", *result.tables, sep="\n")
    print(f"({suite}: {run['seconds']} s)\n", flush=True)
    return result


def pictured(result: Result, out: Path) -> bool:
    """Draw the pictures of a suite; whether that went well."""
    try:
        for path in plots.draw(result, out):
            print(f"drew {path}")
    except plots.NoMatplotlibError as error:
        print(f"no pictures: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
        return False
    return True


def _end(done: Sequence[Result], places: Sequence[Path]) -> None:
    bars = [
        {"suite": result.suite, **row}
        for result in done
        for table in result.tables
        if table.name == f"{result.suite}-bars"
        for row in table.rows
    ]
    print(Table("bars", "All bars", bars))
    for result in done:
        if result.error:
            print(f"{result.suite} ended early: {result.error}")
    print(f"results are in {', '.join(map(str, dict.fromkeys(places)))}")


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("VECSTORE_DATA", ROOT.parent / "shared" / "data")),
        help="folder of real embeddings; $VECSTORE_DATA, else ../shared/data",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: tuple(filter(None, text.split(","))),
        help="beginnings of the names of the peers wanted beside vecstore, with commas",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller; of the peers that are not named only those that need no environment, and in "
        "ann some of FAISS",
    )
    parser.add_argument("--rows", type=int, help="rows of the large database")
    parser.add_argument("--calls", type=int, help="timed calls of each kind")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of results; bench/results/DATE for full runs, beside it for others",
    )
    parser.add_argument(
        "--readme", action="store_true", help="put figures of full runs in bench/README.md"
    )
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.suites if name not in SUITES]
    if unknown:
        parser.error(f"suite is {unknown[0]!r}, expected one of {', '.join(SUITES)}")
    if asked.peers is not None:
        names = known()
        for name in asked.peers:
            if not any(each.startswith(name) for each in names):
                parser.error(f"peer is {name!r}, expected one of {', '.join(sorted(names))}")
    if asked.rows is None:
        asked.rows = QUICK_ROWS if asked.quick else results.ROWS
    if asked.calls is None:
        asked.calls = QUICK_CALLS if asked.quick else results.CALLS
    return asked


if __name__ == "__main__":
    sys.exit(main())
