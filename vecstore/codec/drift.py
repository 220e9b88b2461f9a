"""How far new vectors are from those that a codec was trained on."""

from __future__ import annotations

from vecstore.codec.base import Codec
from vecstore.codec.centroid import CentroidCodec
from vecstore.codec.int8 import Int8Codec
from vecstore.codec.transform import ReducedCodec
from vecstore.types import Float32


def drift(codec: Codec, vectors: Float32) -> float | None:
    """Return how much more codes leave of vectors [N, D] than they did of a sample.

    1 where vectors are like those of the sample: centroids leave of them what they left of the part
    of it that they were not learned from, ranges clip none of them. Larger where another codec
    would serve them better. None where the codec has no centroids of tokens and no ranges, or
    centroids were given zeros.
    """
    if isinstance(codec, ReducedCodec):
        return drift(codec.inner, codec.reduce(vectors))
    if isinstance(codec, Int8Codec):
        return codec.clipping(vectors)
    if not isinstance(codec, CentroidCodec) or not vectors.any():
        return None
    return codec.left_of(vectors) / codec.left if codec.left > 0 else None


def left_of_sample(codec: Codec) -> float:
    """The share of squared lengths that centroids of tokens left of their sample; 0 of others."""
    if isinstance(codec, ReducedCodec):
        return left_of_sample(codec.inner)
    return codec.left if isinstance(codec, CentroidCodec) else 0.0
