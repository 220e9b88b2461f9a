"""A snapshot that somebody made up: always a typed error, and nothing at the path."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

import vecstore as vs
from tests.unit.backups import Store, fill, keys_of, state, state_at
from vecstore.backup import manifest as manifest_module
from vecstore.errors import CorruptionError, DatabaseFullError, FormatVersionError, StorageError

pytest.importorskip("obstore")

from obstore.store import MemoryStore

KEY = "snapshots/000000000001.json"
SUM = "0" * 64
SEGMENT = "segments/0000000000000001"


class Forger:
    """A store with one sound snapshot, to be changed.

    Attributes:
        store: the store.
        path: where it is restored to.
    """

    def __init__(self, folder: Path, objects: dict[str, bytes], expected: dict[str, Any]) -> None:
        self.store = Store(MemoryStore())
        for key, data in objects.items():
            self.store.inner.put(key, data)
        self.state = expected
        self.path = folder / "deep" / "restored"
        self.path.parent.mkdir()
        self.outside = set(folder.rglob("*"))

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(bytes(self.store.inner.get(KEY).bytes()))
        return found

    def publish(self, manifest: object) -> None:
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        self.store.inner.put(KEY, data)

    def replace(self, path: str, data: bytes) -> None:
        """Other bytes for a file, with the right SHA-256."""
        manifest = self.manifest()
        entry = next(item for item in manifest["files"] if item["path"] == path)
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.store.inner.put(f"files/{entry['sha256']}", data)
        self.publish(manifest)

    def read(self, path: str) -> bytes:
        entry = next(item for item in self.manifest()["files"] if item["path"] == path)
        return bytes(self.store.inner.get(f"files/{entry['sha256']}").bytes())

    def refused(self, *kinds: type[Exception]) -> str:
        """Restoring fails with an error of these kinds, and nothing is where it should not be."""
        with pytest.raises(kinds or CorruptionError) as caught:
            vs.restore(self.store, self.path)
        assert not self.path.exists()
        making = self.path.with_name("restored.restoring")
        new = set(self.path.parents[1].rglob("*")) - self.outside
        assert all(path == making or making in path.parents for path in new)
        assert not any(path.is_symlink() for path in new)
        return str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The objects of a sound snapshot, and the state of the database."""
    store = MemoryStore()
    options = vs.Options(background=False)
    with vs.open(tmp_path_factory.mktemp("sound"), options=options) as db:
        fill(db)
        db.snapshot(store)
        keys = [*keys_of(store, "files"), *keys_of(store, "snapshots")]
        return {key: bytes(store.get(key).bytes()) for key in keys}, state(db)


@pytest.fixture
def forger(tmp_path: Path, sound: tuple[dict[str, bytes], dict[str, Any]]) -> Forger:
    """A sound snapshot, to be changed."""
    return Forger(tmp_path, *sound)


def test_unchanged_snapshot_is_restored(forger: Forger) -> None:
    """What the other tests change can be restored as it was."""
    forger.publish(forger.manifest())
    vs.restore(forger.store, forger.path)
    assert state_at(forger.path) == forger.state


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "segments/../../evil",
        f"{SEGMENT}/../../../evil",
        f"{SEGMENT}/..",
        f"{SEGMENT}/.",
        f"{SEGMENT}/",
        SEGMENT,
        "segments//rows",
        f"{SEGMENT}//rows",
        f"./{SEGMENT}/rows",
        f"{SEGMENT}\\rows",
        "..\\evil",
        "C:\\evil",
        "segments/1/rows",
        "segments/000000000000000G/rows",
        "segments/000000000000000A/rows",
        "segments/00000000000000001/rows",
        f"{SEGMENT}.tmp/rows",
        f"{SEGMENT}/evil",
        f"{SEGMENT}/rows\n",
        f"{SEGMENT}/rows\0",
        f"{SEGMENT}/rows.part",
        f"{SEGMENT}/column-12345",
        "codecs/evil",
        "codecs/0000000000000001/rows",
        "lock.mdb",
        "writer.lock",
        "unfinished",
        "readers/0000000000000001",
        "DATA.MDB",
        "data.mdb/",
        "~",
        "",
        "x" * 5_000,
        "\ud800",
        7,
        None,
    ],
)
def test_names_that_lead_elsewhere(forger: Forger, name: Any) -> None:
    """Only names of the format are taken; nothing is written, or read, for any other."""
    manifest = forger.manifest()
    manifest["files"].append(manifest["files"][0] | {"path": name})
    forger.publish(manifest)
    forger.store.forget()
    forger.refused()
    assert forger.store.reads == []


