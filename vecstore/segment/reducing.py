"""The tokens of a segment, reduced: which codes stay, or new vectors, in a file for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vecstore import options
from vecstore.codec import Codec, build_codec, parse_spec
from vecstore.codec.ladder import float_dtype
from vecstore.segment.block import Block
from vecstore.segment.encode import FieldPart
from vecstore.segment.ragged import Ragged
from vecstore.segment.reader import Segment
from vecstore.segment.reduction import Reduction
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.stream import Pace, no_pace
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.vectors import code_spans, token_vectors
from vecstore.storage.files import FileSystem
from vecstore.types import Int64, Uint8

_FLOAT_BYTES = 4
_HALF_MAX = float(np.finfo(np.float16).max)
# Beside the components of a segment under way; gone before it is whole.
_POOLED = "pooled"


class Reducing:
    """Does a reduction to one field of a segment, some records at a time."""

    def __init__(
        self,
        files: FileSystem,
        folder: Path,
        old: Segment,
        reduction: Reduction,
        pace: Pace = no_pace,
    ) -> None:
        """`pace` is called with the bytes of each piece that was written, 0 where none is."""
        self._files = files
        self._path = folder / _POOLED
        self._old = old
        self._reduction = reduction
        self._pace = pace
        self._dtype = float_dtype(reduction.field)
        self._bounds: list[TokenBounds] = []
        self._kept: list[Int64] = []

    @contextlib.contextmanager
    def done(self) -> Iterator[tuple[FieldPart, TokenBounds]]:
        """What to encode or copy codes from, while the block runs; and where the tokens lie."""
        if not self._reduction.pools:
            for _ in self._pieces():
                pass
            kept = np.concatenate(self._kept)
            yield FieldPart(self._old, kept), TokenBounds.concat(self._bounds)
            return
        self._files.write(self._path, self._pieces())
        bounds = TokenBounds.concat(self._bounds)
        values = self._files.map(self._path).view(self._dtype)
        yield (
            self._part(
                FieldVectors(rows=None, values=values.reshape(bounds.count, -1), tokens=bounds)
            ),
            bounds,
        )
        self._files.remove(self._path)

    def _pieces(self) -> Iterator[Uint8]:
        """The bytes of new vectors, of all records; the rest is noted."""
        field, tokens = self._reduction.field, self._old.tokens(self._reduction.field.name)
        assert tokens is not None
        every = np.arange(len(tokens), dtype=np.int64)
        step = max(1, options.CHUNK_BYTES // (_FLOAT_BYTES * field.dim))
        for numbers in code_spans(self._old, field.name, every, step):
            values, bounds = token_vectors(self._old, field.name, numbers)
            if self._dtype == np.float16:  # dead rows may be beyond
                values = np.clip(values, -_HALF_MAX, _HALF_MAX)
            with np.errstate(under="ignore"):
                values = values.astype(self._dtype)
            left = self._reduction.apply_stored(values, bounds)
            self._bounds.append(left.bounds)
            if left.kept is not None:
                self._kept.append(tokens.rows(numbers)[left.kept])
            yield np.ascontiguousarray(left.values).view(np.uint8).reshape(-1)
            self._pace(left.values.nbytes if self._reduction.pools else 0)

    def _part(self, vectors: FieldVectors) -> FieldPart:
        """New vectors as a source of codes."""
        rows = Rows(
            seqs=np.empty(0, dtype=np.uint64),
            ids=Ragged.from_list([]),
            payloads=Ragged.from_list([]),
            columns={},
            vectors={self._reduction.field.name: vectors},
        )
        numbers = np.arange(len(vectors.values), dtype=np.int64)
        return FieldPart(Block(rows, self._floats), numbers)

    def _floats(self, name: str, spec: str, codec: int) -> Codec:
        field = self._reduction.field
        return build_codec(parse_spec(spec, field.dim), field.dim, field.metric, {})
