"""How far new tokens are from those that a codec was trained on."""

from __future__ import annotations

from vecstore.codec.base import Codec
from vecstore.codec.centroid import CentroidCodec
from vecstore.codec.transform import ReducedCodec
from vecstore.types import Float32


def drift(codec: Codec, vectors: Float32) -> float | None:
    """Return how much more centroids leave of vectors [N, D] than they did of a sample.

    1 where vectors are like those of the sample, that is of the part of it that the centroids were
    not learned from; larger where another codebook would serve them better. None where the codec
    has no centroids of tokens, or vectors are all zeros.
    """
    if isinstance(codec, ReducedCodec):
        return drift(codec.inner, codec.reduce(vectors))
    if not isinstance(codec, CentroidCodec) or not vectors.any():
        return None
    return codec.left_of(vectors) / codec.left if codec.left > 0 else None