def _set(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(fields)


def _set_file(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["files"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_set(version=2), FormatVersionError),
        (_set(version=10**30), FormatVersionError),
        (_set(version=0), CorruptionError),
        (_set(version="1"), CorruptionError),
        (_set(version=None), CorruptionError),
        (_set(format=99), FormatVersionError),
        (_set(format=-1), CorruptionError),
        (_set(created_at="yesterday"), CorruptionError),
        (_set(created_at="2026-01-01T00:00:00"), CorruptionError),
        (_set(identity="../.."), CorruptionError),
        (_set(surprise=1), CorruptionError),
        (_set(files=[]), CorruptionError),
        (_set(files={}), CorruptionError),
        (_set(files="data.mdb"), CorruptionError),
        (_set_file(bytes=-1), CorruptionError),
        (_set_file(bytes=1 << 62), CorruptionError),
        (_set_file(bytes=1.5), CorruptionError),
        (_set_file(bytes=10**40), CorruptionError),
        (_set_file(crc=1 << 32), CorruptionError),
        (_set_file(sha256=SUM), CorruptionError),
        (_set_file(sha256=SUM[1:]), CorruptionError),
        (_set_file(sha256=f"{SUM}\n"), CorruptionError),
        (_set_file(sha256=f"../{SUM[3:]}"), CorruptionError),
        (_set_file(surprise=1), CorruptionError),
        (lambda manifest: manifest.pop("files"), CorruptionError),
        (lambda manifest: manifest.pop("version"), CorruptionError),
        (lambda manifest: manifest["files"].append(manifest["files"][1]), CorruptionError),
    ],
)
def test_strange_fields(
    forger: Forger, change: Callable[[dict[str, Any]], None], error: type[Exception]
) -> None:
    """A field that is missing, unknown, of another type or out of range is told before a read."""
    manifest = forger.manifest()
    change(manifest)
    forger.publish(manifest)
    forger.store.forget()
    forger.refused(error)
    assert forger.store.reads == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"version": 1', b"\0" * 100]
)
def test_no_json(forger: Forger, data: bytes) -> None:
    """Bytes that are no manifest are told."""
    forger.publish(data)
    forger.refused()


