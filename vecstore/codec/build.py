"""From a spec to a codec, and from a sample to what a codec learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from vecstore.codec.base import Codec, Rest, no_rest
from vecstore.codec.bebr import BebrCodec
from vecstore.codec.bits import BitsCodec
from vecstore.codec.centroid import CentroidCodec
from vecstore.codec.centroid_training import train_tokens
from vecstore.codec.digits import RADIXES
from vecstore.codec.flat import FlatCodec
from vecstore.codec.int8 import Int8Codec, train_ranges
from vecstore.codec.lvq import LvqCodec, train_mean
from vecstore.codec.product import ProductCodec
from vecstore.codec.residual import ResidualCodec
from vecstore.codec.sign import SignCodec
from vecstore.codec.spec import TOKENS, Spec
from vecstore.codec.training import train_table
from vecstore.codec.transform import ReducedCodec, train_basis
from vecstore.types import Array, Float32, Metric


def build_codec(spec: Spec, dim: int, metric: Metric, params: Mapping[str, Array]) -> Codec:
    """Return the codec of an encode version.

    Args:
        spec: the representation.
        dim: dimensions D of the vectors.
        metric: what scores estimate.
        params: what `train_codec` returned; nothing is read where `spec` is not trained.
    """
    kept = spec.dims or dim
    if spec.table is None:
        inner = _plain(spec.codec, kept, metric, params)
    else:
        inner = _of_tables(spec, kept, metric, params)
    if not spec.transform:
        return inner
    basis = params["basis"] if spec.transform == "pca" else None
    return ReducedCodec(spec=str(spec), dim=dim, inner=inner, basis=basis)


def _plain(name: str, dim: int, metric: Metric, params: Mapping[str, Array]) -> Codec:
    if name == "int8":
        return Int8Codec(dim=dim, metric=metric, low=params["low"], step=params["step"])
    if name.startswith("bits"):
        return BitsCodec(spec=name, dim=dim, metric=metric)
    if name.startswith("lvq"):
        return LvqCodec(spec=name, dim=dim, metric=metric, mean=params["mean"])
    if name.startswith("bebr"):
        return BebrCodec(spec=name, dim=dim, metric=metric)
    if name == "sign":
        return SignCodec(dim=dim, metric=metric)
    if name in TOKENS:
        digits = name in RADIXES
        return CentroidCodec(
            spec=name,
            dim=dim,
            metric=metric,
            centroids=params["centroids"],
            scale=float(params["scale"][0]),
            left=float(params["left"][0]),
            levels=params["levels"] if digits else None,
            inverses=params["inverses"] if digits else None,
        )
    return FlatCodec(spec=name, dim=dim, metric=metric)


def _of_tables(spec: Spec, dim: int, metric: Metric, params: Mapping[str, Array]) -> Codec:
    assert spec.table is not None
    if spec.table.method == "rq":
        return ResidualCodec(spec=spec.codec, dim=dim, metric=metric, books=params["books"])
    return ProductCodec(
        spec=spec.codec,
        dim=dim,
        metric=metric,
        books=params["books"],
        rotation=params.get("rotation"),
        potential=params.get("potential"),
    )


def train_codec(
    spec: Spec, dim: int, metric: Metric, sample: Float32, seed: int, rest: Rest = no_rest
) -> Mapping[str, Array]:
    """Learn an encode version from a sample [n, D], n >= 1: the same bytes every time.

    `rest` is called now and then, where it takes long.

    Returns:
        the arrays to store; none where `spec` is not trained.
    """
    assert len(sample), "no sample"
    assert sample.shape[1:] == (dim,), sample.shape
    params: dict[str, Array] = {}
    if spec.transform == "pca":
        assert spec.dims is not None
        params["basis"] = train_basis(sample, spec.dims, seed)
    train = _TRAINING.get(spec.codec)
    if train is not None or spec.table is not None or spec.codec in TOKENS:
        kept = sample
        if spec.transform:
            inner = _plain("float32", spec.dims or dim, metric, {})
            kept = ReducedCodec(
                spec=str(spec), dim=dim, inner=inner, basis=params.get("basis")
            ).reduce(sample)
        kept = np.ascontiguousarray(kept)
        if spec.table is not None:
            params.update(train_table(spec.table, kept, seed, rest))
        if train is not None:
            params.update(train(kept))
        if spec.codec in TOKENS:
            params.update(train_tokens(spec.codec, kept, seed, rest))
    return params


# What learns more from a sample [n, D] than its transform does.
_TRAINING: Mapping[str, Callable[[Float32], dict[str, Array]]] = {
    "int8": train_ranges,
    **dict.fromkeys(("lvq4", "lvq8", "lvq4x4", "lvq4x8"), train_mean),
}
