"""Which token of a record matches which vector of a query: what a heat map is drawn of.

Shapes  n vectors of a query, t tokens of a record, D dimensions.
"""

from __future__ import annotations

import numpy as np

from vecstore.multivector.sets import products
from vecstore.types import Array, Float32, Int64, TokenMatches

# Scores of query vectors with tokens that are held at a time.
_SCORES_MAX = 1 << 22


def matches(query: Float32, tokens: Array, places: Array | None = None) -> TokenMatches:
    """The token that scores best with each vector of a query, the first of several, and its score.

    Args:
        query: [n, D].
        tokens: [t, D], t at least 1.
        places: [t], where each token was among those that were given, which is how they are
            numbered and ordered then; None: as they are.
    """
    if places is not None:
        order = np.argsort(places)
        tokens, places = tokens[order], places[order]
    best = np.empty(len(query), dtype=np.int64)
    scores = np.empty(len(query), dtype=np.float32)
    step = max(1, _SCORES_MAX // len(tokens))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        every = token_scores(query[part], tokens)
        best[part] = every.argmax(axis=1)
        scores[part] = every.max(axis=1)
    return TokenMatches(best if places is None else places[best].astype(np.int64), scores)


def token_scores(query: Float32, tokens: Array) -> Float32:
    """What each vector of a query [n, D] scores with each token [t, D], [n, t]."""
    return products(query.astype(np.float32), tokens.astype(np.float32))


def matched_scores(found: TokenMatches, tokens: Int64 | range) -> Float32:
    """What some tokens of a record add to its score: the sums of what they match, [t].

    Args:
        found: of a hit of an explained search, or from `Collection.matches`.
        tokens: their numbers, such as those of the patches of a page.
    """
    numbers = np.asarray(tokens, dtype=np.int64)
    least = int(numbers.max(initial=-1)) + 1
    sums = np.bincount(found.tokens, weights=found.scores, minlength=least)
    return sums[numbers].astype(np.float32)
