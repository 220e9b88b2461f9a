"""`vecstore stats` and `vecstore check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import human_bytes, say, spinner, table
from vecstore.types import CollectionStats

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
        say(json.dumps({name: asdict(item) for name, item in found.items()}))
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
    with vecstore.open(directory, read_only=True) as db:
        with spinner("checking"):
            problems = db.check()
        count = len(db.collections())
    for problem in problems:
        say(problem, style="red")
    if problems:
        say(_counted(len(problems), "problem"), error=True)
        raise typer.Exit(1)
    say(f"sound: {_counted(count, 'collection')} checked")


def _show(name: str, found: CollectionStats) -> None:
    say(
        f"{name}: {_counted(found.records, 'record')} "
        f"({found.buffered:,} in the write buffer), {found.deleted:,} deleted, "
        f"{_counted(found.segments, 'segment')}, {human_bytes(found.disk_bytes)} on disk"
    )
    table(
        ["field", "representation", "vectors", "bytes/vector", "compression", "on disk"],
        [
            [
                item.field,
                item.spec,
                f"{item.vectors:,}",
                f"{item.bytes_per_vector:.1f}" if item.vectors else "-",
                f"{item.compression:.1f}x" if item.vectors else "-",
                human_bytes(item.bytes_total),
            ]
            for item in found.representations
        ],
        left=2,
    )


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
