"""A random rotation that costs O(D log D) and needs no training and no storage."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vecstore.kernels import _kernels
from vecstore.types import Float32, Uint64

ROUNDS = 4
WIDTH_MULTIPLE = 64
_SEED = 0x7665_6373_746F_7265


def padded_dim(dim: int) -> int:
    """Return the number of dimensions after rotation: `dim` rounded up to a multiple of 64."""
    return -(-dim // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def splitmix64(seed: int, count: int) -> Uint64:
    """Return `count` words of the SplitMix64 generator (Steele, Lea, Flood, OOPSLA 2014)."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Uint64 = z ^ (z >> np.uint64(31))
    return mixed


@lru_cache(maxsize=64)
def signs_of(dim: int) -> Float32:
    """Return the signs [ROUNDS, padded] that make the rotation of `dim` dimensions.

    Bit d % 64 of word d // 64 of a round's SplitMix64 words flips dimension d.
    """
    padded = padded_dim(dim)
    words = splitmix64(_SEED + dim, ROUNDS * padded // 64).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(ROUNDS, padded)
    signs: Float32 = np.float32(1) - np.float32(2) * bits.astype(np.float32)
    signs.flags.writeable = False
    return signs


def rotate(vectors: Float32) -> Float32:
    """Rotate vectors [N, D] to [N, padded], keeping lengths and inner products.

    Four rounds of random signs, a Walsh-Hadamard transform of the first or the last
    2^floor(log2 padded) values in turn, and, where that is not all of them, a step of Kac's walk
    that mixes the halves: the rotation of the RaBitQ library (Gao et al., SIGMOD 2025) for any D.
    """
    return _kernels.rotate(np.ascontiguousarray(vectors), signs_of(vectors.shape[1]))


def unrotate(rotated: Float32, dim: int) -> Float32:
    """Undo `rotate`: [N, padded] to [N, dim]."""
    return _kernels.unrotate(np.ascontiguousarray(rotated), signs_of(dim), dim)
