"""`vecstore compact` and `vecstore alter`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import counted, human_bytes, say, spinner
from vecstore.cli.inspecting import Directory
from vecstore.collection import Collection

Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection.")]


def compact(directory: Directory, collection: Name) -> None:
    """Merge segments, without deleted and expired records."""
    with _opened(directory, collection) as found:
        before = found.stats()
        with spinner("compacting"):
            found.compact()
        after = found.stats()
    say(
        f"{collection}: {counted(after.records, 'record')} in "
        f"{counted(after.segments, 'segment')}, {human_bytes(after.disk_bytes)} on disk; "
        f"before, {counted(before.segments, 'segment')}, {human_bytes(before.disk_bytes)}"
    )


def alter(
    directory: Directory,
    collection: Name,
    field: Annotated[str, typer.Argument(metavar="FIELD", help="The vector field.")],
    representations: Annotated[
        list[str],
        typer.Argument(metavar="SPEC...", help="Its whole new ladder, such as bits1 float16."),
    ],
) -> None:
    """Change the representations of a vector field.

    They are made from what is stored of its vectors. One that is left out is gone, and cannot be
    made again from a coarser one.
    """
    with _opened(directory, collection) as found:
        before = found.schema.vector(field).representations
        with spinner("altering"):
            found.alter(field, representations)
        after = found.schema.vector(field).representations
    say(f"{field} of {collection}: {', '.join(before)} became {', '.join(after)}")


@contextmanager
def _opened(directory: Path, collection: str) -> Iterator[Collection]:
    """A collection to be changed; a database that is not there is not made."""
    with vecstore.open(directory, read_only=True) as db:
        db.collection(collection)
    with vecstore.open(directory, options=vecstore.Options(background=False)) as db:
        yield db.collection(collection)
