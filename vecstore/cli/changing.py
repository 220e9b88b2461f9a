"""`vecstore compact` and `vecstore alter`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import counted, human_bytes, say, spinner, wrong_use
from vecstore.cli.inspecting import Directory
from vecstore.collection import Collection
from vecstore.errors import LockedError, NotADatabaseError
from vecstore.ingest.alter_plan import Order, told
from vecstore.schema import Schema

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
        list[str] | None,
        typer.Argument(metavar="[SPEC]...", help="Its whole new ladder, such as bits1 float16."),
    ] = None,
    pruning: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Of a multivector field, such as coverage0.5."),
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(metavar="POLICY", help="Of a multivector field, such as ward3.")
    ] = None,
) -> None:
    """Change the representations of a vector field, or prune and pool what is stored of it.

    They are made from what is stored of its vectors. What is left out or pruned is gone, and cannot
    be made again.
    """
    order = Order(field, representations or None, pruning, pooling)

    def check(schema: Schema) -> None:
        schema.vector(field)
        with wrong_use():
            order.altered(schema)

    with _opened(directory, collection, check) as found:
        before = told(found.schema.vector(field))
        with spinner("altering"):
            found.alter(field, order.representations, pruning=pruning, pooling=pooling)
        after = told(found.schema.vector(field))
    say(f"{field} of {collection}: {before} became {after}")


@contextmanager
def _opened(
    directory: Path, collection: str, check: Callable[[Schema], None] = lambda _: None
) -> Iterator[Collection]:
    """A collection to be changed, once its schema is checked; what is not there is not made."""
    if not directory.exists():
        raise NotADatabaseError(f"{directory} does not exist; give the directory of a database")
    with vecstore.open(directory, read_only=True) as db:
        check(db.collection(collection).schema)
    try:
        db = vecstore.open(directory, options=vecstore.Options(background=False))
    except LockedError as error:
        reason = str(error).partition(";")[0]
        raise LockedError(
            f"{reason}; call the method of the same name in that process, or where it is a server, "
            "through vecstore.connect"
        ) from None
    with db:
        yield db.collection(collection)
