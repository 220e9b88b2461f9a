"""What opening a database makes, keeps and removes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import StorageError
from vecstore.segment.catalog import AlterJob, BuiltSegment
from vecstore.segment.manifest import to_bytes
from vecstore.storage import keys
from vecstore.storage.files import RealFiles
from vecstore.storage.kv import Kv
from vecstore.storage.paths import Paths

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot", ["int8", "float16"])])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one segment and one trained codec."""
    with vs.open(tmp_path / "db") as db:
        items = db.create_collection("items", SCHEMA)
        items.upsert([1, 2], np.eye(4)[:2])
        items.flush()
    return tmp_path / "db"


def names(path: Path) -> tuple[list[int], list[int]]:
    """The numbers of segments and codecs that are there."""
    paths = Paths(path)
    found = [sorted(entry.name for entry in p.iterdir()) for p in (paths.segments, paths.codecs)]
    return [int(name, 16) for name in found[0]], [int(name, 16) for name in found[1]]


def litter(path: Path) -> None:
    """Leave what a crash may leave: files under way, and files that no commit names."""
    paths = Paths(path)
    for folder in (paths.segment_temporary(50), paths.segment(51)):
        folder.mkdir()
        (folder / "rows").write_bytes(b"half")
    for file in (paths.codec_temporary(60), paths.codec(61)):
        file.write_bytes(b"half")


def identity(path: Path) -> bytes | None:
    """What tells this database from all others."""
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.read() as txn:
        found = txn.get(keys.META, keys.IDENTITY)
    kv.close()
    return found


def test_identity_stays(tmp_path: Path, path: Path) -> None:
    """A database has an identity of 16 bytes from the start on, and no other one has it."""
    first = identity(path)
    with vs.open(path), vs.open(tmp_path / "other"):
        pass
    assert first is not None
    assert len(first) == 16
    assert identity(path) == first
    assert identity(tmp_path / "other") != first


def test_older_database_gets_an_identity(path: Path) -> None:
    """A database without an identity gets one from the next writer, and none from a reader."""
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        txn.delete(keys.META, keys.IDENTITY)
    kv.close()
    with vs.open(path, read_only=True) as db:
        assert db.collection("items").count() == 2
    assert identity(path) is None
    with vs.open(path) as db:
        assert db.collection("items").count() == 2
    assert identity(path) is not None


def test_leftovers_are_removed(path: Path) -> None:
    """What a crash left is gone once the database is open for writing; a reader leaves it."""
    litter(path)
    with vs.open(path, read_only=True):
        pass
    assert len(names_of_all(path)) == 6
    with vs.open(path) as db:
        assert names(path) == ([1], [1])
        assert db.collection("items").search(np.ones(4)).ids.tolist() == [1, 2]
        assert db.check() == []


def names_of_all(path: Path) -> list[str]:
    """Every entry of the two folders."""
    paths = Paths(path)
    return [entry.name for folder in (paths.segments, paths.codecs) for entry in folder.iterdir()]


def test_leftovers_that_cannot_be_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leftover that cannot be removed does not stop the opening; it goes when it can."""
    litter(path)

    def refuse(self: RealFiles, path: Path) -> None:
        raise StorageError(f"cannot remove {path}")

    with monkeypatch.context() as patch:
        patch.setattr(RealFiles, "remove", refuse)
        db = vs.open(path, options=vs.Options(background=False))
    assert db.check() == []
    db._environment.reclaimer.sweep()
    assert names(path) == ([1], [1])
    db.close()


def test_alterations_keep_what_they_made(path: Path) -> None:
    """Segments that only an alteration under way names are no leftovers."""
    with vs.open(path, options=vs.Options(background=False)) as db:
        [info] = db.collection("items")._store.snapshot().manifest.segments
    litter(path)
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    made = BuiltSegment(info.id, msgspec.structs.replace(info, id=51))
    with kv.write() as txn:
        job = AlterJob("v", ("float16",), (made,))
        txn.put(keys.JOBS, keys.collection_key(1), to_bytes(job))
    kv.close()
    with vs.open(path, options=vs.Options(background=False)):
        assert names(path)[0] == [1, 51]


def test_nothing_is_removed_from_a_damaged_database(path: Path) -> None:
    """Where a manifest cannot be read, nobody knows what is named, and all files stay."""
    litter(path)
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        txn.put(keys.MANIFESTS, keys.collection_key(1), b"\x01nonsense")
    kv.close()
    with vs.open(path) as db:
        assert len(names_of_all(path)) == 6
        assert db.check() != []


@pytest.mark.parametrize("empty", [False, True])
def test_lost_records_are_not_tidied_away(tmp_path: Path, empty: bool) -> None:
    """Where LMDB's file is gone or empty, opening says so, and leaves segments as they are."""
    with vs.open(tmp_path) as db:
        items = db.create_collection("items", vs.Schema(vectors=[vs.Vector("v", 4)]))
        items.upsert([1], [[1, 2, 3, 4]])
        items.flush()
    kept = (tmp_path / "data.mdb").read_bytes()
    files = sorted(tmp_path.rglob("segments/*/*"))
    (tmp_path / "data.mdb").unlink()
    if empty:
        (tmp_path / "data.mdb").touch()
    for read_only in (False, True):
        with pytest.raises(StorageError, match=r"missing|holds no|empty"):
            vs.open(tmp_path, read_only=read_only)
    assert sorted(tmp_path.rglob("segments/*/*")) == files
    (tmp_path / "data.mdb").write_bytes(kept)
    with vs.open(tmp_path) as db:
        assert db.check() == []
        assert db.collection("items").count() == 1
