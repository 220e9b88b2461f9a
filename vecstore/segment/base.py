"""What a search reads: a source of rows, and the codes of one representation of a field.

Shapes  N rows of the source, n rows that have a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Literal, Protocol, TypeAlias

import numpy as np

from vecstore.codec.base import Codec, Prepared
from vecstore.codec.fingerprint import fingerprint_of
from vecstore.kernels import _kernels
from vecstore.segment.columns import ColumnData
from vecstore.segment.lists import Lists
from vecstore.segment.ragged import Ragged
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Array, Id, Int64, Uint8, Uint32, Uint64

_POSTINGS = "_postings"
Strings: TypeAlias = Literal["ids", "payloads"]


class Touch(Protocol):
    """Verifies stored bytes before they are read; nearly free once they are verified."""

    @property
    def needless(self) -> bool:
        """Whether nothing is left to do for whoever reads rows here and there."""
        ...

    def __call__(self, rows: Int64 | None = None) -> None:
        """Verify what is stored at some positions, or at all.

        Raises:
            CorruptionError: bytes changed after they were written.
        """
        ...

    def spans(self, starts: Int64, stops: Int64) -> None:
        """Verify what is stored at the positions [start, stop) of each span.

        Raises:
            CorruptionError: bytes changed after they were written.
        """
        ...


class Sound:
    """A touch of what needs no checksum, such as memory."""

    needless = True

    def __call__(self, rows: Int64 | None = None) -> None:
        """Do nothing."""

    def spans(self, starts: Int64, stops: Int64) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Codes:
    """The codes of one representation of a field, each at its position.

    What the kernels need of them, whatever the queries, is made when it is first asked for.

    Attributes:
        codec: made them.
        parts: how they lie; what is read of them must be touched before.
        touch: takes positions.
        lists: where they are in the order of inverted lists; else a row of the field is its
            position.
    """

    codec: Codec
    parts: Mapping[str, Array]
    touch: Touch
    lists: Lists | None = None
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def positions(self, rows: Int64) -> Int64:
        """The positions of some rows of the field, int64 [n]."""
        return rows if self.lists is None else self.lists.positions[rows].astype(np.int64)

    @cached_property
    def reading(self) -> _kernels.Reading:
        """What reads them by row of the field inside the kernels."""
        found = self._any_queries().reading(self.parts)
        return found if self.lists is None else found.at(self.lists.positions)

    @cached_property
    def listed(self) -> _kernels.Listed | None:
        """The same by inverted list, where they have such."""
        lists = self.lists
        if lists is None:
            return None
        centroids = self._any_queries().reading(lists.centroids)
        return _kernels.Listed(centroids, lists.offsets, lists.order)

    def postings(self, offsets: Uint64, size: int) -> _kernels.Postings:
        """Which documents, bounded by offsets, have each of `size` centroids, for codes of ids.

        Worked out when first asked for, some 10 ns a token; 4 bytes for each such pair.
        """
        with self._making:  # once, whoever else asks
            found = self.__dict__.get(_POSTINGS)
            if found is None:
                self.touch()
                found = _kernels.Postings(offsets, self.parts["ids"], size)
                self.__dict__[_POSTINGS] = found
        postings: _kernels.Postings = found
        return postings

    def _any_queries(self) -> Prepared:
        return self.codec.prepare(np.empty((0, self.codec.dim), dtype=np.float32))

    def read(self, rows: Int64) -> Uint8:
        """The codes of some rows of the field, uint8 [n, code_bytes], as they were encoded."""
        positions = self.positions(rows)
        self.touch(positions)
        return self.codec.unpack(self.parts, positions)


@dataclass(frozen=True, kw_only=True)
class StoredCodec:
    """A codec, and what builds it again.

    Attributes:
        id: of a trained codec, 0 where nothing was trained.
        codec: encodes and scores.
        params: what `build_codec` takes; empty where nothing was trained.
    """

    id: int
    codec: Codec
    params: Mapping[str, Array]

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint_of`; not computed where nobody asks."""
        codec = self.codec
        return fingerprint_of(codec.spec, codec.dim, codec.metric, self.params)


class Source(Protocol):
    """Rows in ascending order of seq: a segment, or a block of the write buffer.

    Every method raises CorruptionError where stored bytes changed after they were written.
    """

    @property
    def rows(self) -> int:
        """Rows N, live or not."""
        ...

    @property
    def seqs(self) -> Uint64:
        """The seqs, uint64 [N], ascending."""
        ...

    @property
    def seq_min(self) -> int:
        """The first seq; known without reading a file."""
        ...

    @property
    def seq_max(self) -> int:
        """The last seq; known without reading a file."""
        ...

    @property
    def expires(self) -> Int64 | None:
        """When each row expires, int64 [N], microseconds since 1970; 0: never; None: none does."""
        ...

    def ids(self, rows: Int64) -> list[bytes]:
        """The encoded ids of some rows."""
        ...

    def decoded_ids(self, rows: Int64) -> list[Id]:
        """The ids of some rows, as the user gave them."""
        ...

    def payloads(self, rows: Int64) -> list[bytes]:
        """The JSON of some rows; empty where none was given."""
        ...

    def strings(self, kind: Strings, rows: Int64) -> Ragged:
        """What `ids` or `payloads` gives, end to end."""
        ...

    def lengths(self, kind: Strings, rows: Int64) -> Uint64:
        """The bytes of each of `strings`, uint64 [n], without reading them."""
        ...

    def column(self, name: str) -> ColumnData:
        """The values of a column, one for each row; nulls where it was added later."""
        ...

    def fields(self) -> tuple[str, ...]:
        """The vector fields that some row has."""
        ...

    def field_rows(self, field: str) -> Uint32 | None:
        """The ascending rows that have a field, uint32 [n]; None where all have it."""
        ...

    def field_count(self, field: str) -> int:
        """How many rows have a field: n."""
        ...

    def tokens(self, field: str) -> TokenBounds | None:
        """Where the tokens of each row of a multivector field lie; None of a vector field.

        Its offsets are verified; what else it has when its methods give it.
        Codes of a multivector field are those of its tokens, its rows are those of its records.
        """
        ...

    def specs(self, field: str) -> tuple[str, ...]:
        """The representations of a field, coarse to fine; none where no row has it."""
        ...

    def codec_id(self, field: str, spec: str) -> int | None:
        """The trained codec of a representation, 0 if nothing is trained; None: no such codes."""
        ...

    def codes(self, field: str, spec: str) -> Codes | None:
        """The codes of one representation, or None where there are none.

        Codes that begin with those of `spec` (see `Spec.contained`) can be read as if they were.
        """
        ...
