"""What the table family learns from a sample: rotations, codebooks and potentials.

Sums are those of the kernels, in one order, so that the same sample and seed give the same
codebooks for the same rotation. Codebooks hold centroids as columns.

Shapes  n rows of the sample, D dimensions, M subquantizers of S dimensions, K centroids each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vecstore.codec.base import Rest, no_rest
from vecstore.codec.spec import Table
from vecstore.codec.transform import MATRIX_DIM_MAX, train_basis
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Float64, Uint8

_KMEANS_ROUNDS = 12
_STEP = 4096  # rows that are assigned between two rests
_RESIDUAL_ROWS = 16_384
_ROTATION_ROWS = 16_384
_ROTATION_ROUNDS = 20
_POTENTIAL_ROWS = 8_192
_POTENTIAL_ROUNDS = 20
# The entropy that balances a codebook, in mean squared distances to the nearest centroid.
_POTENTIAL_SOFTNESS = 0.1


def train_table(
    table: Table, sample: Float32, seed: int, rest: Rest = no_rest
) -> Mapping[str, Array]:
    """Learn what a codec of the table family keeps, from a sample [n, D], n >= 1.

    `rest` is called now and then.

    Returns:
        {"books": [M, S, K]}, where S is D for "rq", else D / M. With "pq" and "opq" of at most
        MATRIX_DIM_MAX dimensions also {"rotation": [D, D]}, orthogonal; with `balanced`
        {"potential": [M, K]}.
    """
    # A power of two, so that nothing is rounded; squares of what is left do not overflow.
    largest = float(np.abs(sample).max())
    scale = np.float32(2.0 ** np.floor(np.log2(largest)) if largest > 0 else 1.0)
    rows = sample / scale
    size = 2**table.bits
    rows = rows[np.arange(max(len(rows), size)) % len(rows)]
    rng = np.random.default_rng(seed)
    if table.method == "rq":
        return {"books": _residual_books(rows, table.count, rng, rest) * scale}
    params: dict[str, Array] = {}
    if rows.shape[1] <= MATRIX_DIM_MAX:
        rotation = balanced_pca(rows, table.count, seed)
        if table.method == "opq":
            rotation = _learned_rotation(rows, rotation, (table.count, size), rng, rest)
        params["rotation"] = rotation
        rows = rotated(rows, rotation)
    books = kmeans(rows, _first(rows, table.count, size, rng), _KMEANS_ROUNDS, rng, rest)
    if table.balanced:
        some = rows[np.sort(rng.permutation(len(rows))[:_POTENTIAL_ROWS])]
        params["potential"] = (potentials(some, books, rest) * float(scale) ** 2).astype(np.float32)
    return params | {"books": books * scale}


def rotated(vectors: Float32, rotation: Float32) -> Float32:
    """Return vectors [N, D] times a matrix [D, P], each the same whatever lies beside it."""
    found: Float32 = _kernels.products(np.ascontiguousarray(vectors), rotation[None])[:, 0]
    return found


def half_squares(books: Float32) -> Float32:
    """Return |c|^2 / 2 of each centroid, [M, K]."""
    found: Float32 = (0.5 * (books.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
    return found


def assign(vectors: Float32, books: Float32, potential: Float32 | None = None) -> Uint8:
    """Return the centroid [N, M] nearest to each part of vectors [N, M * S].

    Distances are |x - c|^2 / 2, less the potential [M, K] where there is one.
    """
    bias = -half_squares(books)
    return _kernels.nearest(vectors, books, bias if potential is None else bias + potential)


def balanced_pca(sample: Float32, count: int, seed: int) -> Float32:
    """Return a rotation [D, D] to principal directions, dealt to M subquantizers.

    The eigenvectors of the second moment, largest first, go each to the subquantizer with room
    whose product of variances is smallest so far: the eigenvalue allocation of Ge et al.,
    "Optimized Product Quantization", CVPR 2013.
    """
    dim = sample.shape[1]
    basis = train_basis(sample, dim, seed)
    variances = ((sample @ basis).astype(np.float64) ** 2).mean(axis=0)
    logs = np.log(np.maximum(variances, variances.max() * 1e-9 + 1e-300))
    logs -= logs.min()  # so that a product only grows
    held: list[list[int]] = [[] for _ in range(count)]
    products = np.zeros(count)
    for direction in range(dim):
        smallest = int(products.argmin())
        held[smallest].append(direction)
        products[smallest] += logs[direction]
        if len(held[smallest]) == dim // count:
            products[smallest] = np.inf
    return np.ascontiguousarray(basis[:, np.concatenate(held)])


def _learned_rotation(
    sample: Float32,
    rotation: Float32,
    shape: tuple[int, int],
    rng: np.random.Generator,
    rest: Rest,
) -> Float32:
    """Improve a rotation for its codebooks [M, S, K], and these for it, by turns.

    Ge et al., section 3.1; `shape` is M and K.

    Each turn is a round of k-means, then the orthogonal matrix that brings the sample nearest to
    what its codes decode to (Procrustes).
    """
    some = sample[np.sort(rng.permutation(len(sample))[: max(_ROTATION_ROWS, shape[1])])]
    turned = rotated(some, rotation)
    books = _first(turned, *shape, rng)
    for _ in range(_ROTATION_ROUNDS):
        books = kmeans(turned, books, 1, rng, rest)
        target = decoded(assign(turned, books), books)
        left, _, right = np.linalg.svd(some.T.astype(np.float64) @ target.astype(np.float64))
        rotation = np.ascontiguousarray((left @ right).astype(np.float32))
        turned = rotated(some, rotation)
    return rotation


def decoded(codes: Uint8, books: Float32) -> Float32:
    """Return the centroids [N, M * S] of codes [N, M] next to each other."""
    parts = books.transpose(0, 2, 1)[np.arange(len(books)), codes]
    return parts.reshape(len(codes), books.shape[0] * books.shape[1])


def _first(
    sample: Float32, count: int, size: int, rng: np.random.Generator, group: int = 1
) -> Float32:
    """The first centroids [M, S, K]: means of the parts of so many random rows each."""
    parts = sample.reshape(len(sample), count, -1)
    picked = [parts[rng.permutation(len(parts))[: size * group], m] for m in range(count)]
    means = np.stack(picked).reshape(count, size, group, -1).mean(axis=2)
    return np.ascontiguousarray(means.transpose(0, 2, 1))


def kmeans(
    sample: Float32,
    books: Float32,
    rounds: int,
    rng: np.random.Generator,
    rest: Rest = no_rest,
) -> Float32:
    """Improve the codebooks [M, S, K] of the parts of a sample [n, M * S] (Lloyd).

    A centroid that is nearest to no row becomes a random one.
    """
    codes = np.empty((len(sample), len(books)), dtype=np.uint8)
    for _ in range(rounds):
        for start in range(0, len(sample), _STEP):
            codes[start : start + _STEP] = assign(sample[start : start + _STEP], books)
            rest()
        books = _means(sample, codes, books.shape[2], rng)
    return books


def _means(sample: Float32, codes: Uint8, size: int, rng: np.random.Generator) -> Float32:
    parts = sample.reshape(*codes.shape, -1)
    spare = rng.integers(len(parts), size=size)
    books = parts[spare].transpose(1, 2, 0)
    for m, part in enumerate(codes.T):
        order = np.argsort(part, kind="stable")
        counts = np.bincount(part, minlength=size)
        used = np.flatnonzero(counts)
        starts = np.cumsum(counts)[used] - counts[used]
        sums = np.add.reduceat(parts[order, m].astype(np.float64), starts, axis=0)
        books[m][:, used] = (sums / counts[used, None]).T
    return np.ascontiguousarray(books)


def _residual_books(sample: Float32, count: int, rng: np.random.Generator, rest: Rest) -> Float32:
    """Return codebooks [M, D, K], each of what those before it leave of the sample."""
    left = sample[np.sort(rng.permutation(len(sample))[:_RESIDUAL_ROWS])]
    # What is left has no clusters: single rows would lie far from all others, and stay unused.
    group = max(1, len(left) // (8 * 256))
    found = np.empty((count, left.shape[1], 256), dtype=np.float32)
    for number in range(count):
        book = kmeans(left, _first(left, 1, 256, rng, group), _KMEANS_ROUNDS, rng, rest)
        left = left - decoded(assign(left, book), book)
        found[number] = book[0]
    return found


def potentials(sample: Float32, books: Float32, rest: Rest = no_rest) -> Float64:
    """Return what to take off the distances |x - c|^2 / 2 so that centroids are used alike, [M, K].

    Sinkhorn's iteration, as RepCONC balances its batches (Zhan et al., WWW 2022): the potentials
    of its optimal transport are learned here, once, so that a code does not depend on the batch.
    """
    count, _, size = books.shape
    parts = sample.reshape(len(sample), count, -1)
    found = np.zeros((count, size))
    for m in range(count):
        rest()
        own = np.ascontiguousarray(parts[:, m])
        near = _kernels.products(own, books[m : m + 1])[:, 0] - half_squares(books[m : m + 1])
        lengths = (own.astype(np.float64) ** 2).sum(axis=1)
        softness = _POTENTIAL_SOFTNESS * float(np.mean(lengths - 2 * near.max(axis=1)))
        if softness < 1e-30:
            continue
        for _ in range(_POTENTIAL_ROUNDS):
            shifted = (near + found[m].astype(np.float32)) / np.float32(softness)
            shares = np.exp(shifted - shifted.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            usage = shares.mean(axis=0, dtype=np.float64) * size
            found[m] -= softness * np.log(np.maximum(usage, 1e-6))
    return found
