"""What codes of tokens mean, one digit after another: slow and obvious.

Shapes  N tokens, D dimensions, K centroids, B bytes of digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.reference import maxsim
from vecstore.codec.centroid import CentroidCodec
from vecstore.types import Array, Float32, Float64, Int8, Int32, Uint8, Uint16, Uint32, Uint64


def nearest_octets(vectors: Int8, centroids: Uint8, bias: Int32) -> Uint16:
    """The first centroid [N] whose product plus bias is largest."""
    products = vectors.astype(np.int64) @ (centroids.astype(np.int64) - 128).T
    return (products + bias).argmax(axis=1).astype(np.uint16)


def sum_octets(octets: Uint8, ids: Uint16, size: int) -> Uint32:
    """The sums of the rows of each id [size, D]."""
    found = np.zeros((size, octets.shape[1]), dtype=np.uint32)
    for row, id_ in zip(octets, ids, strict=True):
        found[id_] += row
    return found


def ids_of(codec: CentroidCodec, vectors: Float32) -> Uint16:
    """The nearest centroids [N] of vectors, both in whole steps."""
    whole = np.clip(np.rint(vectors / np.float32(codec.scale)), -127, 127).astype(np.int8)
    own = codec.centroids.astype(np.int64) - 128
    bias = -((own**2).sum(axis=1) // 2)
    return nearest_octets(whole, codec.centroids, bias.astype(np.int32))


def digits_of(codec: CentroidCodec, codes: Uint8) -> list[list[int]]:
    """The digits [N][D] that bytes [N, B] hold."""
    radix, per_byte = {"res1": (2, 8), "ternary": (3, 5), "res2": (4, 4), "res4": (16, 2)}[
        codec.spec
    ]
    found = []
    for row in codes.tolist():
        digits = []
        for d in range(codec.dim):
            byte, place = row[d % len(row)], d // len(row)
            power = per_byte - 1 - place if radix == 3 else place
            value = byte * 243 // 256 if radix == 3 else byte
            digits.append(value // radix**power % radix)
        found.append(digits)
    return found


def integers_of(codec: CentroidCodec, ids: Array, codes: Uint8) -> Float64:
    """What ids and digits stand for [N, D], in steps of the scale."""
    centroids = codec.centroids[ids].astype(np.float64) - 128
    if codec.levels is None:
        return centroids
    return centroids + codec.levels[np.array(digits_of(codec, codes))]


def scored_centroids(codec: CentroidCodec) -> tuple[Uint8, float]:
    """What ids stand for when they are scored: of unit length for cosine; and the scale."""
    if codec.metric != "cosine":
        return codec.centroids, codec.scale
    own = codec.centroids.astype(np.float32) - 128
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    unit = own / np.where(lengths > 0, lengths, np.float32(1))
    scale = float(np.abs(unit).max()) / 127
    return (np.rint(unit / np.float32(scale or 1)) + 128).astype(np.uint8), scale or 1.0


def scores(
    codec: CentroidCodec, parts: dict[str, Array], offsets: Uint64, queries: Sequence[Float32]
) -> Float32:
    """MaxSim [Q, documents] as the kernels' twin gives it, from whole steps of each query."""
    runs = maxsim.runs(offsets, len(parts["ids"]), None)
    found = []
    for query in queries:
        largest = np.abs(query).max().astype(np.float64)
        step = largest / 127 if largest / 127 > 1e-37 else 1.0
        whole = np.rint(query / step).astype(np.int8)[None]
        if codec.levels is None:
            centroids, scale = scored_centroids(codec)
            tables, factors = maxsim.id_tables(centroids, whole)
            factors = factors * (step * scale)
            found.append(maxsim.id_scores(runs, parts["ids"], tables, factors)[0])
            continue
        assert codec.inverses is not None
        octets = integers_of(codec, parts["ids"], parts["codes"]) + 128
        inverses = codec.inverses[parts["inverse"]]
        steps = np.array([step * codec.scale])
        found.append(maxsim.octet_scores(runs, octets.astype(np.uint8), inverses, whole, steps)[0])
    return np.array(found)
