"""How precisely the write buffer keeps vectors, when the ladder of a field changes.

It holds what the finest representation keeps (see `float_dtype`), so that a flush changes no
exact score. Another ladder may want another dtype of the batches that wait there. Codes that came
ready-made stay what they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vecstore import options
from vecstore.codec.ladder import float_dtype
from vecstore.ingest.tokens import owners_of
from vecstore.ingest.vectors import FLOAT16_MAX, check_float16, fits_float16
from vecstore.schema import Schema, Vector
from vecstore.segment.format import pack_arrays, unpack_arrays
from vecstore.segment.ids import decode_id
from vecstore.segment.reduction import reduce_rows
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.snapshot import Live, live_field_rows
from vecstore.segment.vectors import code_rows, code_spans
from vecstore.storage import keys
from vecstore.storage.kv import Txn


def buffer_dtypes(schema: Schema) -> dict[str, np.dtype[Any]]:
    """How the write buffer keeps each vector field."""
    return {vector.name: float_dtype(vector) for vector in schema.vectors}


def fit_rows(rows: Rows, had: Schema, schema: Schema, *, stored: bool = False) -> Rows:
    """Rows as the write buffer keeps them; `rows` itself where they are so already.

    Args:
        rows: of a collection with a schema.
        had: the schema, with other ladders and policies perhaps.
        schema: what it is now.
        stored: what lives of them was checked. Of what died values beyond float16 are cut off, and
            tokens without the salience that a policy needs stay.

    Raises:
        VectorError: a value is beyond float16, or a policy needs salience that is not known.
    """
    if had != schema:
        rows = reduce_rows(rows, had, schema, stored=stored)
    fitted: dict[str, FieldVectors] = {}
    for vector in schema.vectors:
        found = rows.vectors[vector.name]
        if found.encoding is None and found.values.dtype != float_dtype(vector):
            fitted[vector.name] = _fit(rows, vector, check=not stored)
    return replace(rows, vectors={**rows.vectors, **fitted}) if fitted else rows


def _fit(rows: Rows, vector: Vector, *, check: bool) -> FieldVectors:
    found, dtype = rows.vectors[vector.name], float_dtype(vector)
    values = found.values.astype(np.float32, copy=False)
    if dtype == np.float16 and vector.metric != "cosine" and not fits_float16(values):
        if check:
            own = np.arange(len(rows)) if found.rows is None else found.rows.astype(np.int64)
            ids = [decode_id(id_) for id_ in rows.ids.pick(own)]
            check_float16(vector, values, owners_of(found.tokens, ids))
        values = np.clip(values, -FLOAT16_MAX, FLOAT16_MAX)
    with np.errstate(under="ignore"):
        return replace(found, values=values.astype(dtype, copy=False))


def fit_buffer(txn: Txn, collection: int, had: Schema, schema: Schema) -> None:
    """Store the batches of the write buffer again as a schema wants them, which had another one.

    What lives there was checked; of deleted rows, values beyond float16 are cut off.
    """
    batches = [key for key, _ in txn.scan(keys.BUFFER, *keys.collection_range(collection))]
    for key in batches:
        rows = Rows.from_arrays(unpack_arrays(txn.get(keys.BUFFER, key) or b""), schema)
        fitted = fit_rows(rows, had, schema, stored=True)
        if fitted is not rows:
            txn.put(keys.BUFFER, key, pack_arrays(fitted.to_arrays()))


def check_fits(live: Live, wanted: Vector) -> None:
    """Raise VectorError where float16 is to be the finest and cannot hold a live vector.

    As an upsert does. What is dropped was finer, and kept the values that float16 cuts off.
    """
    if not live.allowed(wanted.name).count:
        return
    finest = live.source.specs(wanted.name)[-1]
    if float_dtype(wanted) != np.float16 or wanted.metric == "cosine" or finest != "float32":
        return
    codes = live.source.codes(wanted.name, finest)
    assert codes is not None
    alive, of_field = live_field_rows(live, wanted.name), live.source.field_rows(wanted.name)
    step = max(1, options.CHUNK_BYTES // (4 * wanted.dim))
    for rows in code_spans(live.source, wanted.name, alive, step):
        read = code_rows(live.source, wanted.name, rows)
        codes.touch(read)
        values = codes.parts["values"][read]
        if not fits_float16(values):
            own = rows if of_field is None else of_field[rows].astype(np.int64)
            ids = [decode_id(id_) for id_ in live.source.ids(own)]
            tokens = live.source.tokens(wanted.name)
            owners = owners_of(None if tokens is None else tokens.take(rows), ids)
            check_float16(wanted, values, owners)
