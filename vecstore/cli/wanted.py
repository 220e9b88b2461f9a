"""The collection that the options of an import ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import typer

from vecstore.cli.records import Source
from vecstore.cli.searching import choose_field
from vecstore.codec.ladder import resolve_schema
from vecstore.errors import RequestError
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.types import Metric

FIELD = "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options say, as they are given; None where they say nothing."""

    field: str | None
    dim: int | None
    metric: str | None
    representations: str | None
    columns: Sequence[str]

    def make(self, sources: Sequence[Source]) -> Schema:
        """The schema of a new collection.

        Raises:
            SchemaError: the options ask for one that cannot be.
            RequestError: the files have vectors of other dimensions, or none to take them from.
        """
        dim = _dim(sources) if self.dim is None else self.dim
        metric = cast(Metric, self.metric or "cosine")
        kind = MultiVector if any(source.several() for source in sources) else Vector
        vector = kind(self.field or FIELD, dim, metric, self._ladder())
        schema = resolve_schema(Schema(vectors=(vector,), columns=self._columns()))
        _check_dims(sources, vector)
        return schema

    def find(self, schema: Schema, sources: Sequence[Source]) -> Vector:
        """The vector field of an existing collection.

        Raises:
            NotFoundError: there is none of that name.
            RequestError: the options or the files say something else than the collection.
        """
        found = choose_field(schema, self.field)
        pairs: tuple[tuple[str, object, object], ...] = (
            ("--dim", self.dim, found.dim),
            ("--metric", self.metric, found.metric),
            ("--representations", sorted(self._ladder()) or None, sorted(found.representations)),
        )
        for option, value, actual in pairs:
            if value is not None and value != actual:
                raise _other(option, value, f"field {found.name!r} of the collection has {actual}")
        for column in self._columns():
            if column not in schema.columns:
                there = ", ".join(f"{item.name}:{item.type}" for item in schema.columns) or "none"
                raise _other(
                    "--column", f"{column.name}:{column.type}", f"the collection has {there}"
                )
        _check_dims(sources, found)
        return found

    def _ladder(self) -> tuple[str, ...]:
        texts = self.representations.split(",") if self.representations else ()
        return tuple(text.strip() for text in texts)

    def _columns(self) -> tuple[Column, ...]:
        return tuple(map(_column, self.columns))


def _column(text: str) -> Column:
    name, found, kind = text.rpartition(":")
    if not found:
        raise typer.BadParameter(f"--column is {text!r}, expected NAME:TYPE, such as year:int")
    return Column(name, cast(Any, kind))


def _other(option: str, value: object, there: str) -> RequestError:
    return RequestError(
        f"{option} is {value}, but {there}; leave the option out, or import to another collection"
    )


def _dim(sources: Sequence[Source]) -> int:
    for source in sources:
        found = source.dim()
        if found is not None:
            return found
    raise RequestError("the files have no vectors, expected some, or --dim")


def _check_dims(sources: Sequence[Source], vector: Vector) -> None:
    """Raise RequestError where the first vector of a file does not fit the field."""
    for source in sources:
        found = source.dim()
        if found is not None and source.several() != vector.multi:
            raise RequestError(
                f"{source.path} has {'several vectors' if source.several() else 'one vector'} for "
                f"each record, expected {'several' if vector.multi else 'one'} for field "
                f"{vector.name!r}"
            )
        if found not in (None, vector.dim):
            raise RequestError(
                f"{source.path} has vectors of {found:,} dimensions, expected {vector.dim:,} "
                f"for field {vector.name!r}"
            )
