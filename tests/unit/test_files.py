"""Files: what is written is read, and what the machine refuses has a type."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError, DatabaseFullError, StorageError
from vecstore.storage import files as module
from vecstore.storage.files import RealFiles, expect, fetch, storage_errors

FULL = """
import resource, sys
from pathlib import Path
from vecstore.errors import DatabaseFullError
from vecstore.storage.files import RealFiles
files, folder = RealFiles(), Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def refused(call):
    try:
        call()
    except DatabaseFullError as error:
        return str(folder) in str(error)
assert refused(lambda: files.write(folder / "a", [bytes(200_000)]))
assert refused(lambda: files.create(folder / "b", 200_000))
assert not (folder / "b").exists()
writer = files.create(folder / "c", 50_000)
assert refused(lambda: writer.write_at(60_000, bytes(90_000)))
writer.abandon()
assert files.write(folder / "d", [bytes(99_000)]) == 99_000
"""


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


def test_hints_change_no_byte(tmp_path: Path) -> None:
    """A map reads the same however it is expected to be read; bytes in memory take hints too."""
    data = np.random.default_rng(0).integers(0, 256, 3 * 4096 + 5, dtype=np.uint8)
    path = tmp_path / "a"
    RealFiles().write(path, [data])
    mapped = RealFiles().map(path)
    for scattered in (True, False):
        expect(mapped, scattered=scattered)
        fetch(mapped, 4097, len(data))
        fetch(mapped, 5, 6)
        np.testing.assert_array_equal(mapped, data)
    expect(data, scattered=True)
    fetch(data, 0, 1)
    expect(RealFiles().map(_empty(tmp_path)), scattered=True)


def _empty(folder: Path) -> Path:
    RealFiles().write(folder / "empty", [])
    return folder / "empty"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_hints_reach_the_system(tmp_path: Path) -> None:
    """The system knows a map that is read here and there as such ("rr" among its flags)."""
    path = tmp_path / "a"
    RealFiles().write(path, [b"a" * 8192])
    mapped = RealFiles().map(path)

    def flags() -> list[str]:
        lines = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines())
        assert any(line.endswith(str(path)) for line in lines)
        return next(line for line in lines if line.startswith("VmFlags:")).split()

    expect(mapped, scattered=True)
    assert "rr" in flags()
    expect(mapped, scattered=False)
    assert "rr" not in flags()


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
    """A refusal says what was done to which path, and why it failed, with the system's code."""
    with pytest.raises(StorageError, match=r"cannot map .*missing: No such file") as caught:
        RealFiles().map(tmp_path / "missing")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(StorageError, match=r"cannot rename .*missing"):
        RealFiles().rename(tmp_path / "missing", tmp_path / "file")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_has_its_own_type(tmp_path: Path, code: int) -> None:
    """No space, no quota and a file at its limit are a DatabaseFullError; other errors are not."""
    with pytest.raises(DatabaseFullError, match="x"), storage_errors("write", tmp_path / "x"):
        raise OSError(code, os.strerror(code))
    with pytest.raises(StorageError) as caught, storage_errors("write", tmp_path / "x"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, DatabaseFullError)


