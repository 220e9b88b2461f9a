"""What codecs of the table family do, in NumPy: slow and obvious.

Shapes  N rows, Q queries, D dimensions, M subquantizers of S dimensions, K centroids each.
"""

from __future__ import annotations

import numpy as np

from tests.reference.kernels import nearest, products
from vecstore.types import Float32, Float64, Metric, Uint8


def product_indices(
    vectors: Float32, books: Float32, rotation: Float32 | None, potential: Float32 | None
) -> Uint8:
    """The nearest centroid [N, M] of each part; distances are lessened by the potential [M, K]."""
    turned = vectors if rotation is None else products(vectors, rotation[None])[:, 0]
    half = (0.5 * (books.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
    bias = -half if potential is None else -half + potential
    return nearest(turned, books, bias)


def product_sums(indices: Uint8, books: Float32, rotation: Float32 | None) -> Float64:
    """What indices [N, M] stand for, [N, D]."""
    rows = [np.concatenate([books[m, :, index] for m, index in enumerate(row)]) for row in indices]
    found = np.array(rows, dtype=np.float64).reshape(len(indices), -1)
    return found if rotation is None else found @ rotation.astype(np.float64).T


def residual_sums(indices: Uint8, books: Float32) -> Float64:
    """The sums [N, D] of the centroids that indices [N, M] name."""
    rows = [
        sum((books[m, :, index].astype(np.float64) for m, index in enumerate(row)), np.zeros(1))
        for row in indices
    ]
    return np.array(rows).reshape(len(indices), books.shape[1])


def table_queries(
    queries: Float32, rotation: Float32 | None, books: Float32
) -> tuple[Uint8, Float64]:
    """The look-up tables and factors of `_kernels.table_queries`."""
    count, depth, columns = books.shape
    turned = queries if rotation is None else products(queries, rotation[None])[:, 0]
    parts = turned if count * depth == turned.shape[1] else np.tile(turned, count)
    each = products(parts, books)
    least = each.min(axis=2)
    above = each - least[:, :, None]
    reach = above.max(axis=2).astype(np.float64)
    if columns == 16:
        reach = reach[:, 0::2] + reach[:, 1::2]
    factors = np.zeros((len(queries), 4))
    found = []
    for q, own in enumerate(above):
        bias = norm = 0.0
        for value in least[q].astype(np.float64):
            bias += value
        for value in queries[q].astype(np.float64):
            norm += value * value
        step = max(reach[q].max() / (255 if columns == 256 else 254), abs(bias) / 2**22)
        step = step if step > 1e-37 else 1.0
        found.append(np.rint(own * np.float32(1 / step)).astype(np.uint8))
        factors[q] = np.rint(2 * bias / step), step / 2, 0, norm
    tables = np.array(found, dtype=np.uint8).reshape(len(queries), count, columns)
    if columns == 256:
        return tables, factors
    halves = np.zeros((len(queries), 2, -(-count // 8) * 4, 16), dtype=np.uint8)
    halves[:, 0, : count // 2], halves[:, 1, : count // 2] = tables[:, 0::2], tables[:, 1::2]
    return halves.reshape(len(queries), 2 * halves.shape[2], 16), factors


def scores(queries: Float32, sums: Float64, metric: Metric) -> Float64:
    """Exact scores [Q, N] of rows [N, D] that were decoded; those of cosine at unit length."""
    dots = queries.astype(np.float64) @ sums.T
    squares = (sums**2).sum(axis=1)
    if metric == "cosine":
        found: Float64 = dots / np.sqrt(np.where(squares > 0, squares, 1))
        return found
    if metric == "l2":
        asked = (queries.astype(np.float64) ** 2).sum(axis=1)
        return 2 * dots - squares - asked[:, None]
    return dots


def entropies(indices: Uint8, size: int) -> Float64:
    """How evenly each subquantizer's centroids are used, in bits [M]."""
    found = []
    for column in indices.T:
        shares = np.array([np.mean(column == value) for value in range(size)])
        shares = shares[shares > 0]
        found.append(-(shares * np.log2(shares)).sum())
    return np.array(found)
