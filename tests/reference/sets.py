"""What the kernels of sets of vectors do, in NumPy: slow and obvious.

Shapes  t vectors of a record, n points.
"""

from __future__ import annotations

import numpy as np

from tests.reference.kernels import lane_sum
from vecstore.types import Array, Float32, Int64


def ward_clusters(products: Float32, sizes: Float32, clusters: int) -> Int64:
    """Ward's method along chains of nearest neighbours, in float32."""
    count = len(products)
    lengths = np.diag(products)
    weights = np.multiply.outer(sizes, sizes) / np.add.outer(sizes, sizes)
    apart = (np.add.outer(lengths, lengths) - (products + products)) * weights
    apart = _distances(apart)
    np.fill_diagonal(apart, np.inf)
    sizes, alive = sizes.copy(), np.ones(count, dtype=bool)
    merges: list[tuple[np.float32, int, int]] = []
    chain: list[int] = []
    while len(merges) < count - 1:
        if not chain:
            chain.append(int(np.flatnonzero(alive)[0]))
        last = chain[-1]
        others = np.flatnonzero(alive & (np.arange(count) != last))
        found = int(others[apart[last, others].argmin()])
        if len(chain) == 1 or apart[last, found] < apart[last, chain[-2]]:
            chain.append(found)
            continue
        before = chain[-2]
        merges.append((apart[last, before], last, before))
        one, other = min(last, before), max(last, before)
        for k in np.flatnonzero(alive):
            if k not in {one, other}:
                grown = (sizes[one] + sizes[k]) * apart[one, k]
                grown = grown + (sizes[other] + sizes[k]) * apart[other, k]
                grown = grown - sizes[k] * apart[one, other]
                grown = _distances(grown / (sizes[one] + sizes[other] + sizes[k]))
                apart[one, k] = apart[k, one] = grown
        sizes[one] += sizes[other]
        alive[other] = False
        chain = chain[:-2]
    labels = np.arange(count)
    for _, one, other in sorted(merges, key=lambda merge: merge[0])[: count - clusters]:
        pair = labels[one], labels[other]
        labels[labels == max(pair)] = min(pair)
    return np.unique(labels, return_inverse=True)[1]


def coverage_order(scores: Float32) -> list[int]:
    """Greedy: the vector next that adds most to the sum of the largest score of each point."""
    best = scores.min(axis=0, initial=np.inf)
    left = list(range(len(scores)))
    found = []
    while left:
        gains = [lane_sum(np.maximum(scores[i] - best, np.float32(0))) for i in left]
        chosen = left.pop(int(np.argmax(gains)))
        best = np.maximum(best, scores[chosen])
        found.append(chosen)
    return found


def greedy_ward_cost(vectors: Array, clusters: int) -> float:
    """The squared distances to means that are left where the cheapest pair is always merged."""
    groups = [vectors[i : i + 1] for i in range(len(vectors))]
    while len(groups) > clusters:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
        costs = [
            spread(np.concatenate([groups[i], groups[j]])) - spread(groups[i]) - spread(groups[j])
            for i, j in pairs
        ]
        i, j = pairs[int(np.argmin(costs))]
        groups = [g for k, g in enumerate(groups) if k not in {i, j}] + [
            np.concatenate([groups[i], groups[j]])
        ]
    return sum(map(spread, groups))


def spread(group: Array) -> float:
    """The squared distances of vectors to their mean."""
    return float(((group - group.mean(axis=0)) ** 2).sum())


def _distances(values: Array) -> Array:
    return np.where(values > 0, values, np.float32(0)).astype(np.float32)
