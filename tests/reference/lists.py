"""How inverted lists are ranked: slow and obvious."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from vecstore.types import Bool, Float32, Int64, Metric


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


def probes(
    ranked: list[tuple[Int64, Float32]], owners: list[Int64], nprobe: int, mask: Bool | None
) -> list[Int64]:
    """The lists that each query visits, of all lists by rank and their scores; `owners`: rows."""
    rows = sum(map(len, owners))
    if mask is None or 16 * mask.sum() >= 15 * rows:
        return [lists[:nprobe] for lists, _ in ranked]
    held = [int(mask[own].sum()) for own in owners]
    even = [len(own) * int(mask.sum()) for own in owners]
    weights = [
        min(1.0, 2.0 * has * rows / to) if has else 0.0 for has, to in zip(held, even, strict=True)
    ]
    return [_visited(lists, scores, nprobe, weights) for lists, scores in ranked]


def _visited(lists: Int64, scores: Float32, nprobe: int, weights: list[float]) -> Int64:
    holding = lists[[weights[place] > 0 for place in lists]]
    sums = list(accumulate(weights[place] for place in lists))
    first = max(nprobe // 16, 1)
    begins = [place for place, weight in enumerate(sums) if weight >= first]
    if len(lists) < nprobe or 4 * sums[nprobe - 1] < nprobe or not begins:
        return holding
    least = scores[begins[0]] - (scores[first - 1] - scores[nprobe - 1])
    for place, weight in enumerate(sums):
        if weight >= nprobe and scores[place] <= least:
            return lists[: place + 1][[weights[list_] > 0 for list_ in lists[: place + 1]]]
    return holding
