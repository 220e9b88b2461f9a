"""Checks vectors: the caller's arrays in, float16 or float32 arrays fit for codecs out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vecstore.codec.base import SQUARED_LENGTH_MAX
from vecstore.errors import DimensionError, VectorError
from vecstore.kernels import _kernels
from vecstore.schema import Vector
from vecstore.segment.rows import FieldVectors
from vecstore.types import Array, Float32, Float64, Id

FLOAT16_MAX = float(np.finfo(np.float16).max)
_TINY = 1e-300  # below the length of any float32 vector but 0


def to_vectors(
    field: Vector, given: object, ids: Sequence[Id], dtype: np.dtype[Any]
) -> FieldVectors:
    """Check the vectors of one field and copy them; those of cosine fields to unit length.

    Args:
        field: the vector field, of D dimensions.
        given: [N, D] numbers, or a list of N vectors, each None where the record has none.
        ids: the N ids, to name records in errors.
        dtype: float16 or float32, what to keep.

    Raises:
        DimensionError: the shape is not [N, D].
        VectorError: NaN, an infinity, a value that `dtype` cannot hold, or no numbers at all.
    """
    rows = None
    if isinstance(given, list | tuple) and any(vector is None for vector in given):
        _check_shape(field, (len(given), field.dim), len(ids))
        kept = [row for row, vector in enumerate(given) if vector is not None]
        rows = np.array(kept, dtype=np.uint32)
        given, ids = [given[row] for row in kept], [ids[row] for row in kept]
    array = _to_array(field, given, ids)
    if array.shape == (0,):
        array = array.reshape(0, field.dim)
    _check_shape(field, array.shape, len(ids))
    values = _to_float32(array, copy=True)
    squares = _squares(values)
    row = _find_infinite(squares)
    if row is not None:
        raise _unusable(field, array[row], f"vector of id {ids[row]!r}")
    if field.metric != "cosine":
        _check_length(field, squares, ids)
    if field.metric == "cosine":
        # Divides in float64, so that neither the largest nor the smallest values are lost.
        np.divide(values, _norms(squares), out=values, casting="same_kind")
    elif dtype == np.float16:
        check_float16(field, values, ids)
    with np.errstate(under="ignore"):
        return FieldVectors(rows=rows, values=values.astype(dtype, copy=False))


def to_queries(field: Vector, given: object, *, many: bool) -> Float32:
    """Check one query [D], or many [Q, D], and give them as float32 [Q, D].

    Cosine queries come back at unit length, zeros as zeros. The result may share memory with
    `given`.

    Raises:
        DimensionError: the shape is another.
        VectorError: NaN, an infinity, a value beyond float32, or no numbers at all.
    """
    if not many:
        found = _kernels.unit_query(given, field.dim)  # what most queries are: all checks in one
        if found is not None and field.metric == "cosine":
            return found[0]
        if found is not None and found[1] <= SQUARED_LENGTH_MAX:
            return np.asarray(given)[None]
    array = _to_array(field, given, None)
    if array.ndim != 1 + many or array.shape[-1] != field.dim:
        raise DimensionError(
            f"{'queries' if many else 'query'} of shape {array.shape} for field {field.name!r}, "
            f"expected {f'(Q, {field.dim})' if many else (field.dim,)}"
        )
    array = array if many else array[None]
    values = _to_float32(array, copy=False)
    unit, squares = _kernels.unit_lengths(values)
    row = _find_infinite(squares)
    if row is not None:
        raise _unusable(field, array[row], f"query {row}" if many else "query")
    if field.metric == "cosine":
        return unit
    _check_length(field, squares, None)
    return values


def _to_array(field: Vector, given: object, ids: Sequence[Id] | None) -> Array:
    """The numbers as an array of ints or floats."""
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, OverflowError) as error:
        _check_lengths(field, given, ids)
        raise VectorError(
            f"vectors of field {field.name!r} are no array ({error}), expected numbers"
        ) from None
    if array.dtype.kind not in "fiu":
        raise VectorError(
            f"vectors of field {field.name!r} have dtype {array.dtype}, expected floats or ints"
        )
    return array


def _check_lengths(field: Vector, given: object, ids: Sequence[Id] | None) -> None:
    """Raise DimensionError for the first vector of another length."""
    if not isinstance(given, list | tuple):
        return
    for row, vector in enumerate(given):
        length = len(vector) if hasattr(vector, "__len__") else None
        if length != field.dim:
            owner = f"query {row}" if ids is None else f"vector {row}"
            if ids is not None and row < len(ids):
                owner = f"vector of id {ids[row]!r} (row {row})"
            raise DimensionError(
                f"{owner} of field {field.name!r} has "
                f"{'no' if length is None else length} dimensions, expected {field.dim}"
            )


def _check_shape(field: Vector, shape: tuple[int, ...], count: int) -> None:
    if shape != (count, field.dim):
        raise DimensionError(
            f"vectors of shape {shape} for {count} ids and field {field.name!r}, "
            f"expected {(count, field.dim)}"
        )


def _to_float32(array: Array, *, copy: bool) -> Float32:
    if array.dtype == np.float32:
        return np.array(array, order="C") if copy else np.ascontiguousarray(array)
    with np.errstate(over="ignore", under="ignore"):
        return np.array(array, dtype=np.float32, order="C")


def _squares(values: Float32) -> Float64:
    """The squared length of each vector: finite in float64 if and only if its values are."""
    squares: Float64 = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    return squares


def _find_infinite(squares: Float64) -> int | None:
    # The product is no number if one of them is none, and no sum of float32 squares overflows it.
    return None if math.isfinite(squares.dot(squares)) else int(np.isfinite(squares).argmin())


def _norms(squares: Float64) -> Float64:
    """The lengths as a column [N, 1]; above 0, so that zeros divided by them stay zeros."""
    norms: Float64 = np.maximum(np.sqrt(squares), _TINY)
    return norms[:, None]


def _unusable(field: Vector, vector: Array, owner: str) -> VectorError:
    finite = np.isfinite(vector)
    expected = "a finite number"
    place = int(finite.argmin())
    if finite.all():
        expected = "a number in the range of float32"
        place = int(np.abs(vector).argmax())
    return VectorError(
        f"{owner} of field {field.name!r} has {vector[place]} at {place}, expected {expected}"
    )


def _check_length(field: Vector, squares: Float64, ids: Sequence[Id] | None) -> None:
    """Raise VectorError where scores of the vector could overflow float32."""
    if squares.size and squares.max() > SQUARED_LENGTH_MAX:
        row = int(squares.argmax())
        raise VectorError(
            f"{f'query {row}' if ids is None else f'vector of id {ids[row]!r}'} of field "
            f"{field.name!r} has length {math.sqrt(squares[row]):.3g}, expected at most "
            f"{math.sqrt(SQUARED_LENGTH_MAX):.3g}; scale your vectors down"
        )


def fits_float16(values: Float32) -> bool:
    """Whether float16 can hold every one of some finite values [N, D]."""
    return not values.size or bool(max(values.max(), -values.min()) <= FLOAT16_MAX)


def check_float16(field: Vector, values: Float32, ids: Sequence[Id]) -> None:
    """Raise VectorError for values [N, D], of the records `ids`, that float16 cannot hold."""
    if not fits_float16(values):
        row, place = divmod(int(np.abs(values).argmax()), field.dim)
        raise VectorError(
            f"vector of id {ids[row]!r} of field {field.name!r} has {values[row, place]} at "
            f'{place}, expected at most {FLOAT16_MAX:.0f}; add the "float32" representation '
            "to the field to keep larger values"
        )
