"""Which token of a record matches which vector of a query: what a heat map is drawn of.

Shapes  n vectors of a query, t tokens of a record, D dimensions.
"""

from __future__ import annotations

import numpy as np

from vecstore.multivector.sets import products
from vecstore.types import Array, Float32, Int64, TokenMatches


def matches(query: Float32, tokens: Array, places: Array | None = None) -> TokenMatches:
    """The token that scores best with each vector of a query, the first of several, and its score.

    Args:
        query: [n, D].
        tokens: [t, D], t at least 1.
        places: [t], where each token was among those that were given, which is how they are
            numbered then; None: as they are.
    """
    scores = token_scores(query, tokens)
    best: Int64 = scores.argmax(axis=1)
    return TokenMatches(
        tokens=best if places is None else places[best].astype(np.int64),
        scores=np.take_along_axis(scores, best[:, None], axis=1)[:, 0],
    )


def token_scores(query: Float32, tokens: Array) -> Float32:
    """What each vector of a query [n, D] scores with each token [t, D], [n, t]."""
    return products(query.astype(np.float32), tokens.astype(np.float32))
