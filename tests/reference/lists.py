"""How inverted lists are ranked: slow and obvious."""

from __future__ import annotations

import numpy as np

from vecstore.types import Float32, Int64, Metric


def means(vectors: Float32, centroids: Float32, lists: Int64, metric: Metric) -> Float32:
    """The mean of the rows of each list, at unit length for cosine; its centroid without rows."""
    found = centroids.astype(np.float64)
    for place in np.unique(lists):
        found[place] = vectors[lists == place].astype(np.float64).mean(axis=0)
    if metric == "cosine":
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found = found / np.where(lengths > 0, lengths, 1)
    return found.astype(np.float32)


def stretched(vectors: Float32, centroids: Float32, lists: Int64) -> Float32:
    """Each centroid at the length of the longest row of its list."""
    found = np.zeros_like(centroids)
    for place, centre in enumerate(centroids):
        longest = max((float(np.linalg.norm(row)) for row in vectors[lists == place]), default=0)
        if np.any(centre):
            found[place] = centre / np.linalg.norm(centre) * longest
    return found
