"""`vecstore stats`, `vecstore check` and `vecstore repair`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import bars, counted, human_bytes, printable, say, table
from vecstore.cli.working import show_jobs
from vecstore.reports import CollectionStats, Recall

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of the database.")]


def stats(
    directory: Directory,
    collection: Annotated[
        str | None, typer.Argument(metavar="[COLLECTION]", help="One collection; all by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: the collections by name.")
    ] = False,
) -> None:
    """Show what is stored, and what it costs beside float32."""
    with vecstore.open(directory, read_only=True) as db:
        names = db.collections() if collection is None else [collection]
        found = {name: db.collection(name).stats() for name in names}
    if as_json:
        say(json.dumps({name: asdict(item) for name, item in found.items()}, default=str))
        return
    if not found:
        say("no collections yet")
    for number, (name, item) in enumerate(found.items()):
        if number:
            say()
        _show(name, item)


def check(directory: Directory) -> None:
    """Verify every checksum and invariant on disk.

    Prints the problems found, and exits with 1 if there are any.
    """
    with vecstore.open(directory, read_only=True) as db, bars() as report:
        problems = db.check(report)
        count = 0 if problems else len(db.collections())
    for problem in problems:
        say(problem, style="red")
    if problems:
        say(f"{counted(len(problems), 'problem')}; see vecstore repair", error=True)
        raise typer.Exit(1)
    say(f"sound: {counted(count, 'collection')} checked")


def repair(directory: Directory) -> None:
    """Make again what is damaged, where something else on disk says what it was.

    Prints what was made again, what is lost, and what remains; exits with 1 if there is any of the
    last two.
    """
    with vecstore.open(directory, read_only=True):
        pass  # one that is not there is not made
    with vecstore.open(directory) as db, bars() as report:
        done = db.repair(report)
    for text in done.rebuilt:
        say(f"made again: {text}")
    for text in done.lost:
        say(f"lost: {text}", style="red")
    for text in done.remaining:
        say(f"remains: {text}", style="red")
    if done.lost or done.remaining:
        say(
            f"{counted(len(done.lost), 'loss', 'es')}, "
            f"{counted(len(done.remaining), 'problem')} left",
            error=True,
        )
        raise typer.Exit(1)
    say("repaired" if done.rebuilt else "sound: nothing to repair")


def _show(name: str, found: CollectionStats) -> None:
    say(
        f"{name}: {counted(found.records, 'record')} "
        f"({found.buffered:,} in the write buffer{_size(found.buffer_bytes)}), "
        f"{found.deleted:,} deleted, "
        f"{counted(found.segments, 'segment')}, {human_bytes(found.disk_bytes)} on disk"
    )
    table(
        [
            "field",
            "representation",
            "vectors",
            "bytes/vector",
            "compression",
            "on disk",
            "least usage",
        ],
        [
            [
                item.field,
                item.spec,
                f"{item.vectors:,}",
                f"{item.bytes_per_vector:.1f}" if item.vectors else "-",
                f"{item.compression:.1f}x" if item.vectors else "-",
                human_bytes(item.bytes_total),
                f"{item.usage_bits_min:.2f} bits" if item.usage_bits_mean else "-",
            ]
            for item in found.representations
        ],
        left=2,
    )
    for measured in found.recalls:
        say(recall_line(measured))
    for text in found.quarantined:
        say(f"not read, as it is damaged: {text}", style="red")
    if found.jobs:
        show_jobs(found.jobs)


def recall_line(found: Recall) -> str:
    """What was measured, in a line."""
    condition = "" if found.where is None else f" where {printable(found.where)}"
    asked = f"{found.queries:,}{' live' if found.live else ''} queries"
    return (
        f"{found.field}: the default plan finds {found.overlap:.3f} of the exact top "
        f"{found.limit:,} by {found.representation}{condition} ({found.overlap_low:.3f} to "
        f"{found.overlap_high:.3f}; worst tenth of {asked} {found.overlap_worst:.3f}), "
        f"{found.milliseconds:.3g} ms a query, exact {found.exact_milliseconds:.3g} ms; "
        f"{found.measured_at:%Y-%m-%d %H:%M} UTC"
        + (", stale: much changed since" if found.stale else "")
    )


def _size(count: int) -> str:
    return f", {human_bytes(count)}" if count else ""
