"""Copies of a database in an object store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs

pytest.importorskip("obstore")

from obstore.exceptions import AlreadyExistsError as Exists
from obstore.exceptions import GenericError
from obstore.store import LocalStore, MemoryStore

from tests.unit.backups import Stopped, Store, fill, keys_of, state, state_at, write
from vecstore.backup import objects as objects_module
from vecstore.database import Database
from vecstore.errors import (
    CorruptionError,
    MissingExtraError,
    NotFoundError,
    RequestError,
    StorageError,
)
from vecstore.storage import failpoints, keys
from vecstore.storage.files import RealFiles
from vecstore.types import Uint8

LABELS = ["snapshot.copied", "snapshot.linked", "snapshot.renamed"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database of every kind of file, in "db"."""
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def store() -> Store:
    """An object store in memory."""
    return Store(MemoryStore())


def size_of(store: Store, keys: set[str]) -> int:
    items = [item for chunk in store.list("files") for item in chunk]
    return sum(item["size"] for item in items if item["path"] in keys)


def test_restored_equals_the_database(tmp_path: Path, db: Database, store: Store) -> None:
    """Each snapshot can be restored, with the same records, vectors, hits and stats."""
    states = []
    for number in range(1, 4):
        assert db.snapshot(store).number == number
        states.append(state(db))
        write(db, "books", 3 + number)
        db.collection("pages").flush()
    for number, expected in enumerate(states, 1):
        path = tmp_path / f"restored{number}"
        vs.restore(store, path, number=number)
        assert state_at(path) == expected
    vs.restore(store, tmp_path / "last")
    assert state_at(tmp_path / "last") == states[-1]


def test_file_url(tmp_path: Path, db: Database) -> None:
    """A folder of this machine is an object store too; it is made if there is none."""
    url = f"file://{tmp_path}/deep/store"
    made = db.snapshot(url)
    assert [found.number for found in vs.snapshots(url)] == [made.number] == [1]
    vs.restore(url, tmp_path / "restored")
    assert state_at(tmp_path / "restored") == state(db)


def test_only_new_bytes_are_uploaded(db: Database, store: Store) -> None:
    """A snapshot uploads what no earlier one has, and says how much that was."""
    first = db.snapshot(store)
    assert first.bytes_new < first.bytes_total  # some of its files are alike
    assert len(store.files_put) == len(set(store.files_put)) < first.files
    assert first.bytes_new == size_of(store, set(store.files_put))
    known = set(keys_of(store, "files"))
    write(db, "books", 4)
    db.collection("books").flush()
    store.forget()
    second = db.snapshot(store)
    new = set(keys_of(store, "files")) - known
    assert sorted(store.files_put) == sorted(new)
    assert second.bytes_new == size_of(store, new) < second.bytes_total


