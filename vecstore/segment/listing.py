"""Which inverted list each row of a new segment belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from vecstore import options
from vecstore.codec.base import Rest
from vecstore.codec.lists import LISTS_MAX, Coarse, Grid, Means, stretched
from vecstore.schema import Vector
from vecstore.segment.codecs import SEED
from vecstore.segment.encode import FieldPart, decoded
from vecstore.segment.lists import ListOrder
from vecstore.segment.sample import TOKENS_SHARE, sample_parts, sample_rows, sample_vectors
from vecstore.segment.stream import Pace
from vecstore.types import Float32

_FLOAT_BYTES = 4
# Rows for each centroid that it learns from, and that the grid learns from.
_ROWS_PER_LIST = 128
_GRID_ROWS = 16_384
# The sample is there in two forms, of one byte a dimension each.
_SAMPLE_BYTES = 2


def list_order(
    vector: Vector, parts: Sequence[FieldPart], sample_bytes: int, pace: Pace
) -> ListOrder:
    """Train coarse centroids on a sample of some rows, and give each row to the nearest.

    What is stored of a centroid is the mean of its rows; where inner products are scored, its
    direction at the length of the longest row of its list: by these, lists are ranked.

    The same for the same rows, every time. All vectors are read twice: a sample, and in order.

    Args:
        vector: the field.
        parts: rows of it, at least one.
        sample_bytes: what the vectors of the sample may take.
        pace: called between two steps, with 0 bytes written.
    """
    rest = partial(pace, 0)
    count = sum(len(part.numbers) for part in parts)
    lists = min(LISTS_MAX, math.ceil(options.LISTS_PER_ROOT * math.sqrt(count)))
    coarse = _trained(vector, parts, lists, sample_bytes, rest)
    means = Means(lists, vector.dim)
    found, lengths = np.empty(count, dtype=np.uint16), []  # LISTS_MAX fit
    start = 0
    for vectors in _pieces(vector, parts):
        own = coarse.assign(vectors, rest)
        found[start : start + len(own)] = own
        start += len(own)
        means.add(vectors, own)
        if vector.metric == "dot":
            lengths.append(np.linalg.norm(vectors, axis=1))
    centroids = means.centroids(coarse, vector.metric)
    if vector.metric == "dot":
        centroids = stretched(centroids, found, np.concatenate(lengths))
    return ListOrder.of(centroids, found)


def _trained(
    vector: Vector, parts: Sequence[FieldPart], lists: int, sample_bytes: int, rest: Rest
) -> Coarse:
    """Centroids of a sample that is taken piece by piece, so that it is never there as floats."""
    count, name = sum(len(part.numbers) for part in parts), vector.name
    few = min(_GRID_ROWS, sample_rows(count, vector.dim, sample_bytes))
    grid = Grid.of(sample_vectors(parts, name, few))
    budget = TOKENS_SHARE * sample_bytes // (_SAMPLE_BYTES * vector.dim)
    most = min(count, _ROWS_PER_LIST * lists, max(1, budget))
    sample = sample_parts(parts, most)
    rows = sum(len(part.numbers) for part in sample)
    places = np.random.default_rng(SEED).permutation(rows)
    integers = np.empty((rows, vector.dim), dtype=np.int8)
    start = 0
    for vectors in _pieces(vector, sample):
        integers[places[start : start + len(vectors)]] = grid.integers(vectors)
        start += len(vectors)
        rest()
    return Coarse.train(grid, integers, lists, rest)


def _pieces(vector: Vector, parts: Sequence[FieldPart]) -> Iterator[Float32]:
    """The vectors of all rows, as many at a time as fit in memory."""
    chunk = max(1, options.CHUNK_BYTES // (_FLOAT_BYTES * vector.dim))
    for part in parts:
        for start in range(0, len(part.numbers), chunk):
            own = part._replace(numbers=part.numbers[start : start + chunk])
            yield decoded(own, vector.name)
