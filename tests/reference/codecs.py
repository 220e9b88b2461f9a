"""What the codecs mean, in float64 and from their definitions: near equality, not bits.

Shapes  N rows, Q queries, D dimensions, P rotated dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecstore.types import Float32, Float64, Metric

_MASK = 2**64 - 1


def exact_scores(queries: Float32, vectors: Float32, metric: Metric) -> Float64:
    """The metric's scores [Q, N], bigger is better; cosine vectors arrive at unit length."""
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        squared: Float64 = ((q[:, None] - x[None]) ** 2).sum(axis=2)
        return -squared
    return q @ x.T


def unit(vectors: Float32) -> Float32:
    """Vectors at unit length; zeros stay."""
    lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def splitmix64(seed: int, count: int) -> list[int]:
    """SplitMix64 in Python's integers."""
    words, state = [], seed
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        words.append(z ^ (z >> 31))
    return words


def rotation_matrix(dim: int) -> Float64:
    """The rotation of `dim` dimensions as a matrix [P, D], so that rotated = matrix @ x."""
    padded = -(-dim // 64) * 64
    words = splitmix64(0x7665_6373_746F_7265 + dim, 4 * padded // 64)
    power = 1 << (padded.bit_length() - 1)
    walsh = np.ones((1, 1))
    while len(walsh) < power:
        walsh = np.block([[walsh, walsh], [walsh, -walsh]]) / np.sqrt(2)
    half = np.eye(padded // 2) / np.sqrt(2)
    mix = np.eye(padded) if power == padded else np.block([[half, half], [half, -half]])
    matrix = np.eye(padded)
    for turn in range(4):
        own = words[turn * padded // 64 : (turn + 1) * padded // 64]
        signs = [1 - 2 * (own[d // 64] >> (d % 64) & 1) for d in range(padded)]
        start = padded - power if turn % 2 else 0
        stage = np.eye(padded)
        stage[start : start + power, start : start + power] = walsh
        matrix = mix @ stage @ np.diag(signs) @ matrix
    return matrix[:, :dim]


def bits_products(queries: Float32, vectors: Float32, bits: int) -> Float64:
    """RaBitQ's estimates of inner products [Q, N], each row at the best step of a fine grid."""
    rotation = rotation_matrix(vectors.shape[1])
    q = queries.astype(np.float64) @ rotation.T
    estimates = np.zeros((len(q), len(vectors)))
    for n, x in enumerate(vectors.astype(np.float64) @ rotation.T):
        if np.abs(x).max() > 0:
            y = best_bits(x, bits)
            estimates[:, n] = (x @ x) / (x @ y) * (q @ y)
    return estimates


def best_bits(x: Float64, bits: int, tries: int = 300) -> Float64:
    """The half-integers y [P] nearest in angle to x, over a fine grid of steps."""
    top = 2**bits - 1
    found, closeness = np.zeros(len(x)), -1.0
    for share in np.linspace(0.2, 1.02, tries):
        step = share * np.abs(x).max() / 2 ** (bits - 1)
        y = np.clip(np.floor(x / step) + 2 ** (bits - 1), 0, top) - top / 2
        cosine = x @ y / np.sqrt((y @ y) * (x @ x))
        if cosine > closeness:
            found, closeness = y, cosine
    return found


def lvq_values(vectors: Float32, mean: Float32, bits: Sequence[int]) -> list[Float64]:
    """What LVQ's first level, then all levels, stand for: vectors [N, D] each."""
    left = vectors.astype(np.float64) - mean
    low, high = left.min(axis=1, keepdims=True), left.max(axis=1, keepdims=True)
    values, start, width, found = mean + np.zeros_like(left), low, high - low, []
    for level in bits:
        step = width / (2**level - 1)
        codes = np.rint((left - start) / np.where(step > 0, step, 1)).clip(0, 2**level - 1)
        near = start + step * codes
        values = values + near
        found.append(values)
        left, start, width = left - near, -step / 2, step
    return found


def bebr_values(vectors: Float32, planes: int) -> list[Float64]:
    """What one plane, two planes, ... stand for: rotated vectors [N, P] each, unbiased."""
    x = vectors.astype(np.float64) @ rotation_matrix(vectors.shape[1]).T
    near, found = np.zeros_like(x), []
    for _ in range(planes):
        left = x - near
        near = near + np.abs(left).mean(axis=1, keepdims=True) * np.where(left >= 0, 1, -1)
        along = (x * near).sum(axis=1, keepdims=True)
        found.append(near * (x * x).sum(axis=1, keepdims=True) / np.where(along > 0, along, np.inf))
    return found


def sign_cosines(queries: Float32, vectors: Float32) -> Float64:
    """Estimates of cosines [Q, N] from how many signs of rotated vectors differ."""
    rotation = rotation_matrix(vectors.shape[1])
    q, x = queries @ rotation.T >= 0, vectors @ rotation.T >= 0
    cosines: Float64 = np.cos(np.pi * (q[:, None] != x[None]).mean(axis=2))
    return cosines
