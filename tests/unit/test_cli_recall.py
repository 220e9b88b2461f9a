"""`vecstore recall`: which queries it takes, from where, and what it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import vecstore

pytest.importorskip("typer", exc_type=ImportError)

import vecstore_server
from tests.unit.command_line import DIM, make_books, run, vectors, write_jsonl


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    return make_books(tmp_path / "library")


def test_recall_of_queries_in_a_file(tmp_path: Path, books: Path) -> None:
    """Queries come from .npy or .jsonl files, and `stats` shows what was measured last."""
    np.save(tmp_path / "q.npy", vectors(30, seed=1))
    printed = run("recall", books, "books", "--queries", tmp_path / "q.npy", "--limit", 3)
    assert re.match(
        r"text: the default plan finds [01]\.\d{3} of the exact top 3 by float16 \(", printed
    )
    assert " of 30 queries " in printed
    assert printed in run("stats", books)
    lines = [{"id": row, "vector": row_.tolist()} for row, row_ in enumerate(vectors(4, seed=2))]
    path = write_jsonl(tmp_path / "q.jsonl", lines)
    printed = run("recall", books, "books", "--queries", path, "--where", "year < 2009")
    assert " of 4 queries " in printed
    assert "exact top 10 by float16 where year < 2009 (" in printed
    (found,) = json.loads(run("stats", books, "--json"))["books"]["recalls"]
    assert (found["queries"], found["where"], found["stale"]) == (4, "year < 2009", False)


def test_recall_of_sets(tmp_path: Path) -> None:
    """Queries of a multivector field come from .npz files."""
    with vecstore.open(tmp_path / "db") as db:
        scans = db.create_collection("c", vecstore.Schema([vecstore.MultiVector("pages", DIM)]))
        scans.upsert(range(3), {"pages": [vectors(2, seed) for seed in range(3)]})
    np.savez(tmp_path / "q.npz", vectors=vectors(5), offsets=[0, 2, 5])
    printed = run("recall", tmp_path / "db", "c", "--queries", tmp_path / "q.npz")
    assert printed.startswith("pages: the default plan finds 1.000 of the exact top 10 by res4 (")
    assert " of 2 queries " in printed


def test_recall_of_live_queries(tmp_path: Path, books: Path) -> None:
    """A server measures on what it answered; a directory that it writes is only read."""
    np.save(tmp_path / "q.npy", vectors(3, seed=1))
    server = vecstore_server.serve(books, port=0)
    try:
        assert "search first" in run("recall", server.address, "books", code=1)
        with vecstore.connect(server.address) as db:
            for query in vectors(5, seed=3):
                db.collection("books").search(query)
        assert " of 5 live queries " in run("recall", server.address, "books")
        assert "already open" in run(
            "recall", books, "books", "--queries", tmp_path / "q.npy", code=1
        )
    finally:
        server.stop()


def test_recall_reports_wrong_use(tmp_path: Path, books: Path) -> None:
    """What is not there, or cannot be, exits with a reason."""
    assert "no collection 'films'" in run("recall", books, "films", code=1)
    assert "search first" in run("recall", books, "books", code=1)
    assert "neither a directory" in run("recall", tmp_path / "none", "books", code=1)
    np.save(tmp_path / "q.npy", vectors(3))
    more = ("--queries", tmp_path / "q.npy")
    assert "limit is 0" in run("recall", books, "books", *more, "--limit", 0, code=1)
    assert "no vector field 'page'" in run(
        "recall", books, "books", *more, "--field", "page", code=1
    )
    run("recall", books, "books", "--queries", tmp_path / "none.npy", code=2)
