"""Which inverted list a row belongs to, and how lists are ranked: slow and obvious."""

from __future__ import annotations

import numpy as np

from vecstore.types import Float32, Int64, Metric


def assign(vectors: Float32, centroids: Float32, metric: Metric) -> Int64:
    """The nearest centroid [N] of each row; the first where several are."""
    wide, centres = vectors.astype(np.float64), centroids.astype(np.float64)
    found = []
    for row in wide:
        if metric == "cosine":
            near = np.array([row @ centre for centre in centres])
        else:
            near = np.array([-((row - centre) ** 2).sum() for centre in centres])
        found.append(int(near.argmax()))
    return np.array(found, dtype=np.int64)


def stretched(vectors: Float32, centroids: Float32, lists: Int64) -> Float32:
    """Each centroid at the length of the longest row of its list."""
    found = np.zeros_like(centroids)
    for place, centre in enumerate(centroids):
        longest = max((float(np.linalg.norm(row)) for row in vectors[lists == place]), default=0)
        if np.any(centre):
            found[place] = centre / np.linalg.norm(centre) * longest
    return found
