"""Files: what is written is read, and what the machine refuses has a type."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from vecstore.errors import DatabaseFullError, StorageError
from vecstore.storage.files import RealFiles, storage_errors


def test_written_bytes_are_mapped(tmp_path: Path) -> None:
    """A file holds the chunks end to end, whether bytes or arrays, and maps read-only."""
    files = RealFiles()
    path = tmp_path / "file"
    array = np.arange(200_000, dtype=np.uint8)
    assert files.write(path, [b"ab", array, b"", b"c"]) == 200_003
    mapped = files.map(path)
    assert mapped.tobytes() == b"ab" + array.tobytes() + b"c"
    assert not mapped.flags.writeable


def test_map_outlives_its_file(tmp_path: Path) -> None:
    """A map stays readable after its file was removed."""
    files = RealFiles()
    files.write(tmp_path / "file", [b"abc"])
    mapped = files.map(tmp_path / "file")
    files.remove(tmp_path / "file")
    assert mapped.tobytes() == b"abc"


def test_empty_file_maps_to_nothing(tmp_path: Path) -> None:
    """An empty file, which no machine can map, reads as no bytes."""
    files = RealFiles()
    files.write(tmp_path / "file", [])
    assert len(files.map(tmp_path / "file")) == 0


def test_a_file_is_never_written_twice(tmp_path: Path) -> None:
    """Writing a path that exists is refused and leaves the file as it was."""
    files = RealFiles()
    files.write(tmp_path / "file", [b"old"])
    with pytest.raises(StorageError, match="file"):
        files.write(tmp_path / "file", [b"new"])
    assert files.map(tmp_path / "file").tobytes() == b"old"


def test_folders(tmp_path: Path) -> None:
    """Folders are made with parents, listed in order, renamed and removed whole."""
    files = RealFiles()
    files.make_dir(tmp_path / "a" / "b")
    files.make_dir(tmp_path / "a" / "b")
    files.write(tmp_path / "a" / "b" / "two", [b"22"])
    files.write(tmp_path / "a" / "b" / "one", [b"1"])
    assert files.list_dir(tmp_path / "a" / "b") == ["one", "two"]
    files.sync_dir(tmp_path / "a")
    files.rename(tmp_path / "a", tmp_path / "c")
    assert files.list_dir(tmp_path) == ["c"]
    files.remove(tmp_path / "c")
    files.remove(tmp_path / "c")
    assert files.list_dir(tmp_path / "c") == []


def test_errors_name_path_and_cause(tmp_path: Path) -> None:
    """A refusal says what was done to which path, and why it failed."""
    with pytest.raises(StorageError, match=r"cannot map .*missing: No such file"):
        RealFiles().map(tmp_path / "missing")
    with pytest.raises(StorageError, match=r"cannot rename .*missing"):
        RealFiles().rename(tmp_path / "missing", tmp_path / "file")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_has_its_own_type(tmp_path: Path, code: int) -> None:
    """No space and no quota are a DatabaseFullError; other errors are not."""
    with pytest.raises(DatabaseFullError, match="x"), storage_errors("write", tmp_path / "x"):
        raise OSError(code, os.strerror(code))
    with pytest.raises(StorageError) as caught, storage_errors("write", tmp_path / "x"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, DatabaseFullError)
