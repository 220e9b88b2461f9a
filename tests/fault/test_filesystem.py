"""The faulty file system itself: what it loses, what it keeps, and when it fails."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from tests.fault.filesystem import SECTOR, FaultyFiles, PowerOff
from vecstore.errors import DatabaseFullError, StorageError
from vecstore.storage.files import FileSystem


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "disk"
    root.mkdir()
    return root


def found(root: Path) -> dict[str, bytes]:
    """Every file below a directory, and every empty directory as "name/"."""
    files = {str(path.relative_to(root)): path for path in root.rglob("*")}
    return {
        name if path.is_file() else name + "/": path.read_bytes() if path.is_file() else b""
        for name, path in files.items()
        if path.is_file() or not any(path.iterdir())
    }


def test_it_is_a_file_system(root: Path) -> None:
    """Without a fault it does what the machine's own file system does."""
    files: FileSystem = FaultyFiles(root)
    files.make_dir(root / "a" / "b")
    assert files.write(root / "a" / "b" / "one", [b"12", np.full(2, 51, dtype=np.uint8)]) == 4
    writer = files.create(root / "a" / "two", 6)
    writer.write_at(3, b"xyz")
    writer.close()
    files.link(root / "a" / "two", root / "a" / "three")
    files.rename(root / "a" / "b", root / "a" / "c")
    assert files.list_dir(root / "a") == ["c", "three", "two"]
    assert files.map(root / "a" / "c" / "one").tobytes() == b"1233"
    files.remove(root / "a" / "c")
    files.sync_dir(root / "a")
    assert files.free_bytes(root) > 0
    assert found(root) == {"a/two": b"\0\0\0xyz", "a/three": b"\0\0\0xyz"}


def test_names_are_lost_until_their_directory_is_synced(root: Path) -> None:
    """Files, links, renames and removals whose directory was not synced never happened."""
    files = FaultyFiles(root)
    for name in ("kept", "renamed", "removed"):
        files.write(root / name, [name.encode()])
    files.make_dir(root / "folder")
    files.sync_dir(root)
    files.write(root / "lost", [b"lost"])
    files.write(root / "folder" / "lost", [b"lost"])
    files.link(root / "kept", root / "linked")
    files.rename(root / "renamed", root / "moved")
    files.remove(root / "removed")
    files.make_dir(root / "unsynced")
    files.power_off()
    assert found(root) == {
        "kept": b"kept",
        "renamed": b"renamed",
        "removed": b"removed",
        "folder/": b"",
    }


def test_a_folder_keeps_what_was_synced_in_it(root: Path) -> None:
    """A folder renamed and synced keeps the files that were synced in it before, and no others."""
    files = FaultyFiles(root)
    files.make_dir(root / "1.tmp")
    files.write(root / "1.tmp" / "rows", [b"rows"])
    files.sync_dir(root / "1.tmp")
    files.write(root / "1.tmp" / "late", [b"late"])
    files.rename(root / "1.tmp", root / "1")
    files.sync_dir(root)
    files.remove(root / "1")
    files.power_off()
    assert found(root) == {"1/rows": b"rows"}


def test_bytes_are_lost_until_their_file_is_synced(root: Path) -> None:
    """A file that was not closed is empty, or keeps a random half of its sectors with a seed."""
    for seed in (None, 3):
        disk = root / str(seed)
        disk.mkdir()
        files = FaultyFiles(disk)
        writer = files.create(disk / "file", 20 * SECTOR)
        writer.write_at(0, b"x" * 20 * SECTOR)
        files.sync_dir(disk)
        writer.abandon()
        files.power_off(seed)
        content = (disk / "file").read_bytes()
        sectors = [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]
        if seed is None:
            assert sectors == []
        else:
            assert set(sectors) == {b"x" * SECTOR, bytes(SECTOR)}


def test_a_random_moment(root: Path) -> None:
    """With a seed the names are those of some moment since the last sync, each of which occurs."""
    seen = set()
    for seed in range(30):
        disk = root / str(seed)
        disk.mkdir()
        files = FaultyFiles(disk)
        files.write(disk / "a", [b""])
        files.sync_dir(disk)
        files.rename(disk / "a", disk / "b")
        files.write(disk / "c", [b""])
        files.power_off(seed)
        seen.add(tuple(sorted(found(disk))))
    assert seen == {("a",), ("b",), ("b", "c")}


def test_what_others_made_stays(root: Path) -> None:
    """Files made without it, as LMDB makes its own, are left as they are."""
    (root / "db").mkdir()
    (root / "db" / "data.mdb").write_bytes(b"lmdb")
    files = FaultyFiles(root)
    files.make_dir(root / "db" / "segments")
    files.sync_dir(root / "db")
    (root / "db" / "lock.mdb").write_bytes(b"lock")
    files.write(root / "db" / "segments" / "one", [b"1"])
    (root / "copy").write_bytes(b"made elsewhere")
    files.rename(root / "copy", root / "db" / "copy")
    files.power_off()
    assert found(root) == {
        "db/data.mdb": b"lmdb",
        "db/lock.mdb": b"lock",
        "db/segments/": b"",
        "copy": b"made elsewhere",
    }


def test_the_nth_call_fails(root: Path) -> None:
    """Only the call of that kind and number fails, with its code; what it wrote is cut short."""
    files = FaultyFiles(root)
    files.write(root / "first", [b"1234"])
    files.fail("write", 2, errno.ENOSPC)
    files.fail("rename", 1)
    files.write(root / "second", [b"1234"])
    with pytest.raises(DatabaseFullError, match="third"):
        files.write(root / "third", [b"1234"])
    with pytest.raises(StorageError, match="Input/output") as caught:
        files.rename(root / "first", root / "other")
    assert caught.value.errno == errno.EIO
    files.rename(root / "first", root / "other")
    assert found(root) == {"other": b"1234", "second": b"1234", "third": b"12"}
    assert files.calls == {"create": 3, "write": 3, "sync": 2, "rename": 2}


def test_all_later_calls_fail(root: Path) -> None:
    """A fault that stays fails every later call of its kind, until it is mended."""
    files = FaultyFiles(root)
    files.fail("sync", 1, always=True)
    for name in ("a", "b"):
        with pytest.raises(StorageError, match=name):
            files.write(root / name, [b"1234"])
    files.mend()
    files.write(root / "c", [b"1234"])
    files.sync_dir(root)
    files.power_off()
    assert found(root) == {"a": b"", "b": b"", "c": b"1234"}


def test_the_power_goes_in_the_middle_of_a_call(root: Path) -> None:
    """The call at which the power goes raises what no code handles, and all later ones fail."""
    files = FaultyFiles(root)
    files.stop(2)
    with pytest.raises(PowerOff):
        files.write(root / "file", [b"1234"])
    for call in (files.map, files.make_dir, files.list_dir, files.sync_dir, files.remove):
        with pytest.raises(StorageError, match="power is off"):
            call(root / "file")
    files.power_off()
    assert found(root) == {}
