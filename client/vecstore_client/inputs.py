"""What users pass, made ready to be sent, or refused in the words of the database.

Whatever a message can hold is sent as it is, for the server to judge. What no message can hold
(ragged lists, ids that are no ids, payloads that are not JSON) is refused here, by the functions
with which the embedded database refuses it; they are imported when needed, and need no storage. So
is the engine's own `FieldCodec`, which encodes here.

Shapes  N records, Q queries, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from vecstore import options
from vecstore.errors import (
    CodecError,
    FilterError,
    InvalidInputError,
    PayloadError,
    RequestError,
    SchemaError,
    VectorError,
)
from vecstore.schema import Schema, check_name, check_ttl, with_policies
from vecstore.tokens import Tokens
from vecstore.types import Codes, Id
from vecstore_proto.codecs import CodecValues
from vecstore_proto.convert import ids_to_wire, payloads_to_wire
from vecstore_proto.results import spans
from vecstore_proto.tensors import as_numbers, field_vectors_to_wire, tokens_of
from vecstore_proto.v1 import common_pb2

if TYPE_CHECKING:
    from vecstore.ingest.coded import FieldCodec

Value = TypeVar("Value")
Fields = dict[str | None, Any]
"""Field (None for the only one) -> array [N, D], N codes, or a list with None for records that lack
it."""

ReadTokens = Callable[[Any, int], Any]
"""Reads vectors of a multivector field of that dimension."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch that can be sent, whole or in runs of records."""

    ids: Sequence[Id]
    fields: Fields
    payloads: Sequence[bytes] | None
    ttl_s: Sequence[float] | None

    def parts(self) -> list[slice]:
        """Runs of records of about REQUEST_BYTES_TARGET."""
        sizes = np.full(len(self.ids), 16, dtype=np.int64)
        for values in self.fields.values():
            sizes += row_bytes(values)
        if self.payloads is not None:
            sizes += np.fromiter(map(len, self.payloads), np.int64, len(self.payloads))
        return [slice(*span) for span in spans(sizes.tolist(), options.REQUEST_BYTES_TARGET)]

    def to_wire(self, rows: slice, into: common_pb2.Records) -> None:
        """Write a run of records into a message."""
        into.ids.CopyFrom(ids_to_wire(self.ids[rows]))
        for field, values in self.fields.items():
            field_vectors_to_wire(field, values[rows], into.vectors.add())
        if self.payloads is not None:
            into.payloads.SetInParent()
            into.payloads.json.extend(self.payloads[rows])
        if self.ttl_s is not None:
            into.ttl_s.extend(self.ttl_s[rows])


def read_batch(schema: Schema, ids: Any, vectors: Any, payloads: Any, ttl_s: Any) -> ReadBatch:
    """Make a batch ready to be sent.

    Raises:
        InvalidInputError: what `Collection.upsert` raises for a batch that cannot be sent.
    """
    ids = as_ids(ids)

    def read() -> ReadBatch:
        fields = fields_in(schema, vectors)
        _check_size(schema, len(ids), fields)
        batch = ReadBatch(ids, fields, _json(payloads), _seconds(ttl_s, len(ids)))
        columns = [*batch.fields.values(), *([] if payloads is None else [batch.payloads])]
        if any(len(column) != len(ids) for column in columns):
            raise RequestError(f"columns of the batch differ in length, expected {len(ids)}")
        ids_to_wire(ids)
        return batch

    return or_refuse(read, lambda: _check_batch(schema, ids, vectors, payloads, ttl_s))


def as_ids(ids: Any) -> Any:
    """Ids as a list or tuple; IdError for what is no sequence of ids."""
    if isinstance(ids, list | tuple):
        return ids
    if isinstance(ids, np.ndarray) and ids.ndim == 1:
        return ids.tolist()
    from vecstore.ingest.batch import check_ids

    found = list(ids) if isinstance(ids, Iterator) else ids
    check_ids(found)
    return list(found)


def read_ids(ids: Any) -> common_pb2.Ids:
    """Ids as a message, or IdError naming the one that cannot be."""
    ids = as_ids(ids)

    def refuse() -> None:
        from vecstore.ingest.batch import check_ids

        check_ids(ids)

    return or_refuse(lambda: ids_to_wire(ids), refuse)


