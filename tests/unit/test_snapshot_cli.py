"""`vecstore snapshot`, `vecstore snapshots` and `vecstore restore`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vecstore as vs

pytest.importorskip("typer", exc_type=ImportError)

from tests.unit.backups import fill, state, state_at, write
from tests.unit.command_line import make_books, run


def test_directory_there_and_back(tmp_path: Path) -> None:
    """A database goes to a directory and back, and says what came of it."""
    books = make_books(tmp_path / "library")
    assert "made copy in" in run("snapshot", books, tmp_path / "copy")
    output = run("restore", tmp_path / "copy", tmp_path / "again")
    assert re.search(r"restored .*again: books; checked, and sound", output)
    assert "sound: 1 collection" in run("check", tmp_path / "again")


def test_store_there_and_back(tmp_path: Path) -> None:
    """Snapshots of an object store are numbered, listed and restored by number."""
    pytest.importorskip("obstore")
    books = make_books(tmp_path / "library")
    url = f"file://{tmp_path}/store"
    assert "made snapshot 1 in" in run("snapshot", books, url)
    with vs.open(books) as db:
        db.create_collection("more", vs.Schema([vs.Vector("v", 4)]))
    assert "made snapshot 2 in" in run("snapshot", books, url)
    lines = run("snapshots", url).splitlines()
    assert [line.split()[0] for line in lines] == ["number", "1", "2"]
    assert "one: books;" in run("restore", url, tmp_path / "one", "--number", 1)
    assert "last: books, more;" in run("restore", url, tmp_path / "last")


def test_snapshot_beside_a_writer(tmp_path: Path) -> None:
    """A database that another process writes is copied, and restored as it was."""
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as db:
        fill(db)
        expected = state(db)
        command = [sys.executable, "-m", "vecstore.cli", "snapshot", tmp_path / "db"]
        subprocess.run([*command, tmp_path / "copy"], check=True)
        write(db, "books", 9)
        vs.restore(tmp_path / "copy", tmp_path / "again")
    assert state_at(tmp_path / "again") == expected


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """What cannot be exits with 1 and one line that says why; nothing is made."""
    books = make_books(tmp_path / "library")
    assert "exists" in run("snapshot", books, tmp_path, code=1)
    assert "holds no snapshot" in run("restore", tmp_path, tmp_path / "again", code=1)
    assert "nowhere://x" in run("snapshot", books, "nowhere://x", code=1)
    assert "has no snapshot" in run("restore", f"file://{tmp_path}/s", tmp_path / "again", code=1)
    assert "does not exist" in run("snapshot", tmp_path / "none", tmp_path / "copy", code=1)
    assert not {"again", "copy", "none"}.intersection(os.listdir(tmp_path))
