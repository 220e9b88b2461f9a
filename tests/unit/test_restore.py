"""Bring a database back: from directories, after interruptions, and never over another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vecstore as vs
from tests.unit.backups import Stopped, Store, fill, state, state_at, write
from vecstore.database import Database
from vecstore.errors import (
    AlreadyExistsError,
    DatabaseFullError,
    LockedError,
    NotADatabaseError,
    RequestError,
    StorageError,
)
from vecstore.storage import keys
from vecstore.storage.files import RealFiles


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database of every kind of file, in "db", and a copy of it, in "copy"."""
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as opened:
        fill(opened)
        opened.snapshot(tmp_path / "copy")
        yield opened


@pytest.fixture
def store(db: Database) -> Store:
    """An object store with a snapshot of the database."""
    memory = pytest.importorskip("obstore.store").MemoryStore()
    db.snapshot(memory)
    return Store(memory)


def test_restored_copy_equals_the_database(tmp_path: Path, db: Database) -> None:
    """A directory is copied whole; the restored database shares no file with it."""
    expected = state(db)
    vs.restore(tmp_path / "copy", tmp_path / "restored")
    assert sorted(os.listdir(tmp_path / "restored")) == ["codecs", "data.mdb", "segments"]
    for path in (tmp_path / "restored").rglob("*"):
        assert path.is_dir() or path.stat().st_nlink == 1
    assert state_at(tmp_path / "restored") == expected
    assert state_at(tmp_path / "copy") == expected


def test_restored_database_goes_on(tmp_path: Path, db: Database) -> None:
    """A restored database is written, flushed and copied as any other."""
    vs.restore(tmp_path / "copy", tmp_path / "restored")
    with vs.open(tmp_path / "restored") as restored:
        for opened in (db, restored):
            write(opened, "books", 6)
            opened.collection("books").flush()
        assert restored.check() == []
        assert state(restored) == state(db)
        restored.snapshot(tmp_path / "again")
        assert state_at(tmp_path / "again") == state(db)


def test_closed_database_is_a_snapshot(tmp_path: Path, db: Database) -> None:
    """A database that nobody writes can be restored; the new one has an identity of its own."""
    expected = state(db)
    db.close()
    vs.restore(tmp_path / "db", tmp_path / "restored")
    found = []
    for name in ("db", "restored"):
        with vs.open(tmp_path / name) as opened, opened._environment.kv.read() as txn:
            found.append(txn.get(keys.META, keys.IDENTITY))
    assert found[0] != found[1]
    assert state_at(tmp_path / "restored") == expected


def test_progress_can_stop_a_restore(tmp_path: Path, db: Database) -> None:
    """What progress raises at any report stops the restore as it is, and nothing is at the path."""
    reports: list[str] = []
    vs.restore(tmp_path / "copy", tmp_path / "one", progress=lambda what, *_: reports.append(what))
    assert len(set(reports)) > 2
    for wanted in dict.fromkeys(reports):

        def stop(what: str, done: int, total: int, wanted: str = wanted) -> None:
            if what == wanted:
                raise Stopped

        with pytest.raises(Stopped):
            vs.restore(tmp_path / "copy", tmp_path / "two", progress=stop)
        assert not (tmp_path / "two").exists()
    vs.restore(tmp_path / "copy", tmp_path / "two")
    assert state_at(tmp_path / "two") == state(db)