def test_unchanged_files_are_not_read(
    db: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that an earlier snapshot of the database has are not even opened."""
    db.snapshot(store)
    mapped: list[str] = []

    class Watched(RealFiles):
        def map(self, path: Path) -> Uint8:
            mapped.append(path.name)
            return super().map(path)

    monkeypatch.setattr(db._environment, "files", Watched())
    db.snapshot(store)
    assert set(mapped) == {"data.mdb"}


def test_a_place_is_for_one_database(tmp_path: Path, db: Database, store: Store) -> None:
    """A restored database uploads nothing to where its origin does, and all to a new place."""
    db.snapshot(store)
    vs.restore(store, tmp_path / "restored")
    store.forget()
    with vs.open(tmp_path / "restored") as restored:
        with pytest.raises(RequestError, match="give each database a place of its own") as caught:
            restored.snapshot(store)
        for opened in (db, restored):
            with opened._environment.kv.read() as txn:
                identity = txn.get(keys.META, keys.IDENTITY)
            assert identity is not None
            assert identity.hex() in str(caught.value)
        assert store.files_put == []
        assert restored.snapshot(Store(MemoryStore())).number == 1
    assert db.snapshot(store).number == 2


def test_the_slower_of_two_databases_is_refused(tmp_path: Path, db: Database, store: Store) -> None:
    """Of two databases that begin to upload to an empty place, one publishes a snapshot."""

    def overtake(key: str) -> None:
        store.before_put = lambda _: None
        with vs.open(tmp_path / "other") as other:
            other.snapshot(store.inner)

    store.before_put = overtake
    with pytest.raises(RequestError, match="identity"):
        db.snapshot(store)
    assert list(keys_of(store, "snapshots")) == ["snapshots/000000000001.json"]


@pytest.mark.parametrize("url", ["file://", "file:///", "file:////", "file:///a/..", "FILE:///"])
def test_the_root_is_no_place(db: Database, url: str) -> None:
    """The URL of a folder has a path."""
    with pytest.raises(RequestError, match="has no path"):
        db.snapshot(url)


def test_a_place_in_the_database_is_refused(tmp_path: Path, db: Database) -> None:
    """A folder in the database's own directory is no place for its snapshots; none is made."""
    (tmp_path / "link").symlink_to(tmp_path / "db")
    for name in ("db", "db/copies", "link/copies", "%64b/copies"):
        with pytest.raises(RequestError, match="outside"):
            db.snapshot(f"file://{tmp_path}/{name}")
    assert not (tmp_path / "db" / "copies").exists()
    with pytest.raises(RequestError, match="outside"):
        db.snapshot(LocalStore(tmp_path / "db" / "segments"))


def test_stopped_upload_is_resumed(tmp_path: Path, db: Database) -> None:
    """Stopped at any operation, an upload publishes nothing; the next one sends what is missing."""
    expected = state(db)
    steps = 0
    while True:
        store = Store(MemoryStore())
        store.left = steps
        try:
            db.snapshot(store)
        except Stopped:
            pass
        else:
            break
        assert list(keys_of(store.inner, "snapshots")) == []
        sent = set(keys_of(store.inner, "files"))
        store.forget()
        made = db.snapshot(store)
        assert made.number == 1
        assert not sent.intersection(store.files_put)
        steps += 3
    assert steps > 20
    store.forget()
    vs.restore(store, tmp_path / "restored")
    assert state_at(tmp_path / "restored") == expected


@pytest.mark.parametrize("label", LABELS)
def test_killed_upload_is_resumed(tmp_path: Path, db: Database, label: str) -> None:
    """A process that dies at any step publishes a whole snapshot or none."""
    expected = state(db)
    db.close()
    url = f"file://{tmp_path}/store"
    code = "import sys, vecstore as vs; vs.open(sys.argv[1]).snapshot(sys.argv[2])"
    died = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "db"), url],
        check=False,
        env={**os.environ, "VECSTORE_FAILPOINT": f"{label}:1", "TMPDIR": str(tmp_path)},
    )
    assert died.returncode == failpoints.EXIT_CODE
    published = len(vs.snapshots(url))
    assert published == (label == "snapshot.renamed")
    files = tmp_path / "store" / "files"
    sent = set(os.listdir(files)) if files.exists() else set()
    with vs.open(tmp_path / "db") as again:
        assert again.snapshot(url).number == published + 1
    new = set(os.listdir(files)) - sent
    assert (len(new) <= 1) == (label != "snapshot.copied")  # the copy of LMDB may differ
    vs.restore(url, tmp_path / "restored")
    assert state_at(tmp_path / "restored") == expected


