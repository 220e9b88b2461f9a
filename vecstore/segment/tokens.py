"""Where the tokens of each record lie: what a multivector field has more than a vector field.

Everything below the record takes tokens for rows: a representation has one code for each token,
record after record. Stored as arrays, little-endian:

    <prefix>offsets   uint64 [n + 1]   record i has the tokens [offsets[i], offsets[i + 1])
    <prefix>places    uint16 [T]       where each token was among those that were given; left out
                                       where all are in that order
    <prefix>salience  float16 [T]      how important each is; left out where nobody said so

Shapes  n records that have the field, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.options import TOKENS_MAX
from vecstore.segment.ragged import (
    check_offsets,
    concat_offsets,
    gather_index,
    little_endian,
    make_offsets,
    read_array,
)
from vecstore.types import Array, Bool, Float16, Int64, Uint16, Uint64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenBounds:
    """The tokens of n records, the most important first.

    Attributes:
        offsets: uint64 [n + 1].
        places: uint16 [T]; None where the tokens of every record are in the order given.
        salience: float16 [T]; None where it was not given.
        touch: verifies places and salience of some tokens, or all, as the methods below do before
            they read them; None where they need no checksum.
    """

    offsets: Uint64
    places: Uint16 | None = None
    salience: Float16 | None = None
    touch: Callable[[Int64 | None], None] | None = None

    @classmethod
    def none(cls) -> TokenBounds:
        """Of no record."""
        return cls(offsets=np.zeros(1, dtype=np.uint64))

    @classmethod
    def concat(cls, parts: Sequence[TokenBounds]) -> TokenBounds:
        """The records of all parts, in order. At least one part."""
        filled = [part for part in parts if len(part)] or parts[:1]
        placed = any(part.places is not None for part in filled)
        weighed = any(part.salience is not None for part in filled)
        return cls(
            offsets=concat_offsets([part.offsets for part in filled]),
            places=np.concatenate([part.all_places() for part in filled]) if placed else None,
            salience=np.concatenate([part.all_salience() for part in filled]) if weighed else None,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str) -> TokenBounds:
        """Read what `to_arrays` wrote; CorruptionError where the arrays do not fit."""
        offsets = read_array(arrays, prefix + "offsets", np.dtype(np.uint64))
        tokens = int(offsets[-1]) if len(offsets) else 0
        check_offsets(offsets, tokens, prefix + "offsets")
        lengths = np.diff(offsets)
        if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= TOKENS_MAX:
            raise CorruptionError(
                f"array {prefix + 'offsets'!r} has records of {lengths.min()} to {lengths.max()} "
                f"tokens, expected 1 to {TOKENS_MAX:,}"
            )
        found: dict[str, Array] = {}
        for name, dtype in (("places", np.uint16), ("salience", np.float16)):
            if prefix + name in arrays:
                found[name] = read_array(arrays, prefix + name, np.dtype(dtype))
                if len(found[name]) != tokens:
                    raise CorruptionError(
                        f"array {prefix + name!r} has {len(found[name])} values, expected {tokens}"
                    )
        return cls(offsets=offsets, places=found.get("places"), salience=found.get("salience"))

    def to_arrays(self, prefix: str) -> dict[str, Array]:
        """The arrays as stored."""
        arrays = {prefix + "offsets": little_endian(self.offsets)}
        if self.places is not None:
            arrays[prefix + "places"] = little_endian(self.places)
        if self.salience is not None:
            arrays[prefix + "salience"] = little_endian(self.salience)
        return arrays

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def count(self) -> int:
        """Tokens T of all records."""
        return int(self.offsets[-1])

    def rows(self, records: Int64) -> Int64:
        """The tokens of some records, int64 [t], record after record."""
        return gather_index(self.offsets[records], self._ends(records))

    def count_of(self, records: Int64) -> int:
        """How many tokens some records have."""
        return int(self.lengths(records).sum())

    def lengths(self, records: Int64) -> Uint64:
        """How many tokens each of some records has, uint64 [n]."""
        return self.offsets[records + 1] - self.offsets[records]

    def take(self, records: Int64) -> TokenBounds:
        """Some records, in the given order."""
        rows = None if self.places is None and self.salience is None else self.rows(records)
        if self.touch is not None and rows is not None:
            self.touch(rows)
        return TokenBounds(
            offsets=self._ends(records),
            places=None if self.places is None else self.places[rows],
            salience=None if self.salience is None else self.salience[rows],
        )

    def all_places(self) -> Uint16:
        """Where each token was among those of its record, uint16 [T]."""
        if self.places is not None:
            if self.touch is not None:
                self.touch(None)
            return self.places
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets).astype(np.int64))
        return (np.arange(self.count, dtype=np.uint64) - starts).astype(np.uint16)

    def all_salience(self) -> Float16:
        """How important each token is, float16 [T]; 0 where nobody said so."""
        if self.salience is None:
            return np.zeros(self.count, dtype=np.float16)
        if self.touch is not None:
            self.touch(None)
        return self.salience

    def weighed(self) -> Bool:
        """Of which records salience is known, bool [n]: of those where it is not 0 throughout."""
        if self.salience is None or not len(self):
            return np.zeros(len(self), dtype=np.bool_)
        found: Bool = np.logical_or.reduceat(
            self.all_salience() != 0, self.offsets[:-1].astype(np.int64)
        )
        return found

    def as_given(self) -> Int64 | None:
        """The tokens of all records in the order in which they were given; None: as they are."""
        if self.places is None:
            return None
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets).astype(np.int64))
        return np.lexsort((self.all_places(), owners))

    def _ends(self, records: Int64) -> Uint64:
        return make_offsets(self.lengths(records), len(records))
