"""What tokens are coded with, learned from a sample: centroids, levels and inverses.

In integers from the first step on, so that the same sample and seed give the same bytes.

Shapes  n tokens of the sample, D dimensions, K centroids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from vecstore.codec.base import Rest, no_rest
from vecstore.codec.centroid import (
    FINE,
    REACH,
    ZERO,
    bias_of,
    differences,
    integers_of,
    nearest_levels,
    ratios,
    share_left,
)
from vecstore.codec.digits import RADIXES
from vecstore.codec.spec import Spec
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int8, Int64, Uint8, Uint16

# Tokens of the sample for each centroid, and of the first part of it that is clustered.
TOKENS_PER_CENTROID = 16
_FIRST_TOKENS = 4
LAST_ROUNDS = 3  # more find little more
CENTROIDS_MAX = 16_384
_CENTROIDS_MIN = 1_024
_SAMPLE_MIN = 65_536
_SAMPLE_SHARE = 4
_ROOMY = 16  # levels of a digit
# Of the sample, what is not clustered: levels and inverses are learned from it.
_HELD_SHARE = 16
_HELD_MAX = 16_384
_STEP = 1024  # tokens that are assigned between two rests
# Coordinates beyond what all but so many tokens have are clipped.
_CLIPPED = 0.999
# Smaller ones count as zeros, so that no vector overflows in units of the scale.
_REACH_MIN = 1e-15
# How much longer or shorter a token may be than what its code stands for, and than others.
_RATIO_MAX = 1024.0
_MARGIN = 1.25
_LEVEL_ROUNDS = 50


def tokens_min(spec: Spec) -> int:
    """Tokens that a codec is trained on at least; a collection with fewer stays exact."""
    return TOKENS_PER_CENTROID * min(_centroids_max(spec.codec), _CENTROIDS_MIN)


def tokens_max(spec: Spec) -> int:
    """Tokens that a codec is trained on at most; of more, a sample of so many is as good."""
    return max(TOKENS_PER_CENTROID * _centroids_max(spec.codec), _SAMPLE_MIN)


def sample_of_tokens(spec: Spec, tokens: int, *, growing: bool = False) -> int:
    """Of how many tokens a codec is trained, where there are so many.

    All, and of many a fourth where codes keep most of what centroids leave: these, one for sixteen
    of the sample, then stand for 64 each, and cost less to rank. Of a collection that is growing
    all: there will be as many as these are for.
    """
    share = 1 if growing or RADIXES.get(spec.codec, _ROOMY) < _ROOMY else _SAMPLE_SHARE
    return min(max(tokens // share, min(tokens, _SAMPLE_MIN)), tokens_max(spec))


def _centroids_max(name: str) -> int:
    return 256 if name == "ids256" else CENTROIDS_MAX


def centroids_for(name: str, tokens: int) -> int:
    """How many centroids K a sample of so many tokens has: a power of two."""
    return min(_centroids_max(name), 1 << round(math.log2(max(1, tokens / TOKENS_PER_CENTROID))))


def train_tokens(
    name: str, sample: Float32, seed: int, rest: Rest = no_rest
) -> Mapping[str, Array]:
    """Learn what `CentroidCodec` keeps, from a sample [n, D], n >= 1; `rest` is called often.

    Returns:
        {"centroids": uint8 [K, D], "scale": float32 [1], "left": float32 [1]} and, where a token
        has digits, {"levels": int8 [16], "inverses": float32 [256]}.
    """
    largest = np.maximum(sample.max(axis=1), -sample.min(axis=1))
    reach = float(np.quantile(largest, _CLIPPED)) or float(largest.max())
    scale = np.float32(reach / REACH if reach > _REACH_MIN else 1.0)
    order = np.random.default_rng(seed).permutation(len(sample))
    held = order[: min(len(sample) // _HELD_SHARE, _HELD_MAX)]
    integers = np.empty((len(order) - len(held), sample.shape[1]), dtype=np.int8)
    for start in range(0, len(integers), _STEP):  # as floats they would take too much memory
        rows = order[len(held) + start :][:_STEP]
        integers[start : start + _STEP] = integers_of(sample[rows], float(scale))
    centroids = kmeans(integers, centroids_for(name, len(sample)), rest)
    own = sample[held if len(held) else order]
    left = np.array([share_left(own, centroids, float(scale))], dtype=np.float32)
    params: dict[str, Array] = {"scale": np.array([scale]), "centroids": centroids, "left": left}
    return params | _digits(name, own, params) if name in RADIXES else params


def _digits(name: str, sample: Float32, params: Mapping[str, Array]) -> dict[str, Array]:
    """The levels of what centroids leave of a sample, which are made to leave them room."""
    scale, centroids = float(params["scale"][0]), params["centroids"]
    own = centroids[_assigned(integers_of(sample, scale), centroids, no_rest)]
    left = differences(sample, own, scale)
    levels = best_levels(np.bincount(left.ravel(), minlength=2 * 255 * FINE + 1), RADIXES[name])
    digits = nearest_levels(levels[: RADIXES[name]])[left]
    found = ratios(sample, own.astype(np.int16) + levels[digits] - ZERO, scale)
    low, high = -min(0, int(levels.min())), 255 - max(0, int(levels.max()))
    roomy = np.clip(centroids, low, high).astype(np.uint8)
    return {"centroids": roomy, "levels": levels, "inverses": inverses_for(found)}


def kmeans(
    integers: Int8, count: int, rest: Rest = no_rest, last_rounds: int = LAST_ROUNDS
) -> Uint8:
    """Cluster integers [n, D], in random order, n >= 1; return centroids [K, D], 128 more.

    Lloyd's algorithm: a round for each of ever larger parts of the sample, then so many for all.
    Centroids without tokens become tokens of the sample.
    """
    octets = integers.view(np.uint8) ^ np.uint8(ZERO)
    centroids = octets[np.arange(count) % len(octets)]
    parts = [len(integers)] * last_rounds
    while parts[0] > 2 * _FIRST_TOKENS * count:
        parts.insert(0, parts[0] // 2)
    for part in parts:
        ids = _assigned(integers[:part], centroids, rest)
        centroids = _means(octets[:part], ids, count)
    return centroids


def _assigned(integers: Int8, centroids: Uint8, rest: Rest) -> Uint16:
    found = np.empty(len(integers), dtype=np.uint16)
    bias = bias_of(centroids)
    for start in range(0, len(integers), _STEP):
        some = slice(start, start + _STEP)
        found[some] = _kernels.nearest_octets(integers[some], centroids, bias)
        rest()
    return found


def _means(octets: Uint8, ids: Uint16, count: int) -> Uint8:
    """The rounded mean [K, D] of the tokens of each centroid; a token where there is none."""
    sizes = np.bincount(ids, minlength=count)
    used = np.flatnonzero(sizes)
    sums = _kernels.sum_octets(octets, ids, count)[used].astype(np.int64)
    found = octets[np.linspace(0, len(octets) - 1, count, dtype=np.int64)]
    found[used] = (2 * sums + sizes[used, None]) // (2 * sizes[used, None])
    return found


def best_levels(counts: Int64, radix: int) -> Int8:
    """The levels [16] of which one lies near each of `differences` that occur so often (Lloyd).

    Each is the mean of its differences; as many as there are digits ascend, zeros follow.
    """
    values = np.arange(len(counts)) / FINE - 255
    below = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    weighted = np.concatenate([[0], np.cumsum(counts * values)])
    shares = (np.arange(radix) + 0.5) / radix
    found = values[np.searchsorted(below[1:], shares).clip(0, len(values) - 1)]
    for _ in range(_LEVEL_ROUNDS):
        cuts = np.searchsorted(values, (found[1:] + found[:-1]) / 2)
        edges = np.concatenate([[0], cuts, [len(values)]])
        total = np.diff(below[edges]) * counts.sum()
        own = np.diff(weighted[edges])
        found = np.where(total > 0, own / np.where(total > 0, total, 1), found)
    levels = np.zeros(16, dtype=np.int8)
    levels[:radix] = np.sort(np.rint(found).clip(-REACH, REACH))
    return levels


def inverses_for(found: Float32) -> Float32:
    """Return [256]: 0, then steps of one factor that span ratios [n] and some more."""
    some = found[found > 0].clip(1 / _RATIO_MAX, _RATIO_MAX).astype(np.float64)
    low, high = (some.min(), some.max()) if len(some) else (1.0, 1.0)
    steps = np.geomspace(low / _MARGIN, high * _MARGIN, 255)
    return np.concatenate([[0.0], steps]).astype(np.float32)
