"""Which inverted list each row of a new segment belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from vecstore import options
from vecstore.codec.lists import assign, stretched, train_centroids
from vecstore.schema import Vector
from vecstore.segment.encode import FieldPart, decoded
from vecstore.segment.lists import ListOrder
from vecstore.segment.sample import sample_rows, sample_vectors
from vecstore.segment.stream import Pace

_FLOAT_BYTES = 4


def list_order(
    vector: Vector, parts: Sequence[FieldPart], sample_bytes: int, pace: Pace
) -> ListOrder:
    """Train coarse centroids on a sample of some rows, and give each row to the nearest.

    Where inner products are scored, what is stored of a centroid is its direction, at the length of
    the longest row of its list: by these, lists are ranked.

    The same for the same rows, every time. All vectors are read twice: a sample, and in order.

    Args:
        vector: the field.
        parts: rows of it, at least one.
        sample_bytes: what the vectors of the sample may take.
        pace: called between two steps, with 0 bytes written.
    """
    rest = partial(pace, 0)
    count = sum(len(part.numbers) for part in parts)
    sample = sample_vectors(parts, vector.name, sample_rows(count, vector.dim, sample_bytes))
    lists = math.ceil(options.LISTS_PER_ROOT * math.sqrt(count))
    centroids = train_centroids(sample, lists, vector.metric, rest)
    chunk = max(1, options.CHUNK_BYTES // (_FLOAT_BYTES * vector.dim))
    assigned, lengths = [], []
    for part in parts:
        for start in range(0, len(part.numbers), chunk):
            own = part._replace(numbers=part.numbers[start : start + chunk])
            vectors = decoded(own, vector.name)
            assigned.append(assign(vectors, centroids, vector.metric, rest))
            lengths.append(np.linalg.norm(vectors, axis=1))
    found = np.concatenate(assigned)
    if vector.metric == "dot":
        centroids = stretched(centroids, found, np.concatenate(lengths))
    return ListOrder.of(centroids, found)
