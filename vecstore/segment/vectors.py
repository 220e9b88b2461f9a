"""Vectors back from codes, as precise as the source has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vecstore.segment.base import Codes, Source
from vecstore.segment.ragged import make_offsets, spans_of
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Float32, Int64


def read_vectors(source: Source, rows: Int64) -> list[Mapping[str, Float32]]:
    """The vectors of some rows of a source.

    Args:
        source: a segment or a block.
        rows: int64 [n] rows of the source.

    Returns:
        For each row: field name -> float32 [D], of a multivector field float32 [t, D] as it was
        given, without the fields that the record lacks.
    """
    found: list[dict[str, Float32]] = [{} for _ in rows]
    for field in source.fields():
        places, values = field_vectors(source, field, rows)
        for place, value in zip(places.tolist(), values, strict=True):
            found[place][field] = value
    return list(found)


def field_vectors(source: Source, field: str, rows: Int64) -> tuple[Int64, Sequence[Float32]]:
    """One field of some rows, decoded from its finest representation.

    Returns:
        Which of `rows` have the field (int64 [n]), and what each has: float32 [D], or [t, D] in the
        order in which it was given.
    """
    places, numbers = owners(source, field, rows)
    if not len(places):
        return places, []
    if source.tokens(field) is None:
        return places, list(decode_rows(_finest(source, field), numbers))
    values, own = token_vectors(source, field, numbers)
    order = own.as_given()
    bounds = own.offsets[1:-1].astype(np.int64)
    return places, np.split(values if order is None else values[order], bounds)


def token_vectors(source: Source, field: str, numbers: Int64) -> tuple[Float32, TokenBounds]:
    """The tokens of some rows of a multivector field, the most important first.

    Returns:
        float32 [T, D], end to end, decoded from the finest representation; and where they lie.
    """
    tokens = source.tokens(field)
    assert tokens is not None, field
    return decode_rows(_finest(source, field), tokens.rows(numbers)), tokens.take(numbers)


def _finest(source: Source, field: str) -> Codes:
    codes = source.codes(field, source.specs(field)[-1])
    assert codes is not None, field
    return codes


def code_rows(source: Source, field: str, numbers: Int64) -> Int64:
    """The codes of some rows of a field: of a multivector field, those of their tokens."""
    tokens = source.tokens(field)
    return numbers if tokens is None else tokens.rows(numbers)


def row_codes(source: Source, field: str, rows: Int64) -> int:
    """How many codes some rows of a source have of each representation of a field."""
    numbers, tokens = owners(source, field, rows)[1], source.tokens(field)
    return len(numbers) if tokens is None else tokens.count_of(numbers)


def code_spans(source: Source, field: str, numbers: Int64, most: int) -> Iterator[Int64]:
    """Some rows of a field, in pieces that have at most `most` codes each, or are one row."""
    tokens = source.tokens(field)
    lengths = np.ones(len(numbers), np.uint64) if tokens is None else tokens.lengths(numbers)
    for first, last in spans_of(make_offsets(lengths, len(numbers)), most):
        yield numbers[first:last]


def owners(source: Source, field: str, rows: Int64) -> tuple[Int64, Int64]:
    """Which of `rows` have a field, int64 [n], and their numbers among the rows of the field."""
    if not source.field_count(field):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    of_field = source.field_rows(field)
    if of_field is None:
        return np.arange(len(rows), dtype=np.int64), rows
    found = np.minimum(np.searchsorted(of_field, rows), len(of_field) - 1)
    places = np.flatnonzero(of_field[found] == rows)
    return places, found[places].astype(np.int64)


def decode_rows(codes: Codes, numbers: Int64) -> Float32:
    """The vectors of some codes of a field, float32 [n, D], from one representation."""
    return codes.codec.decode(codes.read(numbers))
