"""Fewer tokens, each the mean of several that are alike (token pooling, arXiv 2409.14683).

Shapes  t tokens of a record, D dimensions, K clusters.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vecstore.kernels import _kernels
from vecstore.multivector.policy import Policy
from vecstore.multivector.prune import coverage_order
from vecstore.multivector.sets import TokenSets, offsets_of, products, scaled
from vecstore.types import Array, Float32, Int64, Metric

# Vectors that are clustered at once: their distances take 64 MiB.
_RUN = 4_096
_KMEANS_ROUNDS = 10


def pool(policy: Policy, sets: TokenSets, metric: Metric) -> TokenSets:
    """Make clusters of the tokens of each record, and a mean of each cluster.

    Where the metric is "cosine", means are brought to unit length. The place of a mean is that of
    the token of its cluster that is nearest to it, its salience the largest of theirs. Means are in
    order of importance: of salience, or of how well they cover the tokens. A record of no more
    tokens than the policy leaves keeps them.
    """
    vectors, rows, salience = [], [], []
    for own in sets.records():
        tokens = own.stop - own.start
        if policy.count(tokens) == tokens:
            means, places = sets.vectors[own], np.arange(tokens)
            labels = places
        else:
            labels = _labels(policy, sets.vectors[own])
            means, places = _means(sets.vectors[own], labels, metric)
        if sets.salience is None:
            ranked = coverage_order(means, sets.vectors[own])
        else:
            largest = np.full(len(means), -np.inf)
            np.maximum.at(largest, labels, sets.salience[own])
            ranked = np.argsort(-largest, kind="stable")
            salience.append(largest[ranked].astype(sets.salience.dtype))
        vectors.append(means[ranked].astype(sets.vectors.dtype))
        rows.append(places[ranked] + own.start)
    chosen = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    return TokenSets(
        vectors=np.concatenate([sets.vectors[:0], *vectors]),
        offsets=offsets_of([len(own) for own in rows]),
        places=sets.all_places()[chosen],
        salience=None if sets.salience is None else np.concatenate([sets.salience[:0], *salience]),
    )


def ward_labels(vectors: Array, clusters: int) -> Int64:
    """The cluster of each of t vectors, of so many, numbered in the order of their first vectors.

    On the vectors themselves. More than 4,096 are clustered in runs of so many first, to half as
    many or to what is asked.
    """
    rows = scaled(vectors)
    sizes = np.ones(len(rows), dtype=np.float32)
    labels = np.arange(len(rows))
    while len(rows) > clusters:
        goal = clusters if len(rows) <= _RUN else max(clusters, len(rows) // 2)
        own = _by_runs(rows, sizes, goal)
        labels = own[labels]
        weights = np.bincount(own, sizes)
        rows = (_sums(rows * sizes[:, None], own) / weights[:, None]).astype(np.float32)
        sizes = weights.astype(np.float32)
    return labels


def kmeans_labels(vectors: Array, clusters: int) -> Int64:
    """The cluster of each of t vectors by Lloyd's algorithm; those that stay empty are left out.

    It begins with the vectors that cover all of them best, so that nothing is drawn by chance.
    """
    rows = scaled(vectors)
    centroids = rows[coverage_order(rows)[:clusters]]
    labels = _nearest(rows, centroids)
    for _ in range(_KMEANS_ROUNDS):
        centroids = (_sums(rows, labels) / np.bincount(labels)[:, None]).astype(np.float32)
        before, labels = labels, _nearest(rows, centroids)
        if np.array_equal(before, labels):
            break
    return labels


def _labels(policy: Policy, vectors: Array) -> Int64:
    clusters = policy.count(len(vectors))
    return (kmeans_labels if policy.method == "kmeans" else ward_labels)(vectors, clusters)


def _by_runs(rows: Float32, sizes: Float32, goal: int) -> Int64:
    """Clusters of runs of rows, `goal` of all; of several runs that is half of the rows or more."""
    runs = -(-len(rows) // _RUN)
    bounds = [len(rows) * run // runs for run in range(runs + 1)]
    ends = [goal * bound // len(rows) for bound in bounds]
    labels = np.empty(len(rows), dtype=np.int64)
    for (start, stop), (first, end) in zip(pairwise(bounds), pairwise(ends), strict=True):
        between = products(rows[start:stop], rows[start:stop])
        labels[start:stop] = _kernels.ward_clusters(between, sizes[start:stop], end - first)
        labels[start:stop] += first
    return labels


def _nearest(rows: Float32, centroids: Float32) -> Int64:
    """The nearest centroid of each row, without gaps in their numbers."""
    half_squares = 0.5 * (centroids.astype(np.float64) ** 2).sum(axis=1)
    best = (products(rows, centroids) - half_squares.astype(np.float32)).argmax(axis=1)
    return np.unique(best, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _sums(rows: Float32, labels: Int64) -> Array:
    """Sums [K, D] of the rows of each cluster, float64, in the order of the rows."""
    by_cluster = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_cluster], prepend=-1))
    return np.add.reduceat(rows[by_cluster].astype(np.float64), starts, axis=0)


def _means(vectors: Array, labels: Int64, metric: Metric) -> tuple[Float32, Int64]:
    """The mean of each cluster [K, D], and the first of the vectors that are nearest to it [K].

    Where a mean has no direction, unit length has no meaning, and that vector stands for it.
    """
    rows = vectors.astype(np.float32)
    means = _sums(rows, labels) / np.bincount(labels)[:, None]
    apart = ((rows - means[labels]) ** 2).sum(axis=1)
    ranked = np.lexsort((apart, labels))
    nearest = ranked[np.flatnonzero(np.diff(labels[ranked], prepend=-1))]
    if metric == "cosine":
        lengths = np.linalg.norm(means, axis=1)
        known = lengths > 1e-6 * np.linalg.norm(rows, axis=1).max(initial=0)
        means = np.where(known[:, None], means, rows[nearest])
        lengths = np.where(known, lengths, np.linalg.norm(means, axis=1))
        means = means / np.where(lengths > 0, lengths, 1)[:, None]
    return means.astype(np.float32), nearest
