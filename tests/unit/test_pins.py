"""Pins: what other processes read is kept, and no longer than they live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vecstore.errors import StorageError
from vecstore.storage.pins import ReaderPin, oldest_pin

READ = """
import sys
from pathlib import Path
from vecstore.storage.pins import ReaderPin
pin = ReaderPin(Path(sys.argv[1]))
sys.stdout.write("pinned\\n")
sys.stdout.flush()
for line in sys.stdin:
    pin.set(int(line))
    sys.stdout.write("set\\n")
    sys.stdout.flush()
pin.release()
"""


class Reader:
    """A process with a pin."""

    def __init__(self, readers: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READ, str(readers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("pinned\n")

    def set(self, txn: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{txn}\n")
        self.process.stdin.flush()
        self._answer("set\n")

    def _answer(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == expected


@contextmanager
def reader(readers: Path) -> Iterator[Reader]:
    started = Reader(readers)
    with started.process:
        yield started


def test_nobody_reads(tmp_path: Path) -> None:
    """Without a directory, and in an empty one, nobody reads; other files are left alone."""
    assert oldest_pin(tmp_path / "readers") is None
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / "note").write_text("mine")
    assert oldest_pin(tmp_path / "readers") is None
    assert (tmp_path / "readers" / "note").exists()


def test_the_oldest_of_all_counts(tmp_path: Path) -> None:
    """The oldest commit of all pins is found; a new pin covers everything, a released one none."""
    readers = tmp_path / "readers"
    first, second = ReaderPin(readers), ReaderPin(readers)
    assert oldest_pin(readers) == 0
    first.set(7)
    assert oldest_pin(readers) == 0
    second.set(5)
    assert oldest_pin(readers) == 5
    second.set(1 << 40)
    assert oldest_pin(readers) == 7
    first.release()
    first.release()
    assert oldest_pin(readers) == 1 << 40
    second.release()
    assert oldest_pin(readers) is None
    assert list(readers.iterdir()) == []


def test_a_killed_reader_frees_its_pin(tmp_path: Path) -> None:
    """A reader killed with -9 pins nothing from that moment on, and its file goes; others stay."""
    readers = tmp_path / "readers"
    with reader(readers) as dying, reader(readers) as living:
        dying.set(3)
        living.set(9)
        assert oldest_pin(readers) == 3
        dying.process.send_signal(signal.SIGKILL)
        dying.process.wait()
        assert oldest_pin(readers) == 9
        assert len(list(readers.iterdir())) == 1
    assert oldest_pin(readers) is None
    assert list(readers.iterdir()) == []


def test_a_pin_taken_for_dead_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that looks between the making and the locking of a pin takes none away."""
    from vecstore.storage import pins

    readers, lock = tmp_path / "readers", pins.fcntl.flock
    looked: list[int | None] = []

    def look_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(pins.fcntl, "flock", lock)
        looked.append(oldest_pin(readers))
        assert list(readers.iterdir()) == []
        lock(descriptor, operation)

    monkeypatch.setattr(pins.fcntl, "flock", look_first)
    pin = ReaderPin(readers)
    assert looked == [None]
    assert oldest_pin(readers) == 0
    pin.release()


def test_many_readers_beside_a_writer(tmp_path: Path) -> None:
    """Pins that come, move and go in many threads are all respected by a writer that looks."""
    readers = tmp_path / "readers"
    base = ReaderPin(readers)
    base.set(1_000)
    ended = threading.Event()
    failures: list[BaseException] = []

    def read(first: int) -> None:
        try:
            for txn in range(first, first + 60):
                pin = ReaderPin(readers)
                pin.set(txn)
                found = oldest_pin(readers)
                assert found is not None
                assert found <= txn
                pin.release()
        except BaseException as error:
            failures.append(error)

    def look() -> None:
        try:
            while not ended.is_set():
                found = oldest_pin(readers)
                assert found is not None
                assert found <= 1_000
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=[first]) for first in (1, 500, 2_000)]
    looking = threading.Thread(target=look)
    for thread in (*threads, looking):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    looking.join()
    assert not failures, failures
    assert oldest_pin(readers) == 1_000
    base.release()


@pytest.mark.parametrize("code", ["EROFS", "EACCES", "EPERM"])
def test_a_directory_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """On a read-only medium, or without the right to write, a reader goes without a pin."""
    from vecstore.storage import pins

    def refuse(*_: object) -> int:
        raise OSError(getattr(pins.errno, code), "no")

    monkeypatch.setattr(pins.os, "open", refuse)
    pin = ReaderPin(tmp_path / "readers")
    assert not pin.active
    pin.set(3)
    pin.release()


def test_other_failures_are_told(tmp_path: Path) -> None:
    """A pin that cannot be made for another reason, or not be read, is a StorageError."""
    (tmp_path / "readers").write_text("a file")
    with pytest.raises(StorageError, match="pin"):
        ReaderPin(tmp_path / "readers")
    with pytest.raises(StorageError, match="pins"):
        oldest_pin(tmp_path / "readers")


def test_a_full_disk_keeps_the_older_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pin that cannot be moved stays where it was, and is moved by a later call."""
    from vecstore.storage import pins

    readers, write = tmp_path / "readers", os.pwrite
    pin = ReaderPin(readers)
    pin.set(3)

    def refuse(*_: object) -> int:
        raise OSError(pins.errno.ENOSPC, "no space")

    monkeypatch.setattr(pins.os, "pwrite", refuse)
    pin.set(5)
    assert oldest_pin(readers) == 3
    monkeypatch.setattr(pins.os, "pwrite", write)
    pin.set(5)
    assert oldest_pin(readers) == 5
    pin.release()


class Pins(RuleBasedStateMachine):
    """Processes that come, read on, and end in one way or the other."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.readers = Path(self.folder.name) / "readers"
        self.alive: list[tuple[Reader, int]] = []

    @rule()
    def come(self) -> None:
        if len(self.alive) < 3:
            self.alive.append((Reader(self.readers), 0))

    @rule(which=st.integers(0, 2), txn=st.integers(1, 50))
    def move(self, which: int, txn: int) -> None:
        if which < len(self.alive):
            found, _ = self.alive[which]
            found.set(txn)
            self.alive[which] = found, txn

    @rule(which=st.integers(0, 2), kill=st.booleans())
    def end(self, which: int, kill: bool) -> None:
        if which < len(self.alive):
            process = self.alive.pop(which)[0].process
            if kill:
                process.kill()
            process.communicate()

    @invariant()
    def the_oldest_of_the_living_counts(self) -> None:
        assert oldest_pin(self.readers) == min((txn for _, txn in self.alive), default=None)

    def teardown(self) -> None:
        for found, _ in self.alive:
            found.process.kill()
            found.process.communicate()
        self.folder.cleanup()


TestPins = Pins.TestCase
TestPins.settings = settings(max_examples=5, stateful_step_count=12, deadline=None)
