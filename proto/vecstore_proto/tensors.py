"""Arrays to messages and back: tensors, and the vectors of a field.

A tensor is its numbers as little-endian, row-major bytes beside their type and shape, so that
sending one costs a copy of memory and no conversion. A receiver trusts none of the three.

Shapes  N records, n records that have the field, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from vecstore.errors import DimensionError, RequestError, VectorError
from vecstore.tokens import Tokens
from vecstore.types import Array, Codes, Float32
from vecstore_proto.v1 import common_pb2 as pb

AXES_MAX = 8

_DTYPES: dict[int, np.dtype[Any]] = {
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_INT8: np.dtype("i1"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_UINT64: np.dtype("<u8"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
}
_DATA_TYPES = {(dtype.kind, dtype.itemsize): code for code, dtype in _DTYPES.items()}

Vectors: TypeAlias = Any
"""What users pass as vectors: a mapping of field -> array-like, or a bare array-like."""


def tensor_to_wire(array: Array, into: pb.Tensor) -> None:
    """Write an array of numbers into a message, or raise VectorError for any other dtype.

    The message is filled in place, as putting one message into another copies it.
    """
    code = _DATA_TYPES.get((array.dtype.kind, array.dtype.itemsize))
    if code is None:
        raise VectorError(f"array has dtype {array.dtype}, expected numbers of at most 64 bits")
    into.data_type = pb.DataType.ValueType(code)
    into.shape.extend(array.shape)
    into.data = array.astype(_DTYPES[code], copy=False).tobytes()


def tensor_from_wire(tensor: pb.Tensor) -> Array:
    """A read-only array over the bytes of a message, or VectorError where they do not fit."""
    dtype = _DTYPES.get(tensor.data_type)
    if dtype is None:
        raise VectorError(
            f"tensor has data type {tensor.data_type}, expected one of {sorted(_DTYPES)}"
        )
    shape = tuple(tensor.shape)
    data = tensor.data
    if len(shape) > AXES_MAX:
        raise VectorError(f"tensor has {len(shape)} axes, expected at most {AXES_MAX}")
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(data) or math.prod(max(axis, 1) for axis in shape) >= 1 << 48:
        raise VectorError(
            f"tensor of shape {shape} and type {dtype.name} has {len(data)} bytes, "
            f"expected {expected}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def field_vectors_to_wire(field: str | None, values: object, into: pb.FieldVectors) -> None:
    """Write vectors as users pass them, None standing for a record that lacks the field.

    Args:
        field: the vector field, or None for the only one.
        values: array-like [N, D], a sequence of N array-likes [D] or None, N codes, or the tokens
            of N records.
        into: the message to fill.

    Raises:
        DimensionError: the vectors are ragged.
        VectorError: they are not numbers.
    """
    if field is not None:
        into.field = field
    if isinstance(values, Codes):
        into.made_by.spec, into.made_by.fingerprint = values.spec, values.fingerprint
        tensor_to_wire(values.codes, into.vectors)
        return
    if isinstance(values, Tokens):
        _tokens_to_wire(values, into)
        return
    has = _present(values)
    if has is not None:
        into.rows.SetInParent()
        into.rows.values.extend(has)
        values = list(has.values())
    tensor_to_wire(as_numbers(values), into.vectors)


def _tokens_to_wire(tokens: Tokens, into: pb.FieldVectors) -> None:
    lengths = np.diff(np.asarray(tokens.offsets).astype(np.int64))
    present = np.flatnonzero(lengths)
    if len(present) < len(lengths):
        into.rows.SetInParent()
        into.rows.values.extend(present.tolist())
    into.tokens.SetInParent()
    into.tokens.lengths.extend(lengths[present].tolist())
    if tokens.salience is not None:
        tensor_to_wire(as_numbers(tokens.salience), into.tokens.salience)
    tensor_to_wire(as_numbers(tokens.vectors), into.vectors)


def _tokens_from_wire(message: pb.FieldVectors, count: int) -> Tokens:
    vectors = tensor_from_wire(message.vectors)
    if vectors.ndim != 2:
        raise DimensionError(
            f"tokens of field {message.field!r} have shape {vectors.shape}, expected [T, D]"
        )
    given = np.array(message.tokens.lengths, dtype=np.int64)
    rows = rows_from_wire(message.rows, count) if message.HasField("rows") else range(count)
    if len(given) != len(rows) or (given < 1).any() or given.sum() != len(vectors):
        raise DimensionError(
            f"tokens of field {message.field!r} are {len(given)} sets of {given.sum():,} vectors, "
            f"expected {len(rows)} sets, none of them empty, of the {len(vectors):,} that came"
        )
    lengths = np.zeros(count, dtype=np.int64)
    lengths[list(rows)] = given
    salience = None
    if message.tokens.HasField("salience"):
        salience = tensor_from_wire(message.tokens.salience)
        if salience.shape != (len(vectors),):
            raise DimensionError(
                f"salience of field {message.field!r} has shape {salience.shape}, expected "
                f"({len(vectors)},): a number for each vector"
            )
    return Tokens(vectors, np.concatenate(([0], np.cumsum(lengths))), salience)


def field_vectors_from_wire(
    message: pb.FieldVectors, count: int
) -> Array | list[Array | None] | Codes | Tokens:
    """The inverse: an array, codes, tokens, or a list of `count` where some lack the field."""
    if message.HasField("tokens"):
        return _tokens_from_wire(message, count)
    vectors = tensor_from_wire(message.vectors)
    if message.HasField("made_by"):
        if message.HasField("rows"):
            raise RequestError("codes come with row numbers, expected one for each record")
        return Codes(message.made_by.spec, message.made_by.fingerprint, vectors)
    if not message.HasField("rows"):
        return vectors
    rows = rows_from_wire(message.rows, count)
    if len(rows) != (len(vectors) if vectors.ndim else -1):
        raise DimensionError(
            f"vectors of field {message.field!r} have shape {vectors.shape}, "
            f"expected one for each of {len(rows)} rows"
        )
    found: list[Array | None] = [None] * count
    for row, vector in zip(rows, vectors, strict=True):
        found[row] = vector
    return found


def rows_from_wire(message: pb.RowNumbers, count: int) -> list[int]:
    """Positions, checked to be strictly ascending and below `count`, else RequestError."""
    rows = list(message.values)
    steps = np.diff(np.array([-1, *rows, count], dtype=np.int64))
    if (steps <= 0).any():
        raise RequestError(f"row numbers are not strictly ascending and below {count}")
    return rows


def mappings_to_wire(records: Sequence[Mapping[str, Float32]], into: pb.Records) -> None:
    """Write vectors record by record (field -> [D]) as one message for each field."""
    rows_of: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        for field in record:
            rows_of.setdefault(field, []).append(row)
    for field, rows in rows_of.items():
        found = [records[row][field] for row in rows]
        message = into.vectors.add()
        several = found[0].ndim == 2
        vectors = tokens_of(found, found[0].shape[1]) if several else np.stack(found)
        field_vectors_to_wire(field, vectors, message)
        if len(rows) < len(records):
            message.rows.values.extend(rows)


def mappings_from_wire(messages: Sequence[pb.FieldVectors], count: int) -> list[dict[str, Float32]]:
    """The inverse: for each of `count` records its vectors, which share no memory with others."""
    found: list[dict[str, Float32]] = [{} for _ in range(count)]
    for message in messages:
        vectors = field_vectors_from_wire(message, count)
        if isinstance(vectors, Codes):
            raise RequestError("an answer has codes, expected vectors")
        if isinstance(vectors, Tokens):
            vectors = token_sets(vectors)
        for record, vector in zip(found, vectors, strict=True):
            if vector is not None:
                record[message.field] = vector.copy()
    return found


def tokens_of(sets: Sequence[Array | None], dim: int) -> Tokens:
    """Arrays [t, D], None where a record has none, end to end."""
    lengths = [0 if item is None else len(item) for item in sets]
    arrays = [item for item in sets if item is not None]
    vectors = np.concatenate(arrays) if arrays else np.empty((0, dim), dtype=np.float32)
    return Tokens(vectors, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))


def token_sets(tokens: Tokens) -> list[Array | None]:
    """The inverse."""
    bounds = pairwise(tokens.offsets.tolist())
    return [tokens.vectors[start:stop] if start < stop else None for start, stop in bounds]


def as_numbers(values: object) -> Array:
    """An array-like as an array, or DimensionError where it is ragged."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise DimensionError(f"vectors are ragged, expected all of one length: {error}") from None


def _present(values: object) -> dict[int, object] | None:
    """Row -> value of the rows that have one, where some are None; else None."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return None
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
        return None
    found = dict(enumerate(values)) if getattr(values, "ndim", 1) else {}
    present = {row: value for row, value in found.items() if value is not None}
    return present if len(present) < len(found) else None
