"""Coarse centroids: k-means over a sample, and the inverted list of each row.

Shapes  n rows of the sample, N rows, D dimensions, C coarse centroids.
"""

from __future__ import annotations

import numpy as np

from vecstore.codec.base import Rest, normalized
from vecstore.kernels import _kernels
from vecstore.types import Float32, Int64, Metric

# Rows that are assigned between two rests.
_STEP = 1024
# The first part of a sample that is clustered has so many rows for each centroid.
_FIRST_ROWS = 4
_SEED = 0


def train_centroids(sample: Float32, count: int, metric: Metric, rest: Rest) -> Float32:
    """Cluster a sample [n, D], n >= 1; return at most `count` coarse centroids [C, D].

    Lloyd's algorithm, one round for each of ever larger parts of the sample, the last of which is
    all of it: more rounds found no more of the nearest rows. Cosine centroids have unit length.
    Centroids without rows become rows of the sample. The same bytes on every machine.
    """
    order = np.random.default_rng(_SEED).permutation(len(sample))
    centroids = sample[order[:count]]
    part = _FIRST_ROWS * len(centroids)
    while part < len(sample):
        rows = sample[order[:part]]
        centroids = _means(rows, assign(rows, centroids, metric, rest), len(centroids), metric)
        part *= 2
    return _means(sample, assign(sample, centroids, metric, rest), len(centroids), metric)


def assign(vectors: Float32, centroids: Float32, metric: Metric, rest: Rest) -> Int64:
    """The nearest centroid [N] of each row [N, D]: by angle for cosine, else by distance.

    Not by a product of matrices, which would take all cores from searches.
    """
    found = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _STEP):
        asked = vectors[start : start + _STEP]
        scorer = _kernels.flat(centroids, asked, metric != "cosine")
        nearest = scorer.scan(0, len(centroids), None, 1)
        found[start : start + _STEP] = np.concatenate([rows for rows, _ in nearest])
        rest()
    return found


def stretched(centroids: Float32, lists: Int64, lengths: Float32) -> Float32:
    """The centroids [C, D], each at the length of the longest of its rows: zero where it has none.

    An inner product grows with a row's length, so the longest row decides whether a list can hold a
    hit; a mean is shorter than its rows, the more so the less they point the same way.

    Args:
        centroids: [C, D].
        lists: the centroid of each row [N].
        lengths: of the rows [N].
    """
    longest = np.zeros(len(centroids), dtype=np.float32)
    np.maximum.at(longest, lists, lengths)
    return normalized(centroids) * longest[:, None]


def _means(rows: Float32, lists: Int64, count: int, metric: Metric) -> Float32:
    """The mean of each list's rows, at unit length for cosine; a row where there is none."""
    sums = np.zeros((count, rows.shape[1]), dtype=np.float32)
    sizes = np.bincount(lists, minlength=count)
    for start in range(0, len(rows), _STEP):
        own = lists[start : start + _STEP]
        order = np.argsort(own, kind="stable")
        some, firsts = np.unique(own[order], return_index=True)
        sums[some] += np.add.reduceat(rows[start : start + _STEP][order], firsts, axis=0)
    empty = np.flatnonzero(sizes == 0)
    sums[empty] = rows[np.linspace(0, len(rows) - 1, len(empty), dtype=np.int64)]
    if metric == "cosine":
        return normalized(sums)
    sums /= np.maximum(sizes, 1).astype(np.float32)[:, None]
    return sums
