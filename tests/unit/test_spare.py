"""Space of LMDB's file that nothing needs goes back to the file system, and nothing else does."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import options
from vecstore.errors import CorruptionError, DatabaseFullError, ReadOnlyError, StorageError
from vecstore.ingest import maintenance
from vecstore.storage import spare as module
from vecstore.storage.kv import Kv, verify_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux makes holes")

VALUE = b"value" * 20_000
COUNT = 60
META = 2 * 4096

READ = """
import sys
from pathlib import Path
from vecstore.storage.kv import Kv
kv = Kv.open(Path(sys.argv[1]), databases=("one", "two"), map_bytes=1 << 30, read_only=True)
with kv.read() as txn:
    for _ in sys.stdin:
        sys.stdout.write(f"{[(key, len(value)) for key, value in txn.scan('two')]}\\n")
        sys.stdout.flush()
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte is much."""
    monkeypatch.setattr(options, "SPARE_BYTES_MIN", 1 << 20)


@pytest.fixture
def kv(tmp_path: Path) -> Iterator[Kv]:
    """An environment with a small value in one key space; its pages are sound after the test."""
    with closing(opened(tmp_path / "db")) as made:
        with made.write() as txn:
            txn.put("one", b"key", b"kept")
        yield made
        assert made.damaged_pages() == []
    verify_pages(tmp_path / "db" / "data.mdb")


def opened(path: Path, *, read_only: bool = False) -> Kv:
    return Kv.open(path, databases=("one", "two"), map_bytes=1 << 30, read_only=read_only)


def fill(kv: Kv, count: int = COUNT) -> None:
    for number in range(count):
        with kv.write() as txn:
            txn.put("two", b"%04d" % number, VALUE)


def clear(kv: Kv, stop: bytes | None = None) -> None:
    with kv.write() as txn:
        txn.delete_range("two", b"", stop)


def taken(path: Path) -> int:
    """Bytes that the file takes on disk."""
    return os.stat(path / "data.mdb").st_blocks * 512


def content(kv: Kv) -> list[list[tuple[bytes, bytes]]]:
    with kv.read() as txn:
        return [list(txn.scan(db)) for db in ("one", "two")]


def test_space_is_given_back(tmp_path: Path, kv: Kv) -> None:
    """What was deleted takes no space, what was not is there, and the file is no shorter."""
    path = tmp_path / "db"
    fill(kv)
    clear(kv, b"0010")
    clear(kv, b"%04d" % (COUNT - 5))
    expected, before, size = content(kv), taken(path), (path / "data.mdb").stat().st_size
    given = kv.give_back()
    assert given == before - taken(path) > 0.8 * COUNT * len(VALUE)
    assert (path / "data.mdb").stat().st_size == size
    assert content(kv) == expected
    assert kv.give_back() == 0
    fill(kv)
    assert len(content(kv)[1]) == COUNT
    assert (path / "data.mdb").stat().st_size < 1.2 * size


def test_holes_are_made_once(tmp_path: Path, kv: Kv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short runs of free pages stay, and long ones that are holes already are no reason to try."""
    with kv.write() as txn:
        for number in range(4 * COUNT):
            txn.put("two", b"%03d" % number, VALUE)
    with kv.write() as txn:
        for number in range(4 * COUNT):
            if number >= 2 * COUNT or number % 2:
                txn.delete("two", b"%03d" % number)
    monkeypatch.setattr(options, "HOLE_BYTES_MIN", 2 * len(VALUE))
    assert kv.give_back() > 1 << 20
    with kv.write() as txn:
        last = txn.id
    assert kv.give_back() == 0
    with kv.write() as txn:
        assert txn.id <= last + 1


def test_little_space_is_kept(tmp_path: Path, kv: Kv) -> None:
    """Less than the least, or than a share of the file, stays; and no commit is made for it."""
    fill(kv)
    clear(kv, b"0008")
    last, before = kv.last_txn(), taken(tmp_path / "db")
    assert kv.give_back() == 0
    clear(kv, b"0014")
    assert kv.give_back() == 0
    assert taken(tmp_path / "db") >= before
    assert kv.last_txn() == last + 1
    clear(kv, b"0040")
    assert kv.give_back() > 0


def test_readers_here_keep_their_pages(tmp_path: Path, kv: Kv) -> None:
    """A transaction open since before the delete reads all that it did; then its pages go, too."""
    fill(kv)
    with kv.read() as txn:
        expected = list(txn.scan("two"))
        clear(kv)
        fill(kv, 20)
        clear(kv)
        kv.give_back()
        assert list(txn.scan("two")) == expected
        assert taken(tmp_path / "db") > COUNT * len(VALUE)
    assert kv.give_back() > COUNT * len(VALUE)


