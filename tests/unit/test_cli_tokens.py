"""Multivector fields on the command line: import, search, stats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore

pytest.importorskip("typer", exc_type=ImportError)

from tests.unit.command_line import DIM, run, vectors, write_jsonl

LENGTHS = [3, 1, 5, 2]
TOKENS = vectors(sum(LENGTHS))
OFFSETS = np.cumsum([0, *LENGTHS])


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """A file of four sets of vectors."""
    path = tmp_path / "pages.npz"
    np.savez(path, vectors=TOKENS, offsets=OFFSETS)
    return path


def test_npz_makes_a_multivector_field(tmp_path: Path, npz: Path) -> None:
    """Each record has its run of vectors, and finds itself by them."""
    output = run("import", tmp_path / "db", "c", npz)
    assert "4 records written" in output
    np.save(tmp_path / "q.npy", TOKENS[4:9])
    hits = run("search", tmp_path / "db", "c", "--vector", tmp_path / "q.npy", "--json")
    assert json.loads(hits.splitlines()[0])["id"] == 2
    with vecstore.open(tmp_path / "db") as db:
        found = db.collection("c").get([0], with_vectors=True)[0]
    assert found is not None
    assert found.vectors["vector"].shape == (3, DIM)


def test_jsonl_may_hold_lists_of_vectors(tmp_path: Path) -> None:
    """A list of lists is several vectors, null is none; other keys become the payload."""
    lines: list[dict[str, Any]] = [
        {"id": "a", "vector": TOKENS[:3].tolist(), "n": 1},
        {"id": "b", "vector": None},
        {"id": "c", "vector": TOKENS[3:4].tolist()},
    ]
    run("import", tmp_path / "db", "c", write_jsonl(tmp_path / "a.jsonl", lines))
    hits = run("search", tmp_path / "db", "c", "--like", "c", "--json").splitlines()
    assert [json.loads(line)["id"] for line in hits] == ["c", "a"]


def test_parquet_may_hold_lists_of_vectors(tmp_path: Path) -> None:
    """A column of lists of lists is read as several vectors for each record."""
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    sets = [TOKENS[:3].tolist(), None, TOKENS[3:4].tolist()]
    table = pa.table({"id": ["a", "b", "c"], "vector": sets})
    parquet.write_table(table, tmp_path / "a.parquet")
    run("import", tmp_path / "db", "c", tmp_path / "a.parquet")
    hits = run("search", tmp_path / "db", "c", "--like", "a", "--json").splitlines()
    assert json.loads(hits[0])["id"] == "a"


def test_the_other_kind_of_file_is_refused(tmp_path: Path, npz: Path) -> None:
    """One vector for each record does not fit a multivector field, nor several the other kind."""
    np.save(tmp_path / "one.npy", TOKENS)
    run("import", tmp_path / "db", "many", npz)
    run("import", tmp_path / "db", "one", tmp_path / "one.npy")
    several = run("import", tmp_path / "db", "many", tmp_path / "one.npy", code=1)
    assert "has one vector for each record, expected several" in several
    one = run("import", tmp_path / "db", "one", npz, code=1)
    assert "has several vectors for each record, expected one" in one


def test_a_text_is_no_query_of_a_multivector_field(tmp_path: Path, npz: Path) -> None:
    """--text says what to give instead."""
    run("import", tmp_path / "db", "c", npz)
    assert "--vector" in run("search", tmp_path / "db", "c", "--text", "pages", code=1)


def test_npz_of_something_else_is_refused(tmp_path: Path) -> None:
    """A file without vectors and offsets is named, and nothing is written."""
    np.savez(tmp_path / "a.npz", x=TOKENS)
    output = run("import", tmp_path / "db", "c", tmp_path / "a.npz", code=1)
    assert "'vectors' (T, D) and 'offsets'" in output
    assert not (tmp_path / "db").exists()


def test_policies_are_run_again(tmp_path: Path, npz: Path) -> None:
    """`alter` prunes and pools what is stored, and says what became what."""
    run("import", tmp_path / "db", "c", npz)
    output = run("alter", tmp_path / "db", "c", "vector", "--pruning", "first2")
    assert "became" in output
    assert "first2" in output
    run("alter", tmp_path / "db", "c", "vector", "--pooling", "fixed1")
    with vecstore.open(tmp_path / "db") as db:
        found = db.collection("c").get(range(4), with_vectors=True)
    assert [each.vectors["vector"].shape for each in found if each] == [(1, DIM)] * 4
    assert "unknown pruning" in run(
        "alter", tmp_path / "db", "c", "vector", "--pruning", "half", code=2
    )
