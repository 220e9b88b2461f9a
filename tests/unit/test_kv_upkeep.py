"""LMDB between writes: copies, readers that died, opening again, and a full disk."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import lmdb
import pytest

from vecstore.errors import ClosedError, DatabaseFullError, StorageError
from vecstore.storage import txn as module
from vecstore.storage.kv import Kv

READ = """
import sys, time
from pathlib import Path
from vecstore.storage.kv import Kv
kv = Kv.open(Path(sys.argv[1]), databases=("one", "two"), map_bytes=1 << 26, read_only=True)
with kv.read(), kv.read():
    sys.stdout.write("reading\\n")
    sys.stdout.flush()
    time.sleep(60)
"""

FULL = """
import resource, sys
from pathlib import Path
from vecstore.errors import DatabaseFullError
from vecstore.storage.kv import Kv
path = Path(sys.argv[1])
kv = Kv.open(path / "db", databases=("one", "two"), map_bytes=1 << 26)
with kv.write() as txn:
    txn.put("one", b"key", b"old" * 100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
for _ in range(3):
    try:
        with kv.write() as txn:
            txn.put("one", b"key", b"new" * 200_000)
        sys.exit("written")
    except DatabaseFullError as error:
        assert "no space" in str(error)
    with kv.read() as txn:
        assert txn.get("one", b"key") == b"old" * 100_000
    with kv.write() as txn:
        txn.put("one", b"small", b"fits")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 500_000))
(path / "copy").mkdir()
try:
    kv.copy(path / "copy")
    sys.exit("copied")
except DatabaseFullError as error:
    assert "copy" in str(error)
