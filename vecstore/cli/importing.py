"""`vecstore import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import vecstore
from vecstore.cli.console import bars, say
from vecstore.cli.inspecting import Directory
from vecstore.cli.records import Keys, Source, open_sources
from vecstore.cli.wanted import FIELD, Wanted
from vecstore.cli.writing import Rule, Writer
from vecstore.errors import InvalidInputError
from vecstore.options import TTL_S_MAX
from vecstore.schema import check_name

CollectionName = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="Where to; made if there is none.")
]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, help=".npy, .npz, .jsonl or .parquet files."
    ),
]
IdFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Ids of the rows of .npy files: .npy, or text, one a line. Else row numbers.",
    ),
]
SkippedColumns = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A key or column to leave out of the payload; repeatable."),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave records whose id exists as they are.")
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Write records whose id exists again, whole: vector fields and payload that FILE "
        "does not carry are gone.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME:TYPE", help="New: a payload key to filter by; repeatable."),
]
TimeToLive = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Seconds after which the records of FILE expire."),
]


def import_(
    directory: Directory,
    collection: CollectionName,
    files: Files,
    *,
    ids: IdFile = None,
    first_id: Annotated[
        int | None, typer.Option(metavar="N", help="The first row number; 0 by default.")
    ] = None,
    id_key: Annotated[str, typer.Option(help="The key or column of ids.")] = "id",
    vector_key: Annotated[str, typer.Option(help="The key or column of vectors.")] = "vector",
    skip_column: SkippedColumns = None,
    skip_existing: SkipExisting = False,
    replace: Replace = False,
    field: Annotated[
        str | None, typer.Option(help=f"The vector field; a new collection's is {FIELD!r}.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="New: dimensions; else as in FILE.")] = None,
    metric: Annotated[str | None, typer.Option(help="New: cosine (default), dot or l2.")] = None,
    representations: Annotated[
        str | None, typer.Option(help="New: such as bits2,float16; else the default ladder.")
    ] = None,
    column: Columns = None,
    ttl: TimeToLive = None,
) -> None:
    """Write the records of files to a collection.

    An id that exists stops the import, so that nothing is overwritten unasked. With
    --skip-existing an interrupted import goes on where it was; --replace writes such records
    again. Options marked "New" say what a new collection is like; with one that exists they must
    agree.
    """
    if skip_existing and replace:
        raise typer.BadParameter("give one of --skip-existing and --replace, not both")
    if ids is not None and first_id is not None:
        raise typer.BadParameter("give one of --ids and --first-id, not both")
    _check_ttl(ttl)
    check_name("collection", collection)
    keys = Keys(id=id_key, vector=vector_key, left_out=frozenset(skip_column or ()))
    sources = open_sources(files, keys, ids, first_id=first_id or 0)
    wanted = Wanted(
        field=field, dim=dim, metric=metric, representations=representations, columns=column or ()
    )
    if not directory.exists():
        wanted.make(sources)  # what cannot be made leaves no directory behind
    with vecstore.open(directory) as db:
        new = collection not in db.collections()
        if new:
            target = db.create_collection(collection, wanted.make(sources))
        else:
            target = db.collection(collection)
        vector = wanted.find(target.schema, sources)
        rule: Rule = "skip" if skip_existing else "replace" if replace else "refuse"
        writer = Writer(target, vector.name, rule, ttl)
        try:
            _write_all(writer, sources)
        except BaseException:
            if new and not writer.written:
                db.drop_collection(collection)
            raise
        target.flush()
        if new:
            say(
                f"made collection {collection}: field {vector.name}, {vector.dim} dimensions, "
                f"{vector.metric}, {', '.join(vector.representations)}"
            )
        say(f"{writer.summary}; {collection} has {target.count():,}")


def _check_ttl(ttl: float | None) -> None:
    if ttl is not None and not 0 < ttl <= TTL_S_MAX:
        raise typer.BadParameter(f"--ttl is {ttl:g}, expected seconds above 0, up to {TTL_S_MAX:,}")


def _write_all(writer: Writer, sources: Sequence[Source]) -> None:
    try:
        with bars() as report:
            writer.write_all(sources, report)
    except InvalidInputError as error:
        raise type(error)(f"{error}. {writer.state}") from None
    except KeyboardInterrupt:
        say(writer.state, error=True)
        raise
