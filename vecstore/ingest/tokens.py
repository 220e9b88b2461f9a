"""Checks sets of vectors: what callers give for a multivector field in, tokens fit for codecs out.

Shapes  N records, t vectors of a record, T of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vecstore.errors import DimensionError, VectorError
from vecstore.ingest.vectors import to_queries, to_vectors
from vecstore.multivector.policy import parse
from vecstore.options import QUERY_TOKENS_MAX, TOKENS_BYTES_MAX, TOKENS_MAX
from vecstore.schema import MultiVector, Schema
from vecstore.segment.ragged import make_offsets
from vecstore.segment.reduction import Reduction
from vecstore.segment.rows import FieldVectors
from vecstore.segment.tokens import TokenBounds
from vecstore.tokens import Tokens
from vecstore.types import Array, Float16, Float32, Id, Int64, Uint64

_SALIENCE_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class TokenOwners(Sequence[Id]):
    """The id of the record that each token belongs to.

    Attributes:
        offsets: [n + 1], where the tokens of each record lie.
        ids: of the n records.
    """

    offsets: Array
    ids: Sequence[Id]

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __getitem__(self, token: Any) -> Any:
        return self.ids[int(np.searchsorted(self.offsets, token, side="right")) - 1]


def owners_of(bounds: TokenBounds | None, ids: Sequence[Id]) -> Sequence[Id]:
    """The id that each vector of a field belongs to; `ids` are those of the rows that have it."""
    return ids if bounds is None else TokenOwners(bounds.offsets, ids)


def most_tokens(field: MultiVector) -> int:
    """How many vectors a record may have."""
    return min(TOKENS_MAX, TOKENS_BYTES_MAX // (4 * field.dim))


def to_tokens(
    field: MultiVector, given: object, ids: Sequence[Id], dtype: np.dtype[Any]
) -> FieldVectors:
    """Check the vectors of one multivector field and copy them; those of cosine to unit length.

    They are pruned and pooled as the field says. Then, and where they have salience, the most
    important of each record come first.

    Args:
        field: of D dimensions.
        given: `Tokens`, or a list of N arrays [t, D], None where the record has none.
        ids: the N ids, to name records in errors.
        dtype: float16 or float32, what to keep.

    Raises:
        DimensionError: a shape is another, or a record has no vectors, or more than `most_tokens`.
        VectorError: NaN, an infinity, a value that `dtype` cannot hold, no numbers at all, or no
            salience where the field prunes by it.
    """
    tokens = _checked(field, given) if isinstance(given, Tokens) else _joined(field, given, ids)
    offsets = _checked_offsets(field, tokens, ids)
    lengths = np.diff(offsets).astype(np.int64)
    present = np.flatnonzero(lengths)
    bounds = TokenBounds(offsets=make_offsets(lengths[present], len(present)))
    owners = TokenOwners(bounds.offsets, [ids[row] for row in present.tolist()])
    bounds = replace(bounds, salience=_checked_salience(field, tokens, owners))
    if bounds.salience is not None:  # zeros throughout would say that it is not known
        equal = np.repeat(~bounds.weighed(), np.diff(bounds.offsets).astype(np.int64))
        bounds.salience[equal] = np.finfo(np.float16).smallest_subnormal
    values = to_vectors(field, tokens.vectors, owners, dtype).values
    if field.pruning or field.pooling:
        values, bounds, _ = Reduction.given(field).apply(values, bounds)
    elif bounds.salience is not None:
        order = by_importance(bounds)
        places, salience = bounds.all_places()[order], bounds.salience[order]
        values, bounds = values[order], replace(bounds, places=places, salience=salience)
    rows = None if len(present) == len(ids) else present.astype(np.uint32)
    return FieldVectors(rows=rows, values=values, tokens=bounds)


def check_policies(schema: Schema) -> None:
    """Raise SchemaError for a policy of a multivector field that there is not."""
    for field in schema.vectors:
        if isinstance(field, MultiVector):
            parse(field.pruning, "pruning")
            parse(field.pooling, "pooling")


def by_importance(bounds: TokenBounds) -> Int64:
    """The tokens of each record, the most important first; of as important, as they come."""
    owners = np.repeat(np.arange(len(bounds)), np.diff(bounds.offsets).astype(np.int64))
    return np.lexsort((-bounds.all_salience().astype(np.float32), owners))


def to_token_queries(
    field: MultiVector, given: object, *, many: bool, agg: str = "maxsim"
) -> list[Float32]:
    """Check one query [n, D], or a list of Q of them, as float32 arrays.

    Vectors of cosine fields come back at unit length, zeros as zeros. With "max" as `agg` a query
    is one vector, [D] or [1, D].

    Raises:
        DimensionError: a shape is another, or a query has no vectors or more than 2,048.
        VectorError: NaN, an infinity, a value beyond float32, or no numbers at all.
    """
    if not many:
        return [_to_token_query(field, given, "query", agg)]
    if not isinstance(given, list | tuple | np.ndarray):
        raise DimensionError(
            f"queries for field {field.name!r} are a {type(given).__name__}, expected a list of "
            f"arrays (n, {field.dim})"
        )
    return [_to_token_query(field, query, f"query {row}", agg) for row, query in enumerate(given)]


def _to_token_query(field: MultiVector, given: object, name: str, agg: str) -> Float32:
    array = _as_array(given, f"{name} of multivector field {field.name!r}")
    if agg == "max":
        if array.shape not in ((field.dim,), (1, field.dim)):
            raise DimensionError(
                f"{name} of shape {array.shape} for multivector field {field.name!r}, expected "
                f"({field.dim},) or (1, {field.dim}): with agg='max' a query is one vector"
            )
        array = array.reshape(1, field.dim)
    most = min(QUERY_TOKENS_MAX, most_tokens(field))
    if array.ndim != 2 or array.shape[1] != field.dim or not 1 <= len(array) <= most:
        raise DimensionError(
            f"{name} of shape {array.shape} for multivector field {field.name!r}, expected "
            f"(n, {field.dim}), n from 1 to {most:,}"
        )
    return to_queries(field, array, many=True)


def token_count(given: object) -> int:
    """How many vectors are given; 0 where that is nothing that `to_tokens` takes."""
    if isinstance(given, Tokens):
        return _length(given.vectors)
    return sum(map(_length, given)) if isinstance(given, list | tuple) else 0


def _length(item: Any) -> int:
    return len(item) if hasattr(item, "__len__") and getattr(item, "ndim", 1) != 0 else 0


def _checked(field: MultiVector, given: Tokens) -> Tokens:
    """Tokens whose vectors are an array [T, D]."""
    array = _as_array(given.vectors, f"vectors of field {field.name!r}")
    if array.ndim != 2 or array.shape[1] != field.dim:
        raise DimensionError(
            f"Tokens of field {field.name!r} have vectors of shape {array.shape}, expected "
            f"(T, {field.dim})"
        )
    return replace(given, vectors=array)


def _joined(field: MultiVector, given: object, ids: Sequence[Id]) -> Tokens:
    """A list of arrays end to end."""
    expected = f"a list of an array (t, {field.dim}) for each of {len(ids)} ids, or None, or Tokens"
    if not isinstance(given, list | tuple):
        raise DimensionError(
            f"vectors of multivector field {field.name!r} are a {type(given).__name__}, expected "
            + expected
        )
    if len(given) != len(ids):
        raise DimensionError(
            f"{len(given)} sets of vectors for {len(ids)} ids and field {field.name!r}, expected "
            + expected
        )
    arrays, lengths, most = [], [], most_tokens(field)
    for id_, item in zip(ids, given, strict=True):
        if item is None:
            lengths.append(0)
            continue
        array = _as_array(item, f"vectors of id {id_!r} of field {field.name!r}")
        if array.ndim != 2 or array.shape[1] != field.dim or not 1 <= len(array) <= most:
            raise DimensionError(
                f"vectors of shape {array.shape} of id {id_!r} for field {field.name!r}, expected "
                f"(t, {field.dim}), t from 1 to {most:,}"
            )
        arrays.append(array)
        lengths.append(len(array))
    empty = np.empty((0, field.dim), dtype=np.float32)
    vectors = np.concatenate(arrays) if arrays else empty
    return Tokens(vectors, make_offsets(lengths, len(lengths)))


def _as_array(item: object, what: str) -> Array:
    """An array of ints or floats."""
    try:
        array = np.asarray(item)
    except (ValueError, TypeError, OverflowError) as error:
        raise VectorError(f"{what} are no array ({error}), expected numbers") from None
    if array.dtype.kind not in "fiu":
        raise VectorError(f"{what} have dtype {array.dtype}, expected floats or ints")
    return array


def _checked_offsets(field: MultiVector, tokens: Tokens, ids: Sequence[Id]) -> Uint64:
    offsets = _as_array(tokens.offsets, f"offsets of field {field.name!r}")
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) != len(ids) + 1:
        raise DimensionError(
            f"offsets of field {field.name!r} are {offsets.dtype} of shape {offsets.shape}, "
            f"expected {len(ids) + 1} ints for {len(ids)} ids"
        )
    count, lengths = len(tokens.vectors), np.diff(offsets.astype(np.int64))
    if offsets[0] != 0 or offsets[-1] != count or (lengths < 0).any():
        raise DimensionError(
            f"offsets of field {field.name!r} go from {offsets[0]} to {offsets[-1]}, expected them "
            f"to ascend from 0 to the {count} vectors"
        )
    most = most_tokens(field)
    if lengths.max(initial=0) > most:
        row = int(lengths.argmax())
        raise DimensionError(
            f"id {ids[row]!r} has {lengths[row]:,} vectors for field {field.name!r}, expected at "
            f"most {most:,}"
        )
    return offsets.astype(np.uint64)


def _checked_salience(field: MultiVector, tokens: Tokens, owners: TokenOwners) -> Float16 | None:
    if tokens.salience is None:
        return None
    salience = _as_array(tokens.salience, f"salience of field {field.name!r}")
    count = len(tokens.vectors)
    if salience.shape != (count,):
        raise DimensionError(
            f"salience of field {field.name!r} is {salience.dtype} of shape {salience.shape}, "
            f"expected {count} numbers, one for each vector"
        )
    found: Float16 = np.clip(salience, -_SALIENCE_MAX, _SALIENCE_MAX).astype(np.float16)
    if np.isnan(found).any():
        raise VectorError(
            f"salience of id {owners[int(np.isnan(found).argmax())]!r} of field {field.name!r} is "
            "NaN, expected a number"
        )
    return found