def test_restore_overwrites_nothing(tmp_path: Path, db: Database) -> None:
    """What is at the path, or where the database is made, is neither changed nor removed."""
    for name in ("full", "other.restoring"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter").write_text("dear")
    for name in ("full", "other", "db"):
        with pytest.raises(AlreadyExistsError):
            vs.restore(tmp_path / "copy", tmp_path / name)
    assert (tmp_path / "full" / "letter").read_text() == "dear"
    assert (tmp_path / "other.restoring" / "letter").read_text() == "dear"
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty").mkdir()
    vs.restore(tmp_path / "copy", tmp_path / "empty")
    assert state_at(tmp_path / "empty") == state(db)


def test_stopped_restore_is_resumed(tmp_path: Path, db: Database, store: Store) -> None:
    """Stopped at any read, nothing is at the path; the next try reads only what is missing."""
    expected = state(db)
    files = json.loads(bytes(store.get("snapshots/000000000001.json").bytes()))["files"]
    for steps in range(0, len(files), 9):
        path = tmp_path / f"restored{steps}"
        making = path.with_name(path.name + ".restoring")
        store.forget()
        store.left = steps
        with pytest.raises(Stopped):
            vs.restore(store, path)
        assert not path.exists()
        there = {
            found.relative_to(making).as_posix() for found in making.rglob("*") if found.is_file()
        }
        missing = [item for item in files if item["path"] not in there]
        assert len(missing) < len(files) or steps < 9
        store.forget()
        vs.restore(store, path)
        assert sorted(store.reads) == sorted(f"files/{item['sha256']}" for item in missing)
        assert state_at(path) == expected


def test_killed_restore_is_resumed(tmp_path: Path, db: Database) -> None:
    """A process that dies in the middle leaves nothing at the path; the next one finishes it."""
    expected = state(db)
    code = (
        "import os, sys, vecstore as vs\n"
        "vs.restore(sys.argv[1], sys.argv[2], progress=lambda *_: os._exit(7))"
    )
    path = tmp_path / "restored"
    arguments = [sys.executable, "-c", code, str(tmp_path / "copy"), str(path)]
    assert subprocess.run(arguments, check=False).returncode == 7
    assert not path.exists()
    assert (tmp_path / "restored.restoring").exists()
    vs.restore(tmp_path / "copy", path)
    assert not (tmp_path / "restored.restoring").exists()
    assert state_at(path) == expected


def test_leftovers_of_another_try_are_no_part(tmp_path: Path, db: Database, store: Store) -> None:
    """What a try of another snapshot left behind is used where it fits, and removed where not."""
    db.collection("pages").delete([1])
    db.drop_collection("books")
    db.snapshot(store)
    path = tmp_path / "restored"
    making = tmp_path / "restored.restoring"
    vs.restore(store, making, number=1)
    (making / "unfinished").touch()
    (making / "data.mdb").write_bytes(b"damaged")
    link = next(making.glob("segments/*/rows"))
    link.rename(tmp_path / "rows")
    link.symlink_to(tmp_path / "rows")
    (making / "segments" / "stranger").mkdir()
    (making / "letter").write_text("dear")
    store.forget()
    vs.restore(store, path, number=2)
    assert 0 < len(set(store.reads)) <= 2
    assert sorted(os.listdir(path)) == ["codecs", "data.mdb", "segments"]
    assert not any(found.is_symlink() for found in path.rglob("*"))
    assert state_at(path) == state(db)


def test_room_is_looked_for_first(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room nothing is read."""
    monkeypatch.setattr(RealFiles, "free_bytes", lambda _self, _path: 10_000)
    with pytest.raises(DatabaseFullError, match="10,000 are free"):
        vs.restore(store, tmp_path / "restored")
    assert store.reads == []
    assert not (tmp_path / "restored").exists()


def test_written_directory_is_no_snapshot(tmp_path: Path, db: Database) -> None:
    """A directory that is open for writing is refused; it can be opened while it is restored."""
    with pytest.raises(LockedError, match="being written"):
        vs.restore(tmp_path / "db", tmp_path / "restored")
    with vs.open(tmp_path / "copy"):
        pass
    seen = []

    def look(what: str, done: int, total: int) -> None:
        seen.append(what)
        with pytest.raises(LockedError):
            vs.open(tmp_path / "copy")

    vs.restore(tmp_path / "copy", tmp_path / "restored", progress=look)
    assert seen


def test_a_file_is_no_snapshot(tmp_path: Path) -> None:
    """A source that is a file is told as one that holds no snapshot."""
    (tmp_path / "file").write_text("dear")
    with pytest.raises(NotADatabaseError, match="file holds no snapshot"):
        vs.restore(tmp_path / "file", tmp_path / "restored")
    assert os.listdir(tmp_path) == ["file"]


def test_progress_that_cannot_be_called_is_refused(tmp_path: Path) -> None:
    """It is refused before anything else is looked at."""
    with pytest.raises(RequestError, match="progress is 7"):
        vs.restore(tmp_path / "none", tmp_path / "restored", progress=7)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "short", "long", "missing", "wrong"])
@pytest.mark.parametrize("name", ["data.mdb", "segments/*/rows", "codecs/*"])
def test_strange_directory_is_refused(tmp_path: Path, db: Database, kind: str, name: str) -> None:
    """A file of a directory that is not what it was gives an error, and nothing at the path."""
    path = next((tmp_path / "copy").glob(name))
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "short":
        path.write_bytes(data[:-1])
    elif kind == "long":
        path.write_bytes(data + bytes(4096))
    elif kind == "wrong":
        third = len(data) // 3
        path.write_bytes(data[:third] + bytes(third) + data[2 * third :])
    if (name, kind) == ("data.mdb", "long"):
        return  # LMDB's files may have pages that it does not use yet
    with pytest.raises(StorageError):
        vs.restore(tmp_path / "copy", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_wrong_arguments_are_refused(tmp_path: Path, db: Database, store: Store) -> None:
    """A number for a directory, and what is neither path nor store, are told apart."""
    with pytest.raises(RequestError, match="directory"):
        vs.restore(tmp_path / "copy", tmp_path / "restored", number=1)
    with pytest.raises(RequestError):
        vs.restore(7, tmp_path / "restored")  # type: ignore[arg-type]
    with pytest.raises(RequestError):
        vs.restore(tmp_path / "copy", "")
    with pytest.raises(RequestError):
        vs.restore(store, tmp_path / "restored", number="1")  # type: ignore[arg-type]
    with pytest.raises(NotADatabaseError, match="file:///"):
        vs.restore(tmp_path, tmp_path / "restored")
