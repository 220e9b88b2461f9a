"""The commands that look after a database: what they print, and their exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vecstore

pytest.importorskip("typer", exc_type=ImportError)

from tests.unit.command_line import make_books, run, spawn, vectors, write_jsonl


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    return make_books(tmp_path / "library")


def test_compact_drops_deleted_records(books: Path) -> None:
    """`compact` merges segments and drops what was deleted, and says what there was."""
    with vecstore.open(books) as db:
        db.collection("books").upsert([20], vectors(1))
        db.collection("books").delete([0, 1])
        db.collection("books").flush()
    printed = run("compact", books, "books")
    assert re.match(
        r"books: 19 records in 1 segment, [\d.]+ kB on disk; before, 2 segments, [\d.]+ kB\n",
        printed,
    )
    assert run("stats", books).startswith("books: 19 records (0 in the write buffer), 0 deleted, 1")


def test_alter_changes_a_ladder(books: Path) -> None:
    """`alter` says what a field had and has; what cannot be is refused with a reason."""
    changed = run("alter", books, "books", "text", "bits8", "bits1")
    assert changed == "text of books: bits2, float16 became bits1, bits8\n"
    assert "the original vectors are gone" in run(
        "alter", books, "books", "text", "float16", code=1
    )
    assert "no vector field 'page'" in run("alter", books, "books", "page", "bits1", code=1)
    assert "no collection 'films'" in run("alter", books, "films", "text", "bits1", code=1)
    run("alter", books, "books", "text", code=2)
    assert "'bits3'" in run("alter", books, "books", "text", "bits3", code=2)
    assert run("alter", books, "books", "text", "bits1", "bits1", code=2)


@pytest.mark.parametrize("command", ["compact", "alter"])
def test_changes_need_a_database_that_no_one_writes(
    tmp_path: Path, books: Path, command: str
) -> None:
    """Where there is no database, or another process writes it, the message says what to do."""
    more = ("books", "text", "bits1") if command == "alter" else ("books",)
    missing = run(command, tmp_path / "none", *more, code=1)
    assert "does not exist; give the directory" in missing
    assert "read_only" not in missing
    hold = "import sys, vecstore as vs; db = vs.open(sys.argv[1]); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, books], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        held = run(command, books, *more, code=1)
        writer.stdin.write(b"\n")
    assert "is being written by" in held
    assert "in that process" in held
    assert "read_only" not in held


def test_stats_show_the_write_buffer(books: Path) -> None:
    """`stats` shows the bytes of what is not yet in a segment."""
    with vecstore.open(books) as db:
        db.collection("books").upsert([20], vectors(1))
    assert re.search(
        r"21 records \(1 in the write buffer, \d+ bytes\), 0 deleted", run("stats", books)
    )


def test_import_with_a_time_to_live(tmp_path: Path, books: Path) -> None:
    """--ttl makes records expire; seconds that cannot be are a wrong use."""
    items = [{"id": 100 + row, "vector": vectors(2)[row].tolist()} for row in range(2)]
    path = write_jsonl(tmp_path / "more.jsonl", items)
    assert "--ttl is 0" in run("import", books, "books", path, "--ttl", 0, code=2)
    run("import", books, "books", path, "--ttl", 1e-6)
    with vecstore.open(books) as db:
        assert db.collection("books").count() == 20
        assert db.collection("books").get([100]) == [None]
    run("import", books, "books", path, "--ttl", 1000)
    with vecstore.open(books) as db:
        assert db.collection("books").count() == 22


def test_jobs_live_in_the_writer(books: Path) -> None:
    """`jobs` of a directory says where to ask, and of a server that is not there fails."""
    pytest.importorskip("grpc")
    assert "vecstore jobs HOST:PORT" in run("jobs", books)
    assert "127.0.0.1:1" in run("jobs", "127.0.0.1:1", code=1)
    assert "neither a directory nor" in run("jobs", books / "none", code=1)
    assert "neither a directory nor" in run("jobs", "none.invalid", code=1)
    assert "no variable" in run("jobs", "127.0.0.1:1", "--token-env", "NO_SUCH_VARIABLE", code=2)


def test_a_server_takes_options_and_lists_jobs(tmp_path: Path, books: Path) -> None:
    """`serve` has a place for snapshots and options; `jobs` lists what the server works on."""
    pytest.importorskip("grpc")
    assert "[fsync|group]" in run("serve", "--help")
    for wrong in ("--durability", "never"), ("--reserve-bytes", -1), ("--port", 1 << 20):
        assert "expected" in run("serve", books, *wrong, code=2)
    assert "outside" in run("serve", books, "--snapshots", books / "copies", code=2)
    options: tuple[object, ...] = ("--memory-bytes-max", 1 << 25, "--durability", "group")
    options += ("--background", "--background-bytes-per-s", 1 << 20, "--flush-age-s", 60)
    options += ("--reserve-bytes", 1 << 20)
    copies = ("--snapshots", tmp_path / "copies")
    process = spawn("serve", books, "--port", 0, "--token", "secret", *options, *copies)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(" at ")[1].partition(";")[0]
        with vecstore.connect(address, token="secret") as db:
            assert run("jobs", address, "--token", "secret") == "no background work\n"
            db.pause_jobs()
            db.collection("books").alter("text", ["bits1", "float16"], wait=False)
            listed = run("jobs", address, "--token", "secret").splitlines()
            db.snapshot("monday")
        assert re.match(r"collection +work +state +message +written +of", listed[0])
        assert re.match(r"books +alter +paused .*0 bytes +-", listed[1])
        assert len(listed) == 2
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert run("check", tmp_path / "copies" / "monday") == "sound: 1 collection checked\n"
    found = np.asarray(vectors(20)[6])
    with vecstore.open(tmp_path / "copies" / "monday") as db:
        assert db.collection("books").search(found).ids[0] == 6
