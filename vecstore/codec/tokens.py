"""Late interaction with codecs that score rows: tokens are rows, and a query's vectors its queries.

Shapes  n vectors of a query, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vecstore.codec.base import Parts
from vecstore.kernels import _kernels
from vecstore.types import Uint64


class RowTokens(NamedTuple):
    """Queries of several vectors each.

    Attributes:
        scorers: for each query, what gives the scores of all its vectors with all rows of parts.
    """

    scorers: Sequence[Callable[[Parts], _kernels.Scorer]]

    def documents(
        self, parts: Parts, offsets: Uint64, query: int, budget: int | None
    ) -> _kernels.MaxSim:
        return _kernels.maxsim_rows(offsets, budget, self.scorers[query](parts))
