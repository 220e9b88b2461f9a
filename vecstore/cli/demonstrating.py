"""`vecstore demo`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecstore.cli.console import bars, say, table

if TYPE_CHECKING:
    from vecstore.demo.run import Measured, Report

HEADER = (
    "representation",
    "bytes/\nvector",
    "times\nsmaller",
    "overlap",
    "recall\n@10",
    "local\np50",
    "local\np99",
    "gRPC\np50",
    "gRPC\np99",
)


def demo(
    model: Annotated[
        str | None,
        typer.Option(help="A model of sentence-transformers; by default wordllama, offline."),
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the picture goes.")] = Path(
        "demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the database too, in OUT/database.")
    ] = False,
) -> None:
    """Search Python's standard library, embedded and over gRPC."""
    from vecstore.demo.embed import load_embedder
    from vecstore.demo.run import run_demo

    start = time.perf_counter()
    with bars() as progress:
        report = run_demo(out, embedder=load_embedder(model), keep=keep, progress=progress)
    _show(report)
    say()
    say(f"recall against bytes: {report.plot}")
    if report.database is not None:
        say(f"the database: {report.database}; search it with")
        say(f'  vecstore search {report.database} functions --field text --text "..."')
    say(f"took {time.perf_counter() - start:.0f} s")


def _show(report: Report) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    say(
        f"{report.functions:,} functions of Python {version}, found by their docstrings "
        f"({report.model}, {report.dim} dimensions)\n"
    )
    table(HEADER, [_row(row, report.dim) for row in report.rows])
    say(
        "\nbytes/vector   what a search reads, for each vector stored; float32 is times 1.0\n"
        f"overlap        with the exact top 10, over {report.queries:,} docstrings\n"
        "recall@10      how often the docstring's own function is among the first 10\n"
        f"p50, p99       milliseconds to hits and payloads, over {report.timed:,} docstrings:\n"
        "               local is in this process, gRPC from the process of a server"
    )
    default = next(row for row in report.rows if row.way.plan is None and not row.way.exact)
    for number, stage in enumerate(default.quality.stages):
        read = stage.bytes_per_vector
        say(
            f"{'' if number else 'default plan':<15}"
            f"{stage.name} {stage.representation} of {stage.rows:,.0f} rows: "
            f"{_beside_float32(read / stage.passes, report.dim)}"
        )
        if stage.passes != 1:
            often = f"{stage.passes:.2f} times a query"
            say(f"{'':<15}  {often}, which makes {_beside_float32(read, report.dim)}")
    for question, hits in report.questions:
        say(f"\n{question}", style="bold")
        for hit in hits:
            say(f"  {hit.payload['name']} ({hit.id})")
            say(f"      {hit.payload['summary']}", style="dim")


def _row(row: Measured, dim: int) -> list[str]:
    read = row.quality.bytes_per_vector
    return [
        row.way.label,
        f"{read:.1f}",
        f"{4 * dim / read:.1f}",
        f"{row.quality.overlap:.4f}",
        f"{row.quality.recall:.4f}",
        *(
            f"{value:.2f}"
            for latency in (row.embedded, row.remote)
            for value in (latency.p50_ms, latency.p99_ms)
        ),
    ]


def _beside_float32(read: float, dim: int) -> str:
    return f"{read:.1f} bytes/vector, 1/{4 * dim / read:.1f} of float32"
