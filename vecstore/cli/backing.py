"""`vecstore snapshot`, `vecstore snapshots` and `vecstore restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import bars, human_bytes, say, table
from vecstore.cli.inspecting import Directory

Store = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The URL of an object store: s3://bucket/prefix.")
]


def snapshot(
    directory: Directory,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A new directory, or the URL of an object store: s3://bucket/prefix, file:///...",
        ),
    ],
) -> None:
    """Copy a database as of now, also while another process writes it.

    An interrupted copy is finished by the same command. In an object store only what no earlier
    snapshot has is uploaded.
    """
    with vecstore.open(directory, read_only=True) as db, bars() as report:
        made = db.snapshot(target, progress=report)
    name = f"snapshot {made.number}" if made.number else "copy"
    say(
        f"made {name} in {target}: {made.files:,} files, {human_bytes(made.bytes_total)}, "
        f"{human_bytes(made.bytes_new)} of them new"
    )


def snapshots(source: Store) -> None:
    """List the snapshots in an object store."""
    table(
        ["number", "made at (UTC)", "files", "bytes", "new"],
        [
            [
                str(made.number),
                made.created_at.strftime("%Y-%m-%d %H:%M:%S"),
                f"{made.files:,}",
                human_bytes(made.bytes_total),
                human_bytes(made.bytes_new),
            ]
            for made in vecstore.snapshots(source)
        ],
        left=2,
    )


def restore(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="What TARGET of `vecstore snapshot` was."),
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The new directory of the database.")
    ],
    number: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which snapshot of an object store; else the last one."),
    ] = None,
) -> None:
    """Make a database from a snapshot, and check it.

    An interrupted one is finished by the same command.
    """
    with bars() as report:
        vecstore.restore(source, directory, number=number, progress=report)
    with vecstore.open(directory, read_only=True) as db:
        names = db.collections()
    say(f"restored {directory}: {', '.join(names) or 'no collections'}; checked, and sound")
