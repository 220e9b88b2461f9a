"""The codes of a new component: copied where a codec made them before, else encoded.

Codes go through memory in pieces of some multiple of GROUP_ROWS, so that a piece ends where an item
of an array ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from vecstore import options
from vecstore.codec import Codec
from vecstore.segment.base import Source, StoredCodec
from vecstore.segment.forms import GROUP_ROWS
from vecstore.segment.vectors import decode_rows
from vecstore.types import Array, Float32, Int64, Uint8, Uint32

_FLOAT_BYTES = 4

Codecs: TypeAlias = Mapping[tuple[str, str], StoredCodec]
"""(field, spec) -> the codec that encodes it."""


class FieldPart(NamedTuple):
    """Codes of one field of a source.

    Attributes:
        source: a segment or a block.
        numbers: int64 [n]: which of the codes of the field; see `code_rows`.
        spec: the representation to encode from; "" for the finest.
    """

    source: Source
    numbers: Int64
    spec: str = ""


def code_pieces(
    item: tuple[str, str],
    stored: StoredCodec,
    parts: Sequence[FieldPart],
    order: Uint32 | None = None,
) -> Iterator[tuple[str, Array]]:
    """The codes of all n rows of some parts, as pieces of the arrays of `code_forms`.

    Args:
        item: the field and the representation.
        stored: its codec.
        parts: the rows.
        order: uint32 [n], the row at each position; None: as they come.
    """
    field, spec = item
    codec = stored.codec
    for rows in _chunks(sum(len(part.numbers) for part in parts), codec, order):
        codes = np.empty((len(rows), codec.code_bytes), np.uint8)
        vectors: list[Float32] = []
        missing: list[Int64] = []
        for places, piece in _pick(parts, rows):
            if piece.source.codec_id(field, spec) == stored.id and not piece.spec:
                codes[places] = _copied(piece, field, spec)
            else:
                vectors.append(decoded(piece, field))
                missing.append(places)
        if vectors:
            codes[np.concatenate(missing)] = codec.encode(np.concatenate(vectors))
        yield from codec.pack(codes).items()


def _chunks(count: int, codec: Codec, order: Uint32 | None) -> Iterator[Int64]:
    """The rows of `count` positions, so many at a time as fit in memory."""
    row_bytes = max(codec.code_bytes, _FLOAT_BYTES * codec.dim)
    step = max(1, options.CHUNK_BYTES // (row_bytes * GROUP_ROWS)) * GROUP_ROWS
    for start in range(0, count, step):
        stop = min(start + step, count)
        yield np.arange(start, stop) if order is None else order[start:stop].astype(np.int64)


def _pick(parts: Sequence[FieldPart], rows: Int64) -> Iterator[tuple[Int64, FieldPart]]:
    """Some rows of all parts end to end: their places among `rows`, part by part."""
    first = 0
    for part in parts:
        last = first + len(part.numbers)
        places = np.flatnonzero((first <= rows) & (rows < last))
        if len(places):
            yield places, part._replace(numbers=part.numbers[rows[places] - first])
        first = last


def _copied(part: FieldPart, field: str, spec: str) -> Uint8:
    codes = part.source.codes(field, spec)
    assert codes is not None
    return codes.read(part.numbers)


def decoded(part: FieldPart, field: str) -> Float32:
    """The vectors of some rows, float32 [n, D], from what they are encoded from."""
    codes = part.source.codes(field, part.spec or part.source.specs(field)[-1])
    assert codes is not None
    return decode_rows(codes, part.numbers)