def test_large_files_go_in_parts(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file larger than a part is sent as a stream and read in ranges, and comes back the same."""
    monkeypatch.setattr(objects_module, "PART_BYTES", 1 << 16)
    rows = np.random.default_rng(1).standard_normal((5_000, 64)).astype(np.float32)
    with vs.open(tmp_path / "db") as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", 64)]))
        items.upsert(range(5_000), rows)
        items.flush()
        seen: list[tuple[str, int, int]] = []
        made = db.snapshot(store, progress=lambda *report: seen.append(report))
        expected = items.search(rows[7], limit=50).scores.tolist()
    assert seen[-1] == ("upload", made.bytes_total, made.bytes_total)
    seen.clear()
    vs.restore(store, tmp_path / "restored", progress=lambda *report: seen.append(report))
    assert len(store.reads) > made.files
    ended = {what: done for what, done, total in seen if done == total}
    assert ended["restore LMDB"] + ended["restore files"] == made.bytes_total
    with vs.open(tmp_path / "restored") as db:
        assert db.collection("items").search(rows[7], limit=50).scores.tolist() == expected


def test_progress_can_stop_an_upload(db: Database, store: Store) -> None:
    """What progress raises stops the upload, and nothing is published."""

    def stop(what: str, done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        db.snapshot(store, progress=stop)
    assert list(keys_of(store, "snapshots")) == []
    assert db.snapshot(store).number == 1


def test_numbers_are_never_given_twice(db: Database, store: Store) -> None:
    """Where another process takes the number first, the next one is taken."""

    def overtake(key: str) -> None:
        if key.startswith("snapshots/"):
            store.before_put = lambda _key: None
            store.inner.put(key, b"theirs")

    store.before_put = overtake
    assert db.snapshot(store).number == 2
    assert bytes(store.inner.get("snapshots/000000000001.json").bytes()) == b"theirs"


def test_lost_answer_makes_no_second_snapshot(db: Database, store: Store) -> None:
    """A manifest that was made although its answer was lost is not made again."""

    class Deaf(Store):
        def put(self, path: str, file: Any, **options: Any) -> Any:
            super().put(path, file, **options)
            if options.get("mode") == "create":
                raise Exists("said again")

    assert db.snapshot(Deaf(store.inner)).number == 1
    assert [found.number for found in vs.snapshots(store)] == [1]


def test_damaged_file_is_not_uploaded(tmp_path: Path, db: Database, store: Store) -> None:
    """A damaged block stops the snapshot before it is published."""
    path = next((tmp_path / "db" / "segments").glob("*/payloads"))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="payloads"):
        db.snapshot(store)
    assert list(keys_of(store, "snapshots")) == []


def test_unreadable_manifest_stops_no_snapshot(db: Database, store: Store) -> None:
    """A damaged manifest of an earlier snapshot costs time, and nothing else."""
    db.snapshot(store)
    store.inner.put("snapshots/000000000001.json", b"damaged")
    made = db.snapshot(store)
    assert made.number == 2
    assert made.bytes_new == 0 or made.bytes_new < made.bytes_total
    with pytest.raises(CorruptionError, match="snapshot 1"):
        vs.snapshots(store)


def test_list_of_snapshots(db: Database, store: Store) -> None:
    """Snapshots are listed oldest first, as they were told when they were made."""
    assert vs.snapshots(store) == []
    made = [db.snapshot(store)]
    write(db, "books", 5)
    made.append(db.snapshot(store))
    assert vs.snapshots(store) == made
    with pytest.raises(NotFoundError, match="snapshot 7"):
        vs.restore(store, "nowhere", number=7)
    with pytest.raises(RequestError):
        vs.snapshots("a/directory")


def test_failing_store_is_told(db: Database, store: Store, tmp_path: Path) -> None:
    """What the store refuses for good is a StorageError that names it, in one line."""

    def refuse(key: str) -> None:
        raise GenericError("no access\nand much more")

    store.before_put = refuse
    with pytest.raises(StorageError, match=r"no access$") as caught:
        db.snapshot(store)
    assert "files/" in str(caught.value)


def test_local_store_is_synced(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of this machine every object is on disk before the snapshot is acknowledged."""
    synced: set[Path] = set()
    before = RealFiles.sync_dir

    def sync(self: RealFiles, path: Path) -> None:
        synced.add(path)
        before(self, path)

    monkeypatch.setattr(RealFiles, "sync_dir", sync)
    db.snapshot(LocalStore(tmp_path / "store", mkdir=True))
    folder = tmp_path / "store"
    assert {path for path in folder.rglob("*")} | {folder, tmp_path} <= synced


def test_missing_extra_is_named(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without obstore the error says what to install."""
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    for act in (db.snapshot, vs.snapshots, lambda url: vs.restore(url, tmp_path / "restored")):
        with pytest.raises(MissingExtraError, match=r"vecstore\[objects\]"):
            act("s3://bucket/prefix")
