"""What table codes find of real embeddings, where they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.recall.test_ladder import load
from tests.reference.tables import entropies
from vecstore.codec import build_codec, parse_spec, train_codec
from vecstore.types import Float32, Int64, Uint8

# Query i of code-mini belongs to function i; the first 5,500 are for training.
TEST = slice(5500, 8000)


@pytest.fixture(scope="module")
def functions(data: Path) -> tuple[Float32, Float32]:
    """The vectors of code-mini [8000, 384], and the queries [2500, 384] of the last rows."""
    folder = data / "code-mini"
    if not folder.is_dir():
        pytest.skip(f"needs the embeddings of code-mini; none in {folder}")
    return load(folder / "minilm-corpus.f16.npy"), load(folder / "minilm-queries.f16.npy")[TEST]


def recall(found: Int64) -> float:
    """The share of queries whose function is among the rows found [Q, 10]."""
    own = np.arange(TEST.start, TEST.stop)[:, None]
    return float((found == own).any(axis=1).mean())


def trained(text: str, vectors: Float32, queries: Float32) -> tuple[Uint8, float]:
    """The codes of a representation, and the recall of scanning them."""
    spec = parse_spec(text, 384)
    codec = build_codec(spec, 384, "cosine", train_codec(spec, 384, "cosine", vectors, 0))
    codes = codec.encode(vectors)
    found = codec.prepare(queries).scan(codec.pack(codes), (0, len(vectors)), None, 10)
    return codes, recall(np.stack([rows for rows, _ in found]))


def test_balanced_directions_beat_plain_products(functions: tuple[Float32, Float32]) -> None:
    """At 16 bytes pq16 finds at least 3 points more than a product quantizer without rotation."""
    faiss = pytest.importorskip("faiss")
    vectors, queries = functions
    plain = faiss.ProductQuantizer(384, 16, 8)
    plain.cp.min_points_per_centroid = 1
    plain.train(vectors)
    decoded = plain.decode(plain.compute_codes(vectors))
    best = np.argsort(-(queries @ decoded.T), axis=1)[:, :10]
    assert trained("pq16", vectors, queries)[1] >= recall(best) + 0.03


def test_balanced_codes_are_used_alike_and_find_as_much(
    functions: tuple[Float32, Float32],
) -> None:
    """Each subquantizer of pq16+balanced is used for 7.8 bits of 8, and recall loses half a point
    at most.
    """
    vectors, queries = functions
    codes, found = trained("pq16+balanced", vectors, queries)
    assert entropies(codes, 256).min() >= 7.8
    assert found >= trained("pq16", vectors, queries)[1] - 0.005
