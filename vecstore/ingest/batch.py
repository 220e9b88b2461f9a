"""The caller's arrays to one batch of checked records, so that a write happens whole or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.errors import DimensionError, IdError, PayloadError, RequestError
from vecstore.ingest.payloads import check_payloads
from vecstore.ingest.ttl import Ttl, to_expires
from vecstore.ingest.vectors import to_queries, to_vectors
from vecstore.options import BATCH_BYTES_MAX, BATCH_ROWS_MAX
from vecstore.schema import Schema, Vector
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import encode_id
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.types import Codes, Float32, Id, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """N checked records, each id once: rows that have no seqs yet."""

    ids: Ragged
    payloads: Ragged
    columns: dict[str, ColumnData]
    vectors: dict[str, FieldVectors]
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
            has none; or what `take_codes` gives for codes. A field that is left out is one that
            no record has. Where the schema has one vector field, also what would stand for it
            alone. None: no record has any.
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
        expires=None if batch.expires is None else batch.expires[kept],
    )


def check_ids(ids: object) -> list[bytes]:
    """Encode a list or array of ids.

    Raises:
        IdError: it is something else, or one of them is no id.
    """
    return [encode_id(id_) for id_ in _to_ids(ids)]


def check_queries(schema: Schema, vectors: object, *, many: bool) -> tuple[str, Float32]:
    """Check one query [D], or many [Q, D]; cosine queries come back at unit length.

    Args:
        schema: the fields of the collection.
        vectors: field name -> query or queries, for one field. Where the schema has one vector
            field, also what would stand for it alone.
        many: whether it is many.

    Returns:
        The name of the field, and float32 [Q, D] that may share memory with `vectors`.

    Raises:
        DimensionError, VectorError: the query cannot be used.
        NotFoundError: no such vector field.
        RequestError: not exactly one field.
    """
    named = _name_field(schema, vectors)
    if len(named) != 1:
        raise RequestError(f"search has queries for {len(named)} vector fields, expected one")
    [(name, given)] = named.items()
    return name, to_queries(schema.vector(name), given, many=many)


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
        elif field.name in given:
            found[field.name] = to_vectors(field, given[field.name], ids, dtype)
        else:
            found[field.name] = FieldVectors.empty(field.dim, len(ids), dtype)
    return found


def _to_coded(field: Vector, given: Any, count: int) -> FieldVectors:
    """Codes of every record; those that nobody has checked are those that a server shall check."""
    codes = given.codes if isinstance(given, Codes) else given.values
    if len(codes) != count:
        raise DimensionError(
            f"codes of shape {codes.shape} for {count} ids and field {field.name!r}, expected one "
            "for each"
        )
    unchecked = FieldVectors.empty(field.dim, count, np.dtype(np.float32))
    return unchecked if isinstance(given, Codes) else given


def _bytes(field: Vector, given: object, count: int) -> int:
    if isinstance(given, Codes):
        return given.codes.nbytes
    return given.values.nbytes if isinstance(given, FieldVectors) else count * 4 * field.dim


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
