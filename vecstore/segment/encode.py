"""The codes of a new component: copied where a codec made them before, else encoded.

Codes go through memory in pieces of some multiple of 64 rows, which is how many of them share an
item of an array at most (see `codec/table.py`), so that a piece ends where an item ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from vecstore import options
from vecstore.codec import Codec
from vecstore.segment.base import Source, StoredCodec
from vecstore.segment.layout import Form
from vecstore.segment.ragged import little_endian
from vecstore.segment.stream import Shape
from vecstore.segment.vectors import decode_rows
from vecstore.types import Array, Float32, Int64, Uint8

GROUP_ROWS = 64
_FLOAT_BYTES = 4

Codecs: TypeAlias = Mapping[tuple[str, str], StoredCodec]
"""(field, spec) -> the codec that encodes it."""


class FieldPart(NamedTuple):
    """Rows of one field of a source.

    Attributes:
        source: a segment or a block.
        numbers: int64 [n], ascending: their numbers among the rows of the field.
        spec: the representation to encode from; "" for the finest.
    """

    source: Source
    numbers: Int64
    spec: str = ""


def code_forms(codec: Codec, count: int) -> dict[str, Form]:
    """The arrays that the codes of `count` rows become."""
    group = codec.pack(np.zeros((GROUP_ROWS, codec.code_bytes), dtype=np.uint8))
    return {
        name: Shape(little_endian(array).dtype, (_items(array, count), *array.shape[1:]))
        for name, array in group.items()
    }


def code_pieces(
    field: str, spec: str, stored: StoredCodec, parts: Sequence[FieldPart]
) -> Iterator[tuple[str, Array]]:
    """The codes of all rows of some parts, as pieces of the arrays of `code_forms`."""
    codec = stored.codec
    row_bytes = max(codec.code_bytes, _FLOAT_BYTES * codec.dim)
    step = max(1, options.CHUNK_BYTES // (row_bytes * GROUP_ROWS)) * GROUP_ROWS
    for pieces in _cut(parts, step):
        codes = np.empty((sum(len(piece.numbers) for piece in pieces), codec.code_bytes), np.uint8)
        vectors: list[Float32] = []
        missing = np.ones(len(codes), dtype=np.bool_)
        start = 0
        for piece in pieces:
            stop = start + len(piece.numbers)
            if piece.source.codec_id(field, spec) == stored.id and not piece.spec:
                codes[start:stop] = _copied(piece, field, spec)
                missing[start:stop] = False
            else:
                vectors.append(_decoded(piece, field))
            start = stop
        if vectors:
            codes[missing] = codec.encode(np.concatenate(vectors))
        yield from codec.pack(codes).items()


def _copied(part: FieldPart, field: str, spec: str) -> Uint8:
    codes = part.source.codes(field, spec)
    assert codes is not None
    codes.touch(part.numbers)
    return codes.codec.unpack(codes.parts, part.numbers)


def _decoded(part: FieldPart, field: str) -> Float32:
    codes = part.source.codes(field, part.spec or part.source.specs(field)[-1])
    assert codes is not None
    return decode_rows(codes, part.numbers)


def _cut(parts: Sequence[FieldPart], step: int) -> Iterator[list[FieldPart]]:
    """All rows in order, `step` of them at a time."""
    pieces: list[FieldPart] = []
    room = step
    for part in parts:
        numbers = part.numbers
        while len(numbers):
            pieces.append(part._replace(numbers=numbers[:room]))
            room -= len(pieces[-1].numbers)
            numbers = numbers[len(pieces[-1].numbers) :]
            if not room:
                yield pieces
                pieces, room = [], step
    if pieces:
        yield pieces


def _items(array: Array, count: int) -> int:
    """How many items of an array, of which there are so many for a group of rows, `count` take."""
    return -(-count * len(array) // GROUP_ROWS)