def check_ids_asked(ids: Any, what: str) -> None:
    """Raise IdError or RequestError for what are no ids, or too many, to `what` them."""
    from vecstore.ingest.batch import check_ids_asked as check

    if len(ids) > options.LIMIT_MAX:
        check(ids, what, options.LIMIT_MAX)


def read_where(schema: Schema, where: Any) -> str | None:
    """A filter that can be sent, or FilterError."""
    if where is None or (isinstance(where, str) and _is_utf8(where)):
        return where
    from vecstore.search.where import parse_where

    parse_where(where, schema.columns)
    raise FilterError("where holds a character that UTF-8 cannot hold")


def check_collection_name(name: Any) -> None:
    """Raise SchemaError for what no message can hold as a name."""
    if not isinstance(name, str) or not _is_utf8(name):
        check_name("collection", name)


def check_schema(schema: Any) -> None:
    """Raise SchemaError for what is not a schema, or none that a message can hold."""
    if not isinstance(schema, Schema):
        raise SchemaError(f"schema is {schema!r}, expected Schema(vectors=[Vector(...)])")
    if not all(_is_utf8(spec) for vector in schema.vectors for spec in vector.representations):
        from vecstore.codec.ladder import resolve_schema

        resolve_schema(schema)


def read_ladder(schema: Schema, field: Any, representations: Any) -> Sequence[str]:
    """Representations that can be sent, for a field of that name.

    Raises:
        NotFoundError: there is none.
        SchemaError: they are no list of representations.
    """
    wanted = replace(schema.vector(field), representations=representations)
    check_schema(Schema(vectors=(wanted,)))
    return wanted.representations


def read_policies(
    schema: Schema, field: Any, pruning: Any, pooling: Any
) -> tuple[str | None, str | None]:
    """The policies that can be sent, for a field of that name.

    Raises:
        NotFoundError: there is none.
        SchemaError: they can be no policies.
    """
    with_policies(schema.vector(field), pruning, pooling)
    if not _is_utf8(f"{pruning}{pooling}"):
        from vecstore.multivector.policy import parse

        parse(pruning or "", "pruning")
        parse(pooling or "", "pooling")
    return pruning, pooling


def read_spec(schema: Schema, field: Any, spec: Any) -> str | None:
    """A representation that can be sent, of a field of that name, or NotFoundError."""
    vector = schema.vector(field)
    if spec is None or (isinstance(spec, str) and _is_utf8(spec)):
        return spec
    return vector.representation(spec)


def make_codec(field: str, values: CodecValues) -> FieldCodec:
    """The codec that a server told.

    Raises:
        CodecError: here it makes other codes than there.
    """
    from vecstore.ingest.coded import FieldCodec

    made = FieldCodec(
        field=field,
        spec=values.spec,
        dim=values.dim,
        metric=values.metric,
        params=values.params,
    )
    if made.fingerprint != values.fingerprint:
        raise CodecError(
            f"the codec of field {field!r} has fingerprint {made.fingerprint!r} here, expected "
            f"{values.fingerprint!r}, as in the server: use the same version of vecstore"
        )
    return made


def check_cursor(after: Any) -> None:
    """Raise RequestError for what is not the cursor of a page."""
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after < 1 << 63:
        raise RequestError(f"after is {after!r}, expected the cursor of a page before, or 0")


def or_refuse(read: Callable[[], Value], refuse: Callable[[], object]) -> Value:
    """What `read` gives; where it cannot, what `refuse` raises, or else the reason of `read`."""
    try:
        return read()
    except InvalidInputError:
        refuse()
        raise


def fields_in(schema: Schema, vectors: Any, tokens: ReadTokens | None = None) -> Fields:
    """Vectors by field; `tokens` reads those of multivector fields."""
    tokens = tokens or tokens_in
    if vectors is None:
        return {}
    if isinstance(vectors, Mapping):
        if not all(isinstance(field, str) and _is_utf8(field) for field in vectors):
            raise VectorError("the name of a field is not a str")
        dims = {field.name: field.dim for field in schema.vectors if field.multi}
        return {
            field: tokens(values, dims[field]) if field in dims else column(values)
            for field, values in vectors.items()
        }
    if len(schema.vectors) != 1:
        raise VectorError("vectors are not a dict, expected one of field -> array")
    (field,) = schema.vectors
    return {None: tokens(vectors, field.dim) if field.multi else column(vectors)}


