"""Recall floors of the representations, on real embeddings where they are there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.demo.embed import load_embedder
from vecstore.demo.functions import distinct, read_functions, source_files, standard_library
from vecstore.types import Float32

ALONE = ("bits1", "bits2", "bits4", "int8", "bits8", "prefix128/float16", "pca128/float16")
QUERIES = 300
FUNCTIONS = 3_000


def load(path: Path) -> Float32:
    """Embeddings [N, 384] at unit length."""
    found = np.load(path).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def synthetic() -> tuple[Float32, Float32]:
    """Clustered embeddings with a decaying spectrum, and queries near some of them."""
    rng = np.random.default_rng(0)
    spectrum = (np.arange(1, 385) ** -0.4).astype(np.float32)
    centres = rng.standard_normal((200, 384), dtype=np.float32)
    rows = centres[rng.integers(0, 200, 6000)] + rng.standard_normal((6000, 384), np.float32)
    queries = rows[:QUERIES] + rng.standard_normal((QUERIES, 384), np.float32)
    return rows * spectrum, queries * spectrum


@pytest.fixture(scope="module", params=["synthetic", "scifact"])
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Float32]]:
    """Two flushed collections, with every representation and with the default ones; queries."""
    if request.param == "synthetic":
        rows, queries = synthetic()
    else:
        data = request.getfixturevalue("data") / "scifact"
        rows, queries = load(data / "minilm-corpus.f16.npy"), load(data / "minilm-queries.f16.npy")
    with vs.open(tmp_path_factory.mktemp("recall")) as db:
        schema = vs.Schema(vectors=[vs.Vector("v", 384, "cosine", [*ALONE, "float16"])])
        collection = db.create_collection("items", schema)
        collection.upsert(range(len(rows)), rows)
        collection.flush()
        default = db.create_collection("default", vs.Schema(vectors=[vs.Vector("v", 384)]))
        default.upsert(range(len(rows)), rows)
        default.flush()
        yield db, queries[:QUERIES]


def overlap(collection: Collection, queries: Float32, plan: vs.Cascade | None) -> float:
    """The mean share of the exact top 10 that a plan finds; None: the default plan."""
    exact = collection.search_batch(queries, exact=True)
    found = collection.search_batch(queries, plan=plan)
    return float(
        np.mean([len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(exact, found, strict=True)])
    )


def alone(spec: str) -> vs.Cascade:
    """One scan of a representation."""
    return vs.Cascade([vs.Scan(spec, 10)])


def test_representations_alone(measured: tuple[Database, Float32]) -> None:
    """Each representation by itself keeps at least its floor of the exact top 10."""
    db, queries = measured
    collection = db.collection("items")
    found = {spec: overlap(collection, queries, alone(spec)) for spec in ALONE}
    assert found["bits1"] >= 0.60
    assert found["bits2"] >= 0.80
    assert found["bits4"] >= 0.94
    assert found["bits8"] >= 0.99
    assert found["int8"] >= 0.98
    assert found["pca128/float16"] > found["prefix128/float16"]


def assert_default_plan(collection: Collection, queries: Float32, again_max: float) -> None:
    """99 % of the exact top 10, by scans of 1/14 of the float32 bytes; few queries need two."""
    assert overlap(collection, queries, None) >= 0.99
    (vector,) = collection.schema.vectors
    float32_bytes = collection.count() * vector.dim * 4
    found = [hits.explain or () for hits in collection.search_batch(queries, explain=True)]
    assert np.mean([len(stages) > 2 for stages in found]) <= again_max
    for stages in found:
        assert len(stages) in (2, 4)
        for scan, rescore in zip(stages[::2], stages[1::2], strict=True):
            assert (scan.stage, rescore.stage) == ("scan", "rescore")
            assert scan.bytes_read <= float32_bytes / 14
            assert rescore.bytes_read <= scan.bytes_read


def test_default_plan(measured: tuple[Database, Float32]) -> None:
    """Scans of 1/14 of the float32 bytes, one for 98 % of queries, find 99 % of the top 10."""
    db, queries = measured
    assert_default_plan(db.collection("default"), queries, 0.02)


def test_default_plan_of_code(database: Database) -> None:
    """For functions of the standard library, embedded by wordllama, one scan is enough for 80 %."""
    pytest.importorskip("wordllama")
    root = standard_library()
    read = (function for path in source_files(root) for function in read_functions(root, path))
    functions = distinct(list(islice(read, FUNCTIONS)))
    embedder = load_embedder()
    rows = embedder.embed([function.code for function in functions])
    queries = embedder.embed([function.query for function in functions[:: FUNCTIONS // QUERIES]])
    schema = vs.Schema(vectors=[vs.Vector("v", embedder.dim)])
    collection = database.create_collection("functions", schema)
    collection.upsert(range(len(rows)), rows)
    collection.flush()
    assert_default_plan(collection, queries, 0.2)
