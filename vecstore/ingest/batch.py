"""The caller's arrays to one batch of checked records, so that a write happens whole or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vecstore.errors import DimensionError, IdError, PayloadError, RequestError
from vecstore.ingest.payloads import check_payloads
from vecstore.ingest.tokens import to_token_queries, to_tokens, token_count
from vecstore.ingest.ttl import Ttl, to_expires
from vecstore.ingest.vectors import to_queries, to_vectors
from vecstore.options import BATCH_BYTES_MAX, BATCH_ROWS_MAX
from vecstore.request import TokenQueries
from vecstore.schema import MultiVector, Schema, Vector
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import encode_id
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.types import Codes, Float32, Id, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """N checked records, each id once: rows that have no seqs yet, fit for the schema of then."""

    ids: Ragged
    payloads: Ragged
    columns: dict[str, ColumnData]
    vectors: dict[str, FieldVectors]
    schema: Schema
    expires: Int64 | None = None

    @property
    def nbytes(self) -> int:
        """About the bytes that it takes in the write buffer."""
        values = sum(found.values.nbytes for found in self.vectors.values())
        return values + self.payloads.data.nbytes + self.ids.data.nbytes

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, first_seq: int) -> Rows:
        """The records as rows with the seqs `first_seq`, `first_seq` + 1, and so on."""
        seqs = np.arange(first_seq, first_seq + len(self), dtype=np.uint64)
        return Rows(
            seqs=seqs,
            ids=self.ids,
            payloads=self.payloads,
            columns=self.columns,
            vectors=self.vectors,
            expires=self.expires,
        )


def make_batch(
    schema: Schema,
    ids: object,
    vectors: object,
    payloads: object,
    *,
    dtypes: Mapping[str, np.dtype[Any]] | None = None,
    ttl: Ttl | None = None,
) -> Batch:
    """Check N records and copy them; nothing that was given is changed or kept.

    Where an id comes more than once, its last record wins, at the place of that one.

    Args:
        schema: the fields of the collection.
        ids: N ids, a list or an array.
        vectors: field name -> [N, D] numbers, or a list of N vectors with None where a record
            has none; or what `take_codes` gives for codes. For a multivector field a list of N
            arrays [t, D], or Tokens. A field that is left out is one that no record has. Where the
            schema has one vector field, also what would stand for it alone. None: no record has
            any.
        payloads: a list of N dicts, JSON objects as bytes, or None; None for no payloads.
        dtypes: field name -> float16 or float32, what to keep of its vectors; float32 for a
            field that is left out.
        ttl: how long the records live from when on; None: for ever.

    Raises:
        IdError, DimensionError, VectorError, PayloadError: what was given cannot be used.
        NotFoundError: no such vector field.
        RequestError: more than BATCH_ROWS_MAX records, BATCH_BYTES_MAX of vectors as float32, or
            no such ttl_s.
    """
    names = _to_ids(ids)
    if len(names) > BATCH_ROWS_MAX:
        raise RequestError(f"batch has {len(names):,} records, expected at most {BATCH_ROWS_MAX:,}")
    given = _given(schema, vectors)
    size = sum(
        _bytes(field, given[field.name], len(names))
        for field in schema.vectors
        if field.name in given
    )
    if size > BATCH_BYTES_MAX:
        raise RequestError(
            f"batch has {size:,} bytes of vectors, expected at most {BATCH_BYTES_MAX:,}"
        )
    keys = [encode_id(name) for name in names]
    texts, columns = check_payloads(_to_payloads(payloads, len(names)), names, schema.columns)
    batch = Batch(
        ids=Ragged.from_list(keys),
        payloads=texts,
        columns=columns,
        vectors=_check_fields(schema, vectors, names, dtypes or {}),
        schema=schema,
        expires=None if ttl is None else to_expires(ttl, schema.ttl_s, len(names)),
    )
    last = dict(zip(keys, range(len(keys)), strict=True))
    if len(last) == len(keys):
        return batch
    kept = np.array(sorted(last.values()), dtype=np.int64)
    return Batch(
        ids=batch.ids.take(kept),
        payloads=batch.payloads.take(kept),
        columns={name: column.take(kept) for name, column in batch.columns.items()},
        vectors={name: field.take(kept) for name, field in batch.vectors.items()},
        schema=schema,
        expires=None if batch.expires is None else batch.expires[kept],
    )


def check_ids(ids: object) -> list[bytes]:
    """Encode a list or array of ids.

    Raises:
        IdError: it is something else, or one of them is no id.
    """
    return [encode_id(id_) for id_ in _to_ids(ids)]


def check_ids_asked(ids: object, what: str, most: int) -> list[bytes]:
    """The same of ids that `what` shall read, RequestError where they are more than `most`."""
    encoded = check_ids(ids)
    if len(encoded) > most:
        raise RequestError(f"{what} has {len(encoded):,} ids, expected at most {most:,}")
    return encoded


class Asked(NamedTuple):
    """The checked queries of a search, Q for each field.

    Attributes:
        field: the vector field, or "".
        queries: float32 [Q, D], which may share memory with what was given; [Q, 0] without a
            vector field.
        token_queries: those of multivector fields.
    """

    field: str
    queries: Float32
    token_queries: TokenQueries


def check_queries(schema: Schema, vectors: object, *, many: bool, agg: str = "maxsim") -> Asked:
    """Check one query, or many; cosine queries come back at unit length.

    Args:
        schema: the fields of the collection.
        vectors: field name -> query or queries: [D] or [Q, D] of a vector field, [n, D] or a list
            of Q of these of a multivector field. Where the schema has one field, also what would
            stand for it alone.
        many: whether it is many.
        agg: "max" where queries of multivector fields are one vector each.

    Raises:
        DimensionError, VectorError: the query cannot be used.
        NotFoundError: no such vector field.
        RequestError: no field, several vector fields, or other numbers of queries.
    """
    named = _name_field(schema, vectors)
    if len(named) == 1:
        [(name, given)] = named.items()
        field = schema.vector(name)
        if not isinstance(field, MultiVector):
            return Asked(name, to_queries(field, given, many=many), {})
    return _check_fields_asked(schema, named, many=many, agg=agg)


def _check_fields_asked(
    schema: Schema, named: Mapping[str, object], *, many: bool, agg: str
) -> Asked:
    """At most one vector field, and multivector fields."""
    found: dict[str, Sequence[Float32]] = {}
    field, queries = "", None
    for name, given in named.items():
        vector = schema.vector(name)
        if isinstance(vector, MultiVector):
            found[name] = to_token_queries(vector, given, many=many, agg=agg)
        elif queries is None:
            field, queries = name, to_queries(vector, given, many=many)
    dense = sum(name not in found for name in named)
    if dense > 1 or not named:
        raise RequestError(f"search has queries for {dense} vector fields, expected one")
    counts = {name: len(each) for name, each in found.items()}
    if queries is None:
        queries = np.empty((next(iter(counts.values())), 0), dtype=np.float32)
    for name, count in counts.items():
        if count != len(queries):
            raise RequestError(
                f"search has {count} queries for field {name!r} and {len(queries)} for another, "
                "expected as many for each field"
            )
    return Asked(field, queries, found)


def _name_field(schema: Schema, vectors: object) -> Mapping[str, object]:
    """Field name -> vectors, where vectors may also stand alone for the only field."""
    if not isinstance(vectors, np.ndarray) and isinstance(vectors, Mapping):  # slow to find out
        return vectors
    if len(schema.vectors) > 1:
        names = ", ".join(repr(field.name) for field in schema.vectors)
        raise RequestError(
            f"vectors are a {type(vectors).__name__} for a collection with the fields {names}, "
            'expected a dict such as {"field": vectors}'
        )
    return {schema.vectors[0].name: vectors}


def _to_ids(ids: object) -> list[Any]:
    if isinstance(ids, np.ndarray) and ids.ndim == 1:
        return list(ids.tolist())
    if isinstance(ids, Iterable) and not isinstance(ids, str | bytes | np.ndarray | Mapping | Set):
        return list(ids)
    raise IdError(f"ids are {type(ids).__name__}, expected a list or an array [N] of ids")


def _given(schema: Schema, vectors: object) -> Mapping[str, object]:
    return {} if vectors is None else _name_field(schema, vectors)


def _check_fields(
    schema: Schema, vectors: object, ids: Sequence[Id], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, FieldVectors]:
    given = _given(schema, vectors)
    for name in given:
        schema.vector(name)
    found = {}
    for field in schema.vectors:
        dtype = dtypes.get(field.name, np.dtype(np.float32))
        if isinstance(given.get(field.name), Codes | FieldVectors):
            found[field.name] = _to_coded(field, given[field.name], len(ids))
        elif field.name not in given:
            found[field.name] = FieldVectors.empty(field, len(ids), dtype)
        elif isinstance(field, MultiVector):
            found[field.name] = to_tokens(field, given[field.name], ids, dtype)
        else:
            found[field.name] = to_vectors(field, given[field.name], ids, dtype)
    return found


def _to_coded(field: Vector, given: Any, count: int) -> FieldVectors:
    """Codes of every record; those that nobody has checked are those that a server shall check."""
    codes = given.codes if isinstance(given, Codes) else given.values
    if len(codes) != count:
        raise DimensionError(
            f"codes of shape {codes.shape} for {count} ids and field {field.name!r}, expected one "
            "for each"
        )
    unchecked = FieldVectors.empty(field, count, np.dtype(np.float32))
    return unchecked if isinstance(given, Codes) else given


def _bytes(field: Vector, given: object, count: int) -> int:
    if isinstance(given, Codes):
        return given.codes.nbytes
    if isinstance(given, FieldVectors):
        return given.values.nbytes
    return 4 * field.dim * (token_count(given) if field.multi else count)


def _to_payloads(payloads: object, count: int) -> Sequence[Any]:
    if payloads is None:
        return [None] * count
    if not isinstance(payloads, list | tuple):
        raise PayloadError(
            f"payloads are a {type(payloads).__name__}, expected a list of a dict or None per id"
        )
    if len(payloads) != count:
        raise PayloadError(f"{len(payloads)} payloads for {count} ids, expected one for each")
    return payloads
