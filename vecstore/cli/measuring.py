"""`vecstore recall`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import vecstore
from vecstore.cli.console import bars, say
from vecstore.cli.inspecting import recall_line
from vecstore.cli.records import Keys, open_sources
from vecstore.cli.searching import choose_field
from vecstore.cli.tokens import TokenVariable, read_token
from vecstore.cli.working import connected
from vecstore.errors import LockedError
from vecstore.schema import Vector
from vecstore.tokens import Tokens


def recall(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|DIR", help="A server, as host:port; or the directory of a database."
        ),
    ],
    collection: Annotated[str, typer.Argument(metavar="COLLECTION")],
    *,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Query vectors: .npy, .npz, .jsonl or .parquet, as for import. By default some "
            "that the server has answered.",
        ),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="The vector field; needed if there are several.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Hits to ask for.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="A filter, such as \"year >= 2015 AND lang = 'en'\".")
    ] = None,
    token: Annotated[str | None, typer.Option(help="What the server was started with.")] = None,
    token_env: TokenVariable = None,
) -> None:
    """Measure how much of the exact answers the default plan finds.

    The database keeps the result for `vecstore stats`, unless another process writes it.
    """
    with _opened(target, read_token(token, token_env)) as db, bars() as report:
        found = db.collection(collection)
        if queries is None:
            measured = found.measure_recall(field=field, limit=limit, where=where, progress=report)
        else:
            wanted = choose_field(found.schema, field)
            vectors = {wanted.name: _read(queries, wanted)}
            measured = found.measure_recall(vectors, limit=limit, where=where, progress=report)
    say(recall_line(measured))


@contextmanager
def _opened(target: str, token: str | None) -> Iterator[Any]:
    """A database: of a directory to be written if no other process does so."""
    if not Path(target).is_dir():
        with connected(target, token) as server:
            yield server
        return
    with vecstore.open(target, read_only=True):
        pass  # one that is not there is not made
    try:
        db = vecstore.open(target, options=vecstore.Options(background=False))
    except LockedError:
        db = vecstore.open(target, read_only=True)
    with db:
        yield db


def _read(path: Path, field: Vector) -> Any:
    """The queries in a file, for `measure_recall`."""
    (source,) = open_sources([path], Keys(id="id", vector="vector"), None)
    chunks = [chunk.vectors for chunk in source.chunks()]
    if field.multi:
        return [item for chunk in chunks for item in _sets(chunk)]
    arrays = [np.asarray(chunk) for chunk in chunks if len(chunk)]
    return np.concatenate(arrays) if arrays else np.empty((0, field.dim))


def _sets(chunk: Any) -> Any:
    if not isinstance(chunk, Tokens):
        return chunk
    bounds = chunk.offsets.tolist()
    return [chunk.vectors[start:stop] for start, stop in pairwise(bounds)]
