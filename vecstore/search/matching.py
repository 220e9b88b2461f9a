"""Which tokens of records make their scores: read for explained searches, and for `matches`."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from vecstore.multivector.heat import matches
from vecstore.segment.base import Source
from vecstore.segment.vectors import code_spans, owners, token_vectors
from vecstore.types import Float32, Int64, TokenMatches

# Tokens that are decoded at a time.
_TOKENS_MAX = 1 << 16


class Matching(NamedTuple):
    """What records are matched with.

    Attributes:
        query: float32 [n, D], checked.
        budget: tokens of a record that count, the most important first; None: all.
    """

    query: Float32
    budget: int | None = None

    def match(
        self, source: Source, field: str, rows: Int64
    ) -> tuple[list[int], list[TokenMatches]]:
        """Match some rows of a source; the finest representation of the field is read.

        Returns:
            Which of `rows` have the field, and what matches in each of these.
        """
        places, numbers = owners(source, field, rows)
        found = []
        for part in code_spans(source, field, numbers, _TOKENS_MAX):
            values, own = token_vectors(source, field, part)
            for start, end in pairwise(own.offsets.tolist()):
                stop = end if self.budget is None else min(end, start + self.budget)
                given = None if own.places is None else own.places[start:stop]
                found.append(matches(self.query, values[start:stop], given))
        return places.tolist(), found
