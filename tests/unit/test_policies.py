"""Multivector fields that prune and pool, and reports of what that loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.types import Array

DIM = 16


def pages(count: int, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((12, DIM)).astype(np.float32) for _ in range(count)]


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_field_keeps_what_its_policy_leaves(tmp_path: Path) -> None:
    """Half of the tokens of each record stay, in the order given; after a flush too."""
    given = pages(5, seed=1)
    with vs.open(tmp_path / "db") as db:
        field = vs.MultiVector("pages", DIM, pruning="share0.5")
        made = db.create_collection("c", vs.Schema([field]))
        salience = np.tile(np.arange(12.0) % 5, 5)
        made.upsert(range(5), vs.Tokens(np.concatenate(given), np.arange(0, 61, 12), salience))
        for _ in range(2):
            for record, page in zip(made.scroll(with_vectors=True), given, strict=True):
                kept = np.sort(np.argsort(-salience[:12], kind="stable")[:6])
                np.testing.assert_allclose(record.vectors["pages"], unit(page[kept]), atol=1e-3)
            made.flush()
        assert made.schema.vector("pages") == vs.MultiVector(
            "pages", DIM, representations=["res4"], pruning="share0.5"
        )
        assert db.check() == []


def test_a_field_pools(tmp_path: Path) -> None:
    """A third as many tokens, of unit length."""
    with vs.open(tmp_path / "db") as db:
        field = vs.MultiVector("pages", DIM, pooling="ward3")
        made = db.create_collection("c", vs.Schema([field]))
        made.upsert(range(5), pages(5, seed=1))
        for record in made.scroll(with_vectors=True):
            assert record.vectors["pages"].shape == (4, DIM)
            lengths = np.linalg.norm(record.vectors["pages"], axis=1)
            np.testing.assert_allclose(lengths, 1, atol=1e-3)


@pytest.mark.parametrize(("pruning", "pooling"), [("half", ""), ("", "first8"), ("share2", "")])
def test_unknown_policies_make_no_collection(tmp_path: Path, pruning: str, pooling: str) -> None:
    """A policy that there is not is a SchemaError when the collection is created."""
    with vs.open(tmp_path / "db") as db:
        field = vs.MultiVector("pages", DIM, pruning=pruning, pooling=pooling)
        with pytest.raises(errors.SchemaError, match="policy"):
            db.create_collection("c", vs.Schema([field]))
        assert db.collections() == []


def test_pruning_by_salience_asks_for_it(tmp_path: Path) -> None:
    """Without salience nothing is written, and the error names the policy."""
    with vs.open(tmp_path / "db") as db:
        field = vs.MultiVector("pages", DIM, pruning="salience0.5")
        made = db.create_collection("c", vs.Schema([field]))
        with pytest.raises(errors.VectorError, match=r"salience0\.5"):
            made.upsert(range(5), pages(5, seed=1))
        assert made.count() == 0


def test_a_report_compares_with_all_tokens(tmp_path: Path) -> None:
    """All tokens overlap wholly and find what is judged; fewer are counted for each way."""
    given = pages(300, seed=1)
    with vs.open(tmp_path / "db") as db:
        schema = vs.Schema([vs.MultiVector("pages", DIM), vs.Vector("text", DIM)])
        made = db.create_collection("c", schema)
        made.upsert([f"p{row}" for row in range(300)], {"pages": given})
        made.upsert(["q"], {"text": np.ones((1, DIM))})
        report = vs.token_report(
            made,
            {"pages": given[:20]},
            policies=[("coverage0.5", ""), ("", "ward3")],
            budgets=[3],
            judgments=[{f"p{row}": 1.0} for row in range(20)],
        )
        with pytest.raises(errors.RequestError, match="multivector"):
            vs.token_report(made, {"text": given[:1]})
    rows = {(row.pruning, row.pooling, row.budget): row for row in report.rows}
    full = rows["", "", None]
    assert (full.kept, full.overlap, full.ndcg) == (1.0, 1.0, 1.0)
    assert rows["coverage0.5", "", None].kept == 0.5
    assert rows["", "ward3", 3].kept == 0.25
    assert (report.records, report.tokens, report.queries) == (300, 3600, 20)
