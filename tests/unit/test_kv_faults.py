"""LMDB on a disk that fails: what is refused, what is unknown, and that work goes on."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from tests.unit.failing_disk import build, fail_record, fail_sync, on_failing_disk
from vecstore.errors import DatabaseFullError, StorageError, UnknownOutcomeError
from vecstore.storage.kv import Kv

WRITTEN_NOTHING, WRITTEN, WRITTEN_AND_LEFT = 0, 1, 2


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


def opened(path: Path) -> Kv:
    kv = Kv.open(path / "db", databases=("one", "two"), map_bytes=1 << 26)
    put(kv, b"old")
    return kv


def put(kv: Kv, value: bytes) -> None:
    with kv.write() as txn:
        txn.put("one", b"key", value)


def get(kv: Kv) -> bytes | None:
    with kv.read() as txn:
        return txn.get("one", b"key")


def check(path: Path, kv: Kv, value: bytes) -> None:
    """The value is there; another write works, and is there after an open."""
    assert get(kv) == value
    put(kv, b"next")
    kv.close()
    kv = Kv.open(path / "db", databases=("one", "two"), map_bytes=1 << 26)
    assert get(kv) == b"next"
    kv.close()


@on_failing_disk
def test_data_that_cannot_be_synced(path: Path) -> None:
    """A commit whose data cannot be synced was not applied, and says so; the next one works."""
    kv = opened(path)
    fail_sync(errno.EIO)
    with pytest.raises(StorageError, match="Input/output error") as caught:
        put(kv, b"new")
    assert not isinstance(caught.value, UnknownOutcomeError)
    assert caught.value.errno == errno.EIO
    check(path, kv, b"old")


@on_failing_disk
def test_a_record_that_cannot_be_written(path: Path) -> None:
    """A commit whose record fails has an unknown outcome; what is read is the commit before."""
    for stage in (WRITTEN_NOTHING, WRITTEN):
        kv = opened(path)
        fail_record(errno.EIO, stage)
        with pytest.raises(UnknownOutcomeError, match="whole or not at all"):
            put(kv, b"new")
        check(path, kv, b"old")


@on_failing_disk
def test_a_record_that_cannot_be_put_back(path: Path) -> None:
    """A commit whose outcome was unknown may have been applied: then all of it is read."""
    kv = opened(path)
    fail_record(errno.EIO, WRITTEN_AND_LEFT)
    with pytest.raises(UnknownOutcomeError):
        put(kv, b"new")
    check(path, kv, b"new")


@on_failing_disk
def test_no_space_for_a_record(path: Path) -> None:
    """A record that finds no space is a full disk, not an unknown outcome."""
    kv = opened(path)
    fail_record(errno.ENOSPC, WRITTEN_NOTHING)
    with pytest.raises(DatabaseFullError, match="no space"):
        put(kv, b"new")
    check(path, kv, b"old")


@on_failing_disk
def test_a_thread_that_reads_meanwhile_goes_on(path: Path) -> None:
    """A thread whose commit fails while it reads reads on, begins nothing, and then all works."""
    kv = opened(path)
    with kv.read() as reader:
        fail_record(errno.EIO, WRITTEN)
        with pytest.raises(UnknownOutcomeError):
            put(kv, b"new")
        assert reader.get("one", b"key") == b"old"
        with pytest.raises(StorageError, match="end what this thread reads"):
            get(kv)
        with pytest.raises(StorageError, match="by a thread that reads it"):
            kv.reopen()
    check(path, kv, b"old")


@on_failing_disk
def test_nothing_is_written_before_the_record_is_sure(path: Path) -> None:
    """Where the record of the last commit cannot be synced, reads go on and writes are refused."""
    kv = opened(path)
    fail_record(errno.EIO, WRITTEN)
    fail_sync(errno.EIO, after=1)  # the first is that of the data
    with pytest.raises(UnknownOutcomeError):
        put(kv, b"new")
    for _ in range(2):
        assert get(kv) == b"old"
        with pytest.raises(StorageError, match="nothing is written") as caught:
            put(kv, b"next")
        assert caught.value.errno == errno.EIO
    kv.close()
    check(path, Kv.open(path / "db", databases=("one", "two"), map_bytes=1 << 26), b"old")


@on_failing_disk
def test_what_a_dead_process_left_is_synced_first(path: Path) -> None:
    """Opening for writing fails where what the last process wrote cannot be synced."""
    opened(path).close()
    fail_sync(errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        Kv.open(path / "db", databases=("one", "two"), map_bytes=1 << 26)
    check(path, opened(path), b"old")


@on_failing_disk
def test_readers_never_notice(path: Path) -> None:
    """Threads that read while commits fail and LMDB is opened again see only whole commits."""
    kv = opened(path)
    put(kv, b"0")
    ended = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        last = 0
        try:
            while not ended.is_set():
                with kv.read() as txn:
                    found = int(txn.get("one", b"key") or b"")
                    assert txn.id <= kv.last_txn()
                    assert int(txn.get("one", b"key") or b"") == found >= last
                last = found
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    known = unknown = 0
    for number in range(1, 80):
        if number % 4 == 0:
            fail_record(errno.EIO, number % 3)
        try:
            put(kv, b"%d" % number)
            known = number
        except UnknownOutcomeError:
            unknown += 1
            found = int(get(kv) or b"")
            assert found in {known, number}
            known = found
    ended.set()
    for reader in readers:
        reader.join()
    assert not failures, failures
    assert unknown == 19
    check(path, kv, b"%d" % known)
