"""`vecstore import`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

import vecstore
from vecstore.cli.console import Report, bars, say
from vecstore.cli.inspecting import Directory
from vecstore.cli.records import Chunk, Keys, Source, open_sources
from vecstore.cli.searching import choose_field
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import InvalidInputError, RequestError
from vecstore.schema import Column, Schema, Vector
from vecstore.types import Metric

FIELD = "vector"
MEND = "mend it and run the command again"


def import_(
    directory: Directory,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="Where to; made if there is none.")
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help=".npy, .jsonl or .parquet files."
        ),
    ],
    *,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Ids of the rows of .npy files: .npy, or text, one a line. Else row numbers.",
        ),
    ] = None,
    id_key: Annotated[str, typer.Option(help="The key or column of ids.")] = "id",
    vector_key: Annotated[str, typer.Option(help="The key or column of vectors.")] = "vector",
    field: Annotated[
        str | None, typer.Option(help=f"The vector field; a new collection's is {FIELD!r}.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="New: dimensions; else as in FILE.")] = None,
    metric: Annotated[str | None, typer.Option(help="New: cosine (default), dot or l2.")] = None,
    representations: Annotated[
        str | None, typer.Option(help="New: such as bits2,float16; else the default ladder.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:TYPE", help="New: a payload key to filter by; repeatable."),
    ] = None,
) -> None:
    """Write the records of files to a collection.

    Records whose id exists are replaced, so running it again is safe. Options marked "New" say
    what a new collection is like; with one that exists they must agree.
    """
    sources = open_sources(files, Keys(id=id_key, vector=vector_key), ids)
    columns = tuple(map(_column, column or ()))
    with vecstore.open(directory) as db:
        if collection in db.collections():
            target = db.collection(collection)
            wanted = choose_field(target.schema, field)
            _check_same(wanted, dim, metric, _split(representations))
            _check_columns(target.schema, columns)
        else:
            wanted = Vector(
                field or FIELD,
                _dim(sources) if dim is None else dim,
                cast(Metric, metric or "cosine"),
                _split(representations),
            )
            target = _create(db, collection, Schema(vectors=(wanted,), columns=columns))
        with bars() as report:
            written = _write_all(target, wanted.name, sources, report)
        target.flush()
        say(f"{written:,} records written; {collection} has {target.count():,}")


def _write_all(
    collection: Collection, field: str, sources: Sequence[Source], report: Report
) -> int:
    written = 0
    try:
        for source in sources:
            for chunk in source.chunks():
                for part in _accepted(collection, field, source, chunk):
                    written += part
                report(source.path.name, chunk.done, source.size)
    except InvalidInputError as error:
        raise type(error)(
            f"{error}. The {written:,} records before it are written; {MEND}"
        ) from None
    except KeyboardInterrupt:
        say(f"{written:,} records are written; the same command goes on", error=True)
        raise
    return written


def _accepted(collection: Collection, field: str, source: Source, chunk: Chunk) -> Iterator[int]:
    """Write a chunk and yield how many records were written, up to a bad one, which raises."""
    try:
        collection.upsert(chunk.ids, vectors={field: chunk.vectors}, payloads=chunk.payloads)
    except InvalidInputError as error:
        count = len(chunk.ids)
        if count == 1:
            place = f"{source.path} {source.unit} {chunk.places[0]:,}"
            raise type(error)(f"{place}: {error}") from None
        yield from _accepted(collection, field, source, chunk.part(0, count // 2))
        yield from _accepted(collection, field, source, chunk.part(count // 2, count))
    else:
        yield len(chunk.ids)


def _create(db: Database, name: str, schema: Schema) -> Collection:
    made = db.create_collection(name, schema)
    vector = made.schema.vectors[0]
    say(
        f"made collection {name}: field {vector.name}, {vector.dim} dimensions, {vector.metric}, "
        f"{', '.join(vector.representations)}"
    )
    return made


def _dim(sources: Sequence[Source]) -> int:
    for source in sources:
        found = source.dim()
        if found is not None:
            return found
    raise RequestError("the files have no vectors, expected some, or --dim")


def _split(representations: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in representations.split(",")) if representations else ()


def _column(text: str) -> Column:
    name, found, kind = text.rpartition(":")
    if not found:
        raise typer.BadParameter(f"--column is {text!r}, expected NAME:TYPE, such as year:int")
    return Column(name, cast(Any, kind))


def _check_same(
    found: Vector, dim: int | None, metric: str | None, representations: tuple[str, ...]
) -> None:
    """Raise RequestError where options say something else than the collection."""
    pairs = (
        ("--dim", dim, found.dim),
        ("--metric", metric, found.metric),
        ("--representations", sorted(representations) or None, sorted(found.representations)),
    )
    for option, asked, there in pairs:
        if asked is not None and asked != there:
            raise RequestError(
                f"{option} is {asked}, but field {found.name!r} of the collection has {there}; "
                "leave the option out, or import to another collection"
            )


def _check_columns(schema: Schema, columns: Sequence[Column]) -> None:
    for column in columns:
        if column not in schema.columns:
            there = ", ".join(f"{item.name}:{item.type}" for item in schema.columns) or "none"
            raise RequestError(
                f"--column is {column.name}:{column.type}, but the collection has {there}; "
                "leave the option out, or import to another collection"
            )