def test_readers_elsewhere_keep_their_pages(tmp_path: Path, kv: Kv) -> None:
    """The same in another process."""
    fill(kv)
    command = [sys.executable, "-c", READ, str(tmp_path / "db")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as reader:

        def ask() -> str:
            reader.stdin.write("?\n")  # type: ignore[union-attr]
            reader.stdin.flush()  # type: ignore[union-attr]
            return str(reader.stdout.readline())  # type: ignore[union-attr]

        expected = ask()
        assert expected.count(str(len(VALUE))) == COUNT
        clear(kv)
        fill(kv, 20)
        clear(kv)
        kv.give_back()
        assert ask() == expected
        assert taken(tmp_path / "db") > COUNT * len(VALUE)
        reader.communicate("")
    kv.check_readers()
    assert kv.give_back() > COUNT * len(VALUE)


def test_the_commit_before_is_whole(
    tmp_path: Path, kv: Kv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the record of the last commit lost, the file still holds the one before, whole."""
    monkeypatch.setattr(options, "HOLE_BYTES_MIN", 4096)
    path, older = tmp_path / "db", tmp_path / "older"
    fill(kv)
    clear(kv, b"0030")
    expected = content(kv)
    metas = (path / "data.mdb").read_bytes()[:META]
    assert kv.give_back() > 0
    older.mkdir()
    shutil.copy(path / "data.mdb", older)
    with open(older / "data.mdb", "rb+") as file:
        file.write(metas)
    verify_pages(older / "data.mdb")
    with closing(opened(older)) as found:
        assert content(found) == expected
        fill(found)
        assert len(content(found)[1]) == COUNT


def failing(monkeypatch: pytest.MonkeyPatch, code: int) -> list[int]:
    """Have the system answer a number where a hole is wanted; takes where each would begin."""
    asked: list[int] = []

    def fallocate(_descriptor: int, _mode: int, start: int, _size: int) -> int:
        asked.append(start)
        return -1

    library = type("Library", (), {"fallocate64": staticmethod(fallocate)})
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: library)
    monkeypatch.setattr(module.ctypes, "get_errno", lambda: code)
    return asked


def test_systems_without_holes(tmp_path: Path, kv: Kv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no holes nothing happens, and nobody asks again."""
    fill(kv)
    clear(kv)
    asked, before = failing(monkeypatch, errno.EOPNOTSUPP), taken(tmp_path / "db")
    assert kv.give_back() == kv.give_back() == 0
    assert len(asked) == 1
    assert taken(tmp_path / "db") >= before
    assert content(kv)[1] == []


def test_other_systems(tmp_path: Path, kv: Kv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux, or with a library that lacks the call, nothing happens."""
    fill(kv)
    clear(kv)
    with monkeypatch.context() as patch:
        patch.setattr(module.sys, "platform", "darwin")
        assert kv.give_back() == 0
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: object())
    with closing(opened(tmp_path / "other")) as other:
        fill(other)
        clear(other)
        assert other.give_back() == 0


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EIO, StorageError), (errno.ENOSPC, DatabaseFullError)]
)
def test_failures_are_typed(
    kv: Kv, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageError]
) -> None:
    """A disk that fails or is full is told as by any write; nothing is lost."""
    fill(kv)
    clear(kv, b"0050")
    expected = content(kv)
    with monkeypatch.context() as patch:
        failing(patch, code)
        with pytest.raises(kind, match="give back space") as raised:
            kv.give_back()
    assert raised.value.errno == code
    assert content(kv) == expected
    assert kv.give_back() > 0


def test_readers_give_nothing_back(tmp_path: Path, kv: Kv) -> None:
    """Only the process that writes may take pages."""
    fill(kv)
    clear(kv)
    kv.close()
    reader = opened(tmp_path / "db", read_only=True)
    with closing(reader), pytest.raises(ReadOnlyError):
        reader.give_back()


def test_damaged_lists_are_not_trusted(tmp_path: Path, kv: Kv) -> None:
    """Where a list of free pages names one that is none, nothing is given back."""
    fill(kv)
    clear(kv)
    kv.close()
    file = tmp_path / "db" / "data.mdb"
    with closing(opened(tmp_path / "db")) as again:
        data = file.read_bytes()
        free = max(module.free_pages(file).lists.items(), key=lambda item: len(item[1]))[1]
        start = data.rfind(free[:4].astype("<u8").tobytes())
        file.write_bytes(data[:start] + b"\xff" * 8 + data[start + 8 :])
        with pytest.raises(CorruptionError, match="free pages"):
            again.give_back()
        file.write_bytes(data)


SCHEMA = vs.Schema([vs.Vector("v", 512)])
VECTORS = np.random.default_rng(0).standard_normal((1_000, 512)).astype(np.float32)
OPTIONS = vs.Options(background=False)


def imported(items: Any) -> None:
    for start in range(0, 6_000, 1_000):
        items.upsert(range(start, start + 1_000), VECTORS)


def test_compact_gives_back(tmp_path: Path) -> None:
    """After an import and `compact` LMDB's file takes a small part of what the buffer took."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        items = db.create_collection("items", SCHEMA)
        imported(items)
        items.flush()
        before = taken(tmp_path)
        items.compact()
        assert taken(tmp_path) < before / 2
        assert db.check() == []
        assert items.search(VECTORS[77], limit=6).ids.tolist() == list(range(77, 6_000, 1_000))
    with vs.open(tmp_path) as db:
        assert db.check() == []
        assert db.collection("items").count() == 6_000


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_background_gives_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Space is given back by and by without being asked."""
    monkeypatch.setattr(maintenance, "TICK_S", 0.01)
    monkeypatch.setattr(maintenance, "READERS_S", 0.01)
    with vs.open(tmp_path) as db:
        items = db.create_collection("items", SCHEMA)
        imported(items)
        before = taken(tmp_path)
        items.flush()
        until(lambda: taken(tmp_path) < before / 2)
        assert db.check() == []
