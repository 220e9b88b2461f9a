"""Coarse centroids: k-means over a sample, and the inverted list of each row.

All in whole numbers of one byte, which are eight times as fast as floats, cost no recall, and give
the same lists on every machine.

Shapes  n rows of the sample, N rows, D dimensions, C coarse centroids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codec.base import Rest, normalized
from vecstore.codec.centroid import REACH, ZERO, bias_of, integers_of
from vecstore.codec.centroid_training import kmeans
from vecstore.kernels import _kernels
from vecstore.types import Float32, Int8, Int64, Metric, Uint8, Uint16

# Fields with more dimensions have no lists; their sums of products would need more than 32 bits.
LISTS_DIM_MAX = 32_768
# An id of a centroid takes two bytes.
LISTS_MAX = 65_536
# Of 400,000 rows, 6 find as much as 12, and 3 need twice as many lists.
_LAST_ROUNDS = 6
# Rows that are assigned between two rests.
_STEP = 1024
# Coordinates beyond the largest of all but so many rows, and of so many usual ones, are cut off.
_CLIPPED = 0.999
_CLIPPED_USUAL = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Vectors as whole numbers from -127 to 127 about a mean.

    Attributes:
        mean: float32 [D].
        scale: what one step is.
    """

    mean: Float32
    scale: float

    @classmethod
    def of(cls, sample: Float32) -> Grid:
        """The grid that suits a sample [n, D], n >= 1."""
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        with np.errstate(over="ignore"):
            largest = np.abs(sample - mean).max(axis=1).astype(np.float64)
        usual = _CLIPPED_USUAL * float(np.median(largest))
        reach = min(float(np.quantile(largest, _CLIPPED)), usual) or float(largest.max())
        least = float(np.finfo(np.float32).tiny)
        return cls(mean, min(max(reach / REACH, least), float(np.finfo(np.float32).max)))

    def integers(self, vectors: Float32) -> Int8:
        """Vectors [N, D] in whole numbers."""
        with np.errstate(over="ignore"):
            return integers_of(vectors - self.mean, self.scale)

    def vectors(self, octets: Uint8) -> Float32:
        """What octets [C, D] stand for: whole numbers, and 128 more."""
        whole = octets.astype(np.float32) - np.float32(ZERO)
        return whole * np.float32(self.scale) + self.mean


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """Coarse centroids.

    Attributes:
        grid: of vectors.
        octets: uint8 [C, D], in its whole numbers, and 128 more.
    """

    grid: Grid
    octets: Uint8

    @classmethod
    def train(cls, grid: Grid, integers: Int8, count: int, rest: Rest) -> Coarse:
        """Cluster a sample [n, D] in whole numbers, in random order, n >= 1; C is `count`."""
        return cls(grid, kmeans(integers, count, rest, _LAST_ROUNDS))

    def assign(self, vectors: Float32, rest: Rest) -> Int64:
        """The nearest centroid [N] of each row [N, D], for rows of cosine, too: all are as long.

        Not by a product of matrices, which would take all cores from searches.
        """
        bias = bias_of(self.octets)
        found = np.empty(len(vectors), dtype=np.int64)
        for start in range(0, len(vectors), _STEP):
            integers = self.grid.integers(vectors[start : start + _STEP])
            found[start : start + _STEP] = _kernels.nearest_octets(integers, self.octets, bias)
            rest()
        return found


class Means:
    """The mean of each list's rows, gathered piece by piece."""

    def __init__(self, lists: int, dim: int) -> None:
        self._sums = np.zeros((lists, dim), dtype=np.float32)
        self._sizes = np.zeros(lists, dtype=np.int64)

    def add(self, vectors: Float32, lists: Int64) -> None:
        """Add rows [N, D] that belong to lists [N]."""
        order = np.argsort(lists, kind="stable")
        some, firsts = np.unique(lists[order], return_index=True)
        with np.errstate(over="ignore"):
            self._sums[some] += np.add.reduceat(vectors[order], firsts, axis=0)
        self._sizes += np.bincount(lists, minlength=len(self._sizes))

    def centroids(self, coarse: Coarse, metric: Metric) -> Float32:
        """The means [C, D], of unit length for cosine; the centroid where a list has no row.

        By what a list holds, lists rank better than by what a sample of it gave.
        """
        means = self._sums / np.maximum(self._sizes, 1).astype(np.float32)[:, None]
        unknown = (self._sizes == 0) | ~np.isfinite(means).all(axis=1)
        means[unknown] = coarse.grid.vectors(coarse.octets[unknown])
        return normalized(means) if metric == "cosine" else means


def stretched(centroids: Float32, lists: Int64 | Uint16, lengths: Float32) -> Float32:
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