"""


def opened(path: Path, *, read_only: bool = False) -> Kv:
    return Kv.open(path, databases=("one", "two"), map_bytes=1 << 26, read_only=read_only)


def fill(kv: Kv, rounds: int) -> None:
    for number in range(rounds):
        with kv.write() as txn:
            items = [(b"key%d" % key, b"%3d " % number * 1_500) for key in range(50)]
            txn.put_many("one", sorted(items))


def content(kv: Kv) -> list[list[tuple[bytes, bytes]]]:
    with kv.read() as txn:
        return [list(txn.scan(db)) for db in ("one", "two")]


def test_a_copy_equals(tmp_path: Path) -> None:
    """A copy opens, holds what the last commit held, is no larger, and goes its own way."""
    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 5)
        (tmp_path / "copy").mkdir()
        kv.copy(tmp_path / "copy")
        expected = content(kv)
        sizes = [(tmp_path / name / "data.mdb").stat().st_size for name in ("copy", "db")]
        assert sizes[0] < sizes[1]
        assert [path.name for path in (tmp_path / "copy").iterdir()] == ["data.mdb"]
        with closing(opened(tmp_path / "copy")) as copy:
            assert content(copy) == expected
            fill(copy, 1)
        assert content(kv) == expected


def test_a_copy_beside_writes_is_one_commit(tmp_path: Path) -> None:
    """Copies made while another thread writes hold each one commit, whole."""
    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 1)
        writing = threading.Thread(target=fill, args=[kv, 30])
        writing.start()
        copies = []
        while writing.is_alive():
            copies.append(tmp_path / f"copy{len(copies)}")
            copies[-1].mkdir()
            kv.copy(copies[-1])
        writing.join()
    assert copies
    for path in copies:
        with closing(opened(path)) as copy:
            values = {value for _, value in content(copy)[0]}
            assert len(values) == 1


def test_a_copy_to_nowhere(tmp_path: Path) -> None:
    """A copy to a folder that is missing or not empty is a StorageError that names it."""
    with closing(opened(tmp_path / "db")) as kv:
        for folder in (tmp_path / "missing", tmp_path / "db"):
            with pytest.raises(StorageError, match=folder.name):
                kv.copy(folder)
        assert content(kv) == [[], []]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClosedError):
        kv.copy(tmp_path / "empty")


def test_a_killed_reader_is_forgotten(tmp_path: Path) -> None:
    """A reader killed with -9 keeps pages until it is found; then the file stops growing."""
    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 1)
        command = [sys.executable, "-c", READ, str(tmp_path / "db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reading\n"
            assert kv.check_readers() == 0
            reader.send_signal(signal.SIGKILL)
        assert kv.check_readers() == 2
        assert kv.check_readers() == 0
        fill(kv, 3)
        before = (tmp_path / "db" / "data.mdb").stat().st_size
        fill(kv, 20)
        assert (tmp_path / "db" / "data.mdb").stat().st_size == before


def test_dead_readers_leave_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where readers that died fill LMDB's table, they are found before a read is refused."""
    monkeypatch.setattr("vecstore.storage.kv.READERS_MAX", 2)
    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 1)
        expected = content(kv)
        command = [sys.executable, "-c", READ, str(tmp_path / "db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reading\n"
            with pytest.raises(StorageError, match="READERS_FULL"):
                content(kv)
            reader.kill()
        assert content(kv) == expected
        assert kv.check_readers() == 0


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """A writer and a reader opened again see what they saw, and the writer writes on."""
    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 1)
        kv.add_missing(["three"])
        expected, number = content(kv), kv.last_txn()
        kv.reopen()
        assert (content(kv), kv.last_txn()) == (expected, number)
        fill(kv, 2)
        expected = content(kv)
    with closing(opened(tmp_path / "db", read_only=True)) as kv:
        kv.reopen()
        assert content(kv) == expected
    with pytest.raises(ClosedError):
        kv.reopen()


def test_opening_again_among_readers(tmp_path: Path) -> None:
    """Threads that read while another opens again see whole commits, and none fails."""
    failures: list[BaseException] = []
    ended = threading.Event()

    def read(kv: Kv) -> None:
        try:
            while not ended.is_set():
                assert len({value for _, value in content(kv)[0]}) == 1
        except BaseException as error:
            failures.append(error)

    with closing(opened(tmp_path / "db")) as kv:
        fill(kv, 1)
        readers = [threading.Thread(target=read, args=[kv]) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(20):
            kv.reopen()
            fill(kv, 1)
        ended.set()
        for reader in readers:
            reader.join()
    assert not failures, failures


def work(kv: Kv, failures: list[BaseException], *, write: bool) -> None:
    """Read or write until that fails."""
    try:
        while True:
            fill(kv, 1) if write else content(kv)
    except BaseException as error:
        failures.append(error)


def test_closing_among_users(tmp_path: Path) -> None:
    """Threads that read and write while another closes get ClosedError, and nothing else."""
    for number in range(10):
        kv = opened(tmp_path / f"db{number}")
        failures: list[BaseException] = []
        fill(kv, 1)

        threads = [
            threading.Thread(target=work, args=[kv, failures], kwargs={"write": write})
            for write in (True, False, False)
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.005 * number)
        kv.close()
        for thread in threads:
            thread.join()
        assert [type(error) for error in failures] == [ClosedError] * 3, failures
        with closing(opened(tmp_path / f"db{number}")) as kv:
            assert len({value for _, value in content(kv)[0]}) == 1


def test_a_full_disk(tmp_path: Path) -> None:
    """A commit that finds no space is a DatabaseFullError; the old data is read, what fits goes."""
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, timeout=60)


def test_an_input_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB's input/output error means a full disk where nothing can be written, else a failure."""
    opened(tmp_path).close()
    error = lmdb.Error("mdb_txn_commit: Input/output error")
    monkeypatch.setattr(error, "code", module.errno.EIO, raising=False)
    found = module.typed(error, tmp_path)
    assert type(found) is StorageError
    assert found.errno == module.errno.EIO

    def refuse(*_: object) -> int:
        raise OSError(module.errno.EDQUOT, "no quota")

    monkeypatch.setattr(module.os, "pwrite", refuse)
    assert isinstance(module.typed(error, tmp_path), DatabaseFullError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "lock.mdb"]


def test_closed_while_it_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that comes while another thread opens LMDB again leaves nothing open."""
    kv = Kv.open(tmp_path, databases=("one", "two"), map_bytes=1 << 26)
    closing_thread, opened = threading.Thread(target=kv.close), Kv._opened

    def slow(self: Kv) -> Any:
        closing_thread.start()
        closing_thread.join(0.3)
        return opened(self)

    monkeypatch.setattr(Kv, "_opened", slow)
    with suppress(ClosedError):
        kv.reopen()
    monkeypatch.undo()
    closing_thread.join()
    with closing(Kv.open(tmp_path, databases=("one", "two"), map_bytes=1 << 26)) as again:
        assert again.last_txn()
    with pytest.raises(ClosedError), kv.read():
        pass