@given(
    st.integers(0, 3_000),
    st.lists(st.tuples(st.integers(0, 2_999), st.binary(max_size=500)), max_size=8),
)
def test_pieces_in_any_order(size: int, pieces: list[tuple[int, bytes]]) -> None:
    """A file made at its length holds the pieces written at any offset, and zeros elsewhere."""
    import tempfile

    files, expected = RealFiles(), bytearray(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        writer = files.create(path, size)
        for offset, data in pieces:
            piece = data[: max(0, size - offset)]
            writer.write_at(offset, np.frombuffer(piece, dtype=np.uint8))
            expected[offset : offset + len(piece)] = piece
        writer.close()
        assert files.map(path).tobytes() == expected


def test_a_file_is_made_once(tmp_path: Path) -> None:
    """Making a file that exists is refused; one that was given up can be made again."""
    files = RealFiles()
    writer = files.create(tmp_path / "file", 10)
    with pytest.raises(StorageError, match="exists"):
        files.create(tmp_path / "file", 10)
    writer.write_at(0, b"old")
    writer.abandon()
    files.remove(tmp_path / "file")
    files.create(tmp_path / "file", 3).close()
    assert files.map(tmp_path / "file").tobytes() == bytes(3)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
def test_space_is_reserved_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file has its length from the start, also where the system cannot reserve space."""
    files = RealFiles()
    writer = files.create(tmp_path / "a", 1 << 20)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 1 << 20
    writer.close()

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(module.os, "posix_fallocate", refuse)
    files.create(tmp_path / "b", 1 << 20).close()
    assert (tmp_path / "b").stat().st_size == 1 << 20


def test_a_second_name(tmp_path: Path) -> None:
    """A link is the same file under a second name, which outlives the first."""
    files = RealFiles()
    files.write(tmp_path / "first", [b"abc"])
    files.link(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "first").samefile(tmp_path / "second")
    files.remove(tmp_path / "first")
    assert files.map(tmp_path / "second").tobytes() == b"abc"
    with pytest.raises(CorruptionError, match=r"cannot link .*first: No such file"):
        files.link(tmp_path / "first", tmp_path / "third")
    files.write(tmp_path / "first", [b"new"])
    with pytest.raises(StorageError, match="exists"):
        files.link(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_no_second_name_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where the system refuses a second name the file is copied and the copy synced."""
    synced: list[int] = []

    def refuse(*_: object) -> None:
        raise OSError(code, "no links")

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(module.os, "link", refuse)
    monkeypatch.setattr(module.os, "fsync", sync)
    files, content = RealFiles(), np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "first").write_bytes(content)
    files.link(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == content
    assert not (tmp_path / "first").samefile(tmp_path / "second")
    assert synced == [(tmp_path / "second").stat().st_ino]


def test_large_files_are_synced_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is synced whenever some megabytes were written, and at its end."""
    synced: list[int] = []
    monkeypatch.setattr(module, "_SYNC_BYTES", 1000)
    monkeypatch.setattr(module.os, "fsync", synced.append)
    writer = RealFiles().create(tmp_path / "file", 2500)
    for offset in range(0, 2500, 500):
        writer.write_at(offset, bytes(500))
    writer.close()
    assert len(synced) == 3


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    """A file that is not there when it is read is a CorruptionError."""
    with pytest.raises(CorruptionError, match="missing"):
        RealFiles().map(tmp_path / "missing")


def test_too_many_open_files(tmp_path: Path) -> None:
    """A process that may open no more files is told what to do; no file is called damaged."""
    files = RealFiles()
    files.write(tmp_path / "file", [b"abc"])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, before[1]))
    held = []
    try:
        with pytest.raises(OSError, match="Too many"):
            while True:
                held.append(os.open(tmp_path / "file", os.O_RDONLY))
        with pytest.raises(StorageError, match="open more files") as caught:
            files.map(tmp_path / "file")
        with pytest.raises(StorageError, match="open more files"):
            files.write(tmp_path / "other", [b"abc"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)
    assert type(caught.value) is StorageError
    assert caught.value.errno == errno.EMFILE
    assert files.map(tmp_path / "file").tobytes() == b"abc"


def test_a_file_at_its_limit(tmp_path: Path) -> None:
    """Where files may not grow, writing is a DatabaseFullError, and what fits is written."""
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, timeout=60)


def test_free_bytes(tmp_path: Path) -> None:
    """The free space of a file system is told in bytes, for a path that exists."""
    found = os.statvfs(tmp_path)
    assert 0 <= RealFiles().free_bytes(tmp_path) <= found.f_blocks * found.f_frsize
    with pytest.raises(StorageError, match="missing"):
        RealFiles().free_bytes(tmp_path / "missing")
