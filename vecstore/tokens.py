"""The vectors of records of multivector fields, as they are given and handed on.

Shapes  N records, T vectors of all, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.errors import DimensionError
from vecstore.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The vectors of N records of a multivector field, end to end.

    Attributes:
        vectors: [T, D] numbers.
        offsets: int [N + 1], ascending from 0 to T: record i has the vectors [offsets[i],
            offsets[i + 1]); a record with none lacks the field.
        salience: [T] numbers, how important each vector is to its record; None where that is not
            known. The most important are read first where a search has a token budget.
    """

    vectors: Array
    offsets: Array
    salience: Array | None = None

    @classmethod
    def of_lengths(cls, vectors: Array, lengths: Any, salience: Array | None = None) -> Tokens:
        """The same from how many vectors each of the N records has.

        Args:
            vectors: [T, D] numbers.
            lengths: N ints that add up to T; 0 where a record lacks the field.
            salience: [T] numbers, or None.

        Raises:
            DimensionError: the lengths are no ints, one is negative, or they are not T in all.
        """
        counts = np.asarray(lengths)
        if counts.ndim != 1 or (len(counts) and counts.dtype.kind not in "iu"):
            raise DimensionError(
                f"lengths are {counts.dtype} of shape {counts.shape}, expected a list of ints"
            )
        if counts.min(initial=0) < 0 or counts.sum() != len(vectors):
            raise DimensionError(
                f"lengths from {counts.min(initial=0)} on add up to {counts.sum()}, expected none "
                f"below 0, and {len(vectors)} in all, as many as vectors"
            )
        return cls(vectors, np.cumsum([0, *counts.tolist()], dtype=np.int64), salience)

    def __len__(self) -> int:
        return max(0, len(self.offsets) - 1)

    def take(self, rows: Sequence[int]) -> Tokens:
        """Some records, in the given order."""
        bounds = [(int(self.offsets[row]), int(self.offsets[row + 1])) for row in rows]
        picked = [np.arange(*bound) for bound in bounds] or [np.arange(0)]
        every = np.concatenate(picked)
        salience = None if self.salience is None else self.salience[every]
        return Tokens(self.vectors[every], np.cumsum([0, *map(len, picked[: len(rows)])]), salience)

    def __getitem__(self, rows: slice) -> Tokens:
        bounds = self.offsets[rows.start or 0 : (len(self) if rows.stop is None else rows.stop) + 1]
        own = slice(int(bounds[0]), int(bounds[-1]))
        salience = None if self.salience is None else self.salience[own]
        return Tokens(self.vectors[own], bounds - bounds[0], salience)