def tokens_in(values: Any, dim: int) -> Tokens | Codes:
    """Tokens of records, or codes, which the server refuses."""
    if isinstance(values, Codes):
        return values
    if not isinstance(values, Tokens):
        if not isinstance(values, list | tuple):
            raise VectorError("vectors are no list of arrays")
        sets = [None if item is None else column(item) for item in values]
        if any(item is not None and (item.shape[1:] != (dim,) or not len(item)) for item in sets):
            raise VectorError("a record has no array of vectors")
        return tokens_of(sets, dim)
    offsets, vectors = as_numbers(values.offsets), column(values.vectors)
    whole = offsets.ndim == 1 and len(offsets) and offsets.dtype.kind in "iu"
    if (
        not whole
        or vectors.shape[1:] != (dim,)
        or offsets[0]
        or offsets[-1] != len(vectors)
        or (np.diff(offsets) < 0).any()
    ):
        raise VectorError("offsets do not ascend from 0 to the number of vectors")
    salience = None if values.salience is None else column(values.salience)
    if salience is not None and salience.shape != (len(vectors),):
        raise VectorError("salience is not one number for each vector")
    return Tokens(vectors, offsets.astype(np.int64), salience)


def column(values: Any) -> Any:
    """An array of numbers, codes, or a list in which some vectors are None."""
    if isinstance(values, Codes):
        return values
    if not isinstance(values, np.ndarray):
        if isinstance(values, list | tuple) and any(vector is None for vector in values):
            as_numbers([vector for vector in values if vector is not None])
            return list(values)
        values = as_numbers(values)
    if values.dtype.kind not in "fiub" or values.dtype.itemsize > 8 or not values.ndim:
        raise VectorError(f"vectors have dtype {values.dtype}, expected numbers")
    return values


def _check_size(schema: Schema, count: int, fields: Fields) -> None:
    """Refuse what the database would, before it is sent."""
    wide = tokens = 0
    for field in schema.vectors:
        given = fields.get(field.name, fields.get(None))
        if isinstance(given, Tokens):
            tokens += 4 * field.dim * len(given.vectors)
        elif given is not None:
            wide += given.codes.shape[1] if isinstance(given, Codes) else 4 * field.dim
    if count > options.BATCH_ROWS_MAX or count * wide + tokens > options.BATCH_BYTES_MAX:
        raise RequestError("the batch is too large")


def _json(payloads: Any) -> list[bytes] | None:
    if payloads is None:
        return None
    if not isinstance(payloads, list | tuple):
        raise PayloadError("payloads are not a list")
    texts = payloads_to_wire(payloads)
    for payload, text in zip(payloads, texts, strict=True):
        # What does not come back equal is not JSON, such as NaN or a key that is a number.
        if isinstance(payload, dict) and _decode_object(text) != payload:
            raise PayloadError("a payload is not JSON")
        if payload is not None and (not isinstance(payload, dict | bytes) or not text):
            raise PayloadError("a payload is not a dict")
    return texts


def _seconds(ttl_s: Any, count: int) -> list[float] | None:
    """Seconds for each record, 0 for those of the collection; None where none are given."""
    if ttl_s is None:
        return None
    many = isinstance(ttl_s, list | tuple) or (isinstance(ttl_s, np.ndarray) and ttl_s.ndim)
    given = list(ttl_s) if many else [ttl_s] * count
    if len(given) != count:
        raise RequestError(f"ttl_s has {len(given)} items, expected {count}")
    numbers = [
        float(item) if isinstance(item, np.integer | np.floating) else item for item in given
    ]
    for number in numbers:
        check_ttl("the batch", number)
    return [float(number or 0) for number in numbers]


def row_bytes(values: Any) -> Any:
    """Bytes of each record, one number where all have as many."""
    if isinstance(values, Tokens):
        return np.diff(values.offsets) * (values.vectors.nbytes // max(len(values.vectors), 1))
    if isinstance(values, Codes):
        return int(values.codes.shape[1])
    if isinstance(values, np.ndarray):
        return values.nbytes // max(len(values), 1)
    return max((np.asarray(value).nbytes for value in values if value is not None), default=0)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_batch(schema: Schema, ids: Any, vectors: Any, payloads: Any, ttl_s: Any) -> None:
    from vecstore.ingest.batch import make_batch
    from vecstore.ingest.ttl import Ttl

    make_batch(schema, ids, vectors, payloads, ttl=Ttl(ttl_s, now=0.0))
