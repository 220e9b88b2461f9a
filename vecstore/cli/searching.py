"""`vecstore search`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import vecstore
from vecstore.cli.arrays import load_array
from vecstore.cli.console import human_bytes, printable, say, table
from vecstore.cli.inspecting import Directory
from vecstore.collection import Collection
from vecstore.errors import NotFoundError, RequestError
from vecstore.schema import Schema, Vector
from vecstore.types import Array, Hits, Id, StageReport

NUMBER = re.compile(r"-?[0-9]+")


def search(
    directory: Directory,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION")],
    *,
    vector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            exists=True,
            dir_okay=False,
            help="A query vector [D], or vectors [n, D].",
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="ID", help="Search with the vector of this record.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Search with a text, embedded by wordllama (for vectors it made)."),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="The vector field; needed if there are several.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="A filter, such as \"year >= 2015 AND lang = 'en'\".")
    ] = None,
    limit: Annotated[int, typer.Option(help="Hits wanted.")] = 10,
    group_by: Annotated[
        str | None, typer.Option(help="Show the best record of each value of this column.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score every record with the finest representation.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each stage read and how long it took.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each hit, one a line.")
    ] = False,
) -> None:
    """Find the records nearest to a vector, a record or a text."""
    if sum(source is not None for source in (vector, like, text)) != 1:
        raise typer.BadParameter("give exactly one of --vector, --like and --text")
    if as_json and explain:
        raise typer.BadParameter("give one of --json and --explain, not both")
    with vecstore.open(directory, read_only=True) as db:
        found = db.collection(collection)
        wanted = choose_field(found.schema, field)
        if like is not None:
            query = _from_record(found, wanted.name, like)
        else:
            query = _from_text(text or "", wanted) if vector is None else _from_file(vector, wanted)
        asked = {wanted.name: query}
        hits = found.search(
            asked, limit=limit, where=where, group_by=group_by, exact=exact, explain=explain
        )
        if as_json:
            for hit in hits:
                say(json.dumps({"id": hit.id, "score": hit.score, "payload": hit.payload}))
        else:
            _show(hits)


def choose_field(schema: Schema, name: str | None) -> Vector:
    """The vector field of that name, or the only one.

    Raises:
        NotFoundError: there is none of that name.
        RequestError: no name, and several fields.
    """
    if name is not None:
        return schema.vector(name)
    if len(schema.vectors) > 1:
        names = ", ".join(item.name for item in schema.vectors)
        raise RequestError(
            f"no --field, and there are several vector fields, expected one: {names}"
        )
    return schema.vectors[0]


def _from_file(path: Path, field: Vector) -> Array:
    query = load_array(path)
    return query[0] if not field.multi and query.ndim == 2 and len(query) == 1 else query


def _from_record(collection: Collection, field: str, text: str) -> Array:
    """The vector of a record; a text of digits is an int, if there is one, and in quotes a str."""
    names: list[Id] = [text]
    if NUMBER.fullmatch(text) and abs(int(text)) < 1 << 63:
        names.insert(0, int(text))
    elif NUMBER.fullmatch(text.strip('"')):
        names.append(text.strip('"'))
    for record in collection.get(names, with_vectors=True):
        if record is not None and field in record.vectors:
            return record.vectors[field]
    raise NotFoundError(f"no record {text!r} with a vector in {field!r}")


def _from_text(text: str, field: Vector) -> Array:
    from vecstore.demo.embed import load_embedder

    if field.multi:
        raise RequestError(
            f"--text makes one vector, but {field.name!r} is a multivector field; give --vector, a "
            ".npy file of the query's vectors [n, D], or --like"
        )
    return np.asarray(load_embedder(dim=field.dim).embed([text])[0])


def _show(hits: Hits) -> None:
    if hits.partial:
        say("not everything could be read: hits may be missing", style="yellow", error=True)
    rows = [[f"{hit.score:.4f}", _shown(hit.id), printable(hit.payload)] for hit in hits]
    table(["score", "id", "payload"], rows, left=3)
    if hits.explain is not None:
        say()
        _explain(hits.explain)


def _explain(stages: tuple[StageReport, ...]) -> None:
    table(
        ["stage", "representation", "rows in", "rows out", "read", "ms", "kernel", "threads"],
        [
            [
                stage.stage,
                stage.representation,
                f"{stage.rows_in:,}",
                f"{stage.rows_out:,}",
                human_bytes(stage.bytes_read),
                f"{stage.milliseconds:.3f}",
                stage.kernel,
                f"{stage.threads}",
            ]
            for stage in stages
        ],
        left=2,
    )


def _shown(id_: Id) -> str:
    """An id; a str that looks like a number is in quotes."""
    return f'"{id_}"' if isinstance(id_, str) and NUMBER.fullmatch(id_) else printable(id_)
