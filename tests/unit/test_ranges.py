"""Ranges of int8, where later vectors lie beyond them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore.codec import build_codec, parse_spec, train_codec
from vecstore.codec.drift import drift
from vecstore.codec.int8 import Int8Codec
from vecstore.collection import Collection
from vecstore.types import Float32

DIM = 32
SHORT, LONG = 1500, 500


def vectors_of(count: int, seed: int) -> Float32:
    """Vectors around 20 topics."""
    topics = np.random.default_rng(99).standard_normal((20, DIM))
    rng = np.random.default_rng(seed)
    found = topics[rng.integers(0, 20, count)] + 0.7 * rng.standard_normal((count, DIM))
    return found.astype(np.float32)


def codecs(items: Collection, spec: str) -> list[int | None]:
    """The codec of each segment."""
    return [live.source.codec_id("v", spec) for live in items._store.snapshot().segments]


def overlap(items: Collection, vectors: Float32, *, multi: bool) -> float:
    """The share of the exact top 10 that searches find."""
    queries = np.random.default_rng(5).standard_normal((50, DIM)).astype(np.float32)
    given: Any = [query[None] for query in queries] if multi else queries
    wanted = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = items.search_batch({"v": given}, limit=10)
    both = [np.isin(own, hits.ids).mean() for own, hits in zip(wanted, found, strict=True)]
    return float(np.mean(both))


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("ladder", [["int8"], ["int8", "float32"], ["pca24/int8", "float32"]])
def test_longer_vectors_are_found(tmp_path: Path, ladder: list[str], multi: bool) -> None:
    """Vectors ten times as long as those before get ranges of their own; compaction keeps them."""
    kind = vs.MultiVector if multi else vs.Vector
    vectors = np.concatenate([vectors_of(SHORT, 1), 10 * vectors_of(LONG, 2), vectors_of(LONG, 3)])
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        items = db.create_collection("items", vs.Schema([kind("v", DIM, "dot", ladder)]))
        start = 0
        for count in (SHORT, LONG, LONG):
            ids = np.arange(start, start + count)
            items.upsert(ids, {"v": list(vectors[ids][:, None]) if multi else vectors[ids]})
            items.flush()
            start += count
        first, second, third = codecs(items, ladder[0])
        assert first != second == third
        assert overlap(items, vectors, multi=multi) > 0.95
        items.compact()
        assert len(codecs(items, ladder[0])) == 1
        assert overlap(items, vectors, multi=multi) > 0.95


def test_more_of_the_same_learns_nothing(tmp_path: Path) -> None:
    """A flush of vectors like those before keeps the codec, and compaction copies their codes."""
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, "dot", ["int8"])]))
        for seed in range(3):
            ids = np.arange(seed * SHORT, (seed + 1) * SHORT)
            items.upsert(ids, {"v": vectors_of(SHORT, seed)})
            items.flush()
        [codec, *rest] = codecs(items, "int8")
        assert rest == [codec, codec]
        items.compact()
        assert codecs(items, "int8") == [codec]


def test_clipping_is_told() -> None:
    """Clipping is the squared error over that of rounding: 1 within the ranges, more beyond."""
    low, step = np.float32([-1, 0]), np.float32([2 / 255, 4 / 255])
    codec = Int8Codec(dim=2, metric="dot", low=low, step=step)
    assert codec.clipping(np.float32([[-1, 0], [0.3, 3.9]])) == 1
    rounding = float((step.astype(np.float64) ** 2).sum()) / 12
    assert codec.clipping(np.float32([[-2, 1]])) == pytest.approx(1 + 1 / rounding)
    assert codec.clipping(np.float32([[0, 7], [0, 1]])) == pytest.approx(1 + 9 / 2 / rounding)
    assert codec.clipping(np.full((1, 2), -3e38, dtype=np.float32)) > 1e70


def test_longer_vectors_drift() -> None:
    """Vectors twice as long as those of the sample drift from its ranges, others do not."""
    sample, like = vectors_of(2000, 1), vectors_of(500, 2)
    for text in ("int8", "pca24/int8"):
        spec = parse_spec(text, DIM)
        codec = build_codec(spec, DIM, "dot", train_codec(spec, DIM, "dot", sample, 7))
        assert 1 <= (drift(codec, like) or 0) < 1.01
        assert (drift(codec, 2 * like) or 0) > 10
