"""Queries, made ready to be sent, or refused in the words of the database; see `inputs`.

Shapes  Q queries, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vecstore import options
from vecstore.errors import RequestError, VectorError
from vecstore.request import TokenQueries
from vecstore.schema import Schema
from vecstore.tokens import Tokens
from vecstore.types import Array
from vecstore_client.inputs import Fields, column, fields_in, or_refuse, row_bytes, tokens_in
from vecstore_proto.results import spans
from vecstore_proto.tensors import field_vectors_to_wire


@dataclass(frozen=True, slots=True)
class ReadQueries:
    """Queries that can be sent, whole or, once they are known to be sound, in runs."""

    fields: Fields
    count: int
    token_queries: TokenQueries

    def parts(self) -> list[slice]:
        """Runs of queries of about REQUEST_BYTES_TARGET."""
        sizes = np.zeros(self.count, dtype=np.int64)
        for values in self.fields.values():
            sizes += row_bytes(values)
        return [slice(*span) for span in spans(sizes.tolist(), options.REQUEST_BYTES_TARGET)]

    def to_wire(self, rows: slice, into: Any) -> None:
        """Write a run of queries into a request."""
        for field, values in self.fields.items():
            field_vectors_to_wire(field, values[rows], into.vectors.add())


def read_queries(schema: Schema, vectors: Any, *, many: bool, agg: str = "maxsim") -> ReadQueries:
    """Make queries ready to be sent; see `check_queries` of the database.

    Raises:
        InvalidInputError: what `Collection.search` raises for queries that cannot be sent.
    """

    def read() -> ReadQueries:
        fields, only = (
            fields_in(schema, vectors, partial(_queries if many else _query, alone=agg == "max")),
            schema.vectors[0].name,
        )
        if not fields or not all(isinstance(each, np.ndarray | Tokens) for each in fields.values()):
            raise VectorError("a query is None, expected numbers")
        counts = {len(each) for each in fields.values()} if many else {1}
        if len(counts) != 1:
            raise RequestError(f"fields have {counts} queries, expected as many for each")
        multi: TokenQueries = {
            name or only: () for name in fields if schema.vector(name or only).multi
        }
        queries = ReadQueries(fields, counts.pop(), multi)
        if many and len(queries.parts()) > 1:
            _check_queries(schema, vectors, many=many, agg=agg)
        return queries

    return or_refuse(read, lambda: _check_queries(schema, vectors, many=many, agg=agg))


def _query(values: Any, dim: int, *, alone: bool) -> Array:
    """One query of a multivector field; one vector may stand alone where it has no more."""
    given = column(values)
    if not isinstance(given, np.ndarray):
        raise VectorError("a query has vectors that are None")
    found: Array = given
    if alone and found.ndim == 1:
        found = found[np.newaxis]
    if found.shape[1:] != (dim,) or not len(found):
        raise VectorError("a query is no array of vectors")
    return found


def _queries(values: Any, dim: int, *, alone: bool) -> Tokens:
    """Many queries of a multivector field."""
    if not isinstance(values, list | tuple | np.ndarray):
        raise VectorError("queries are no list of arrays")
    if any(item is None for item in values):
        raise VectorError("a query is None, expected numbers")
    sets = [_query(item, dim, alone=alone) for item in values] if alone else list(values)
    found = tokens_in(sets, dim)
    assert isinstance(found, Tokens)
    return found


def _check_queries(schema: Schema, vectors: Any, *, many: bool, agg: str) -> None:
    from vecstore.ingest.batch import check_queries

    check_queries(schema, vectors, many=many, agg=agg)