def test_too_many_files(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a most to the files of a manifest, and to its bytes before it is read."""
    entry = json.dumps(forger.manifest()["files"][0])
    many = json.dumps(forger.manifest() | {"files": ["here"]}).replace(
        '"here"', ",".join([entry] * (manifest_module.FILES_MAX + 1))
    )
    forger.publish(many.encode())
    assert "1000000" in forger.refused()
    monkeypatch.setattr(manifest_module, "MANIFEST_BYTES_MAX", 1_000)
    assert "1,000 at most" in forger.refused()


def test_more_bytes_than_there_is_room(forger: Forger) -> None:
    """Sizes that no disk has are refused before anything is read."""
    manifest = forger.manifest()
    sizes = forger.store.inner.list("files").collect()
    entry = next(item for item in manifest["files"] if item["path"] == "data.mdb")
    entry["bytes"] = 1 << 45

    class Boasting(Store):
        def list(self, prefix: str | None = None) -> Any:
            found = [dict(item) for item in (sizes if prefix == "files" else [])]
            for item in found:
                if entry["sha256"] in item["path"]:
                    item["size"] = 1 << 45
            return [found] if prefix == "files" else super().list(prefix)

    forger.publish(manifest)
    forger.store = Boasting(forger.store.inner)
    forger.refused(DatabaseFullError)
    assert forger.store.reads == []


@pytest.mark.parametrize("name", ["data.mdb", f"{SEGMENT}/rows"])
@pytest.mark.parametrize("kind", ["missing", "short", "long", "other"])
def test_wrong_objects(forger: Forger, name: str, kind: str) -> None:
    """An object that is missing, too short, too long or has other bytes is told."""
    entry = next(item for item in forger.manifest()["files"] if item["path"] == name)
    key = f"files/{entry['sha256']}"
    data = bytes(forger.store.inner.get(key).bytes())
    changed = {"short": data[:-1], "long": data + b"\0", "other": data[:-1] + b"\xff"}
    if kind == "missing":
        forger.store.inner.delete(key)
    else:
        forger.store.inner.put(key, changed[kind])
    assert name.rpartition("/")[2] in forger.refused()  # two files may share an object


def test_object_that_changes_meanwhile(forger: Forger) -> None:
    """A store that gives other bytes than it lists is not trusted for a byte more."""

    class Lying(Store):
        extra = b"\0" * 10

        def get_range(self, path: str, *, start: int, length: int) -> Any:
            return bytes(super().get_range(path, start=start, length=length)) + self.extra

    forger.store = Lying(forger.store.inner)
    forger.refused()
    forger.store.extra = b""  # type: ignore[attr-defined]
    vs.restore(forger.store, forger.path)
    assert state_at(forger.path) == forger.state


def test_files_that_lmdb_does_not_name(forger: Forger) -> None:
    """A manifest lists exactly the files that the LMDB in it names, as it names them."""
    for change in (
        lambda files: files.append(files[0] | {"path": "codecs/00000000000000ff"}),
        lambda files: files.pop(0),
        lambda files: files[0].update(crc=files[0]["crc"] ^ 1),
    ):
        good = forger.manifest()
        manifest = forger.manifest()
        change(manifest["files"])
        forger.publish(manifest)
        assert "do not agree" in forger.refused()
        forger.publish(good)


def test_other_bytes_with_the_right_sum(forger: Forger) -> None:
    """Files made up with a right SHA-256 are found by the checksums that LMDB holds."""
    data = forger.read(f"{SEGMENT}/rows")
    forger.replace(f"{SEGMENT}/rows", data[:300] + bytes([data[300] ^ 1]) + data[301:])
    forger.refused()


def test_damaged_lmdb_with_the_right_sum(forger: Forger) -> None:
    """LMDB with any 16 bytes overwritten is restored as it was, or refused: never a crash."""
    data = forger.read("data.mdb")
    refused = 0
    for start in range(0, len(data), max(16, len(data) // 25) | 1):
        forger.replace("data.mdb", data[:start] + b"\xfe" * 16 + data[start + 16 :])
        try:
            vs.restore(forger.store, forger.path)
        except StorageError:
            refused += 1
            assert not forger.path.exists()
        else:
            assert state_at(forger.path) == forger.state
            forger.path.rename(forger.path.with_name(f"kept{start}"))
    assert refused > 3


def test_no_lmdb_at_all(forger: Forger) -> None:
    """A file that is no LMDB, or another's, is refused before LMDB opens it."""
    data = forger.read("data.mdb")
    for other in (b"", b"\0" * 8192, data[: len(data) // 2], data[:100], b"\xff" * 10_000):
        forger.replace("data.mdb", other)
        forger.refused(StorageError)


def test_lmdb_of_another_program(forger: Forger, tmp_path: Path) -> None:
    """A sound LMDB file without what a database has is refused."""
    os.mkdir(tmp_path / "other")
    with lmdb.open(str(tmp_path / "other"), max_dbs=4, lib_version=0) as other:
        other.open_db(b"meta")
        with other.begin(write=True) as txn:
            txn.put(b"key", b"value", db=other.open_db(b"things", txn=txn))
    forger.outside |= set((tmp_path / "other").rglob("*")) | {tmp_path / "other"}
    forger.replace("data.mdb", (tmp_path / "other" / "data.mdb").read_bytes())
    forger.refused(StorageError)


def test_hostile_values_in_lmdb(forger: Forger, tmp_path: Path) -> None:
    """Values with right checksums that say impossible things give a typed error."""
    from vecstore.storage import keys
    from vecstore.storage.kv import Kv

    data = forger.read("data.mdb")
    changes: list[tuple[str, bytes, bytes]] = [
        (keys.META, keys.FORMAT, b""),
        (keys.META, keys.FORMAT, b"\xff" * 40),
        (keys.MANIFESTS, b"\0\0\0\1", b"\x01\x93\x91\x95\xcf" + b"\xff" * 8),
        (keys.MANIFESTS, b"\0", b"\1\x80"),
        (keys.COLLECTIONS, b"\xff\xfe", b"\1\x92\1\x92\x90\x90"),
        (keys.COLLECTIONS, b"books", b"\1\xc0"),
        (keys.CODECS, b"\xff", b"\1\x90"),
        (keys.BUFFER, b"\0\0\0\1" + b"\xff" * 8, b"VSA\0" + b"\xff" * 60),
        (keys.TOMBSTONES, b"\0\0\0\1\0\0\0\0", b"\xff"),
        (keys.IDS, b"\0\0\0\1\xff", b"\xff" * 30),
    ]
    for number, (db, key, value) in enumerate(changes):
        folder = tmp_path / f"forged{number}"
        folder.mkdir()
        (folder / "data.mdb").write_bytes(data)
        kv = Kv.open(folder, databases=keys.DATABASES, map_bytes=1 << 30)
        with kv.write() as txn:
            txn.put(db, key, value)
        kv.close()
        forger.replace("data.mdb", (folder / "data.mdb").read_bytes())
        forger.outside |= {folder, *folder.rglob("*")}
        forger.refused(StorageError)


def test_strange_keys_are_left_alone(forger: Forger) -> None:
    """Objects beside the layout are neither listed nor read."""
    for key in ("snapshots/evil.json", "snapshots/1.json", "files/evil", "evil"):
        forger.store.inner.put(key, b"evil")
    assert [found.number for found in vs.snapshots(forger.store)] == [1]
    vs.restore(forger.store, forger.path)
    assert len(list(keys_of(forger.store, "files"))) > 1
