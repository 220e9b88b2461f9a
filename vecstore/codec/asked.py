"""Queries without rows, as a cascade of the kernels takes them."""

from __future__ import annotations

from vecstore.codec.base import Codec, Parts
from vecstore.codec.bits import BitsCodec
from vecstore.codec.rotation import signs_of
from vecstore.kernels import _kernels
from vecstore.types import Float32


def ask(codec: Codec, queries: Float32, parts: Parts) -> _kernels.Scorer:
    """The queries of `codec.prepare(queries).scorer(parts)`; which rows it has, is open."""
    if isinstance(codec, BitsCodec) and codec.packed:  # what most searches start with
        return _kernels.packed_asked(queries, signs_of(codec.dim), codec.bits)
    return codec.prepare(queries).scorer(parts)
