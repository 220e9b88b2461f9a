"""The writer lock: one at a time, it says who, and it ends with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vecstore.errors import LockedError, StorageError
from vecstore.storage.lock import WriterLock

HOLD = """
import sys, time
from pathlib import Path
from vecstore.storage.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
sys.stdout.write("held\\n")
sys.stdout.flush()
time.sleep(60)
"""


def test_second_handle_is_refused(tmp_path: Path) -> None:
    """While a handle holds the lock another is refused, and told that this process holds it."""
    lock = WriterLock(tmp_path / "writer.lock")
    with pytest.raises(LockedError, match=rf"this process \(pid {os.getpid()}\).*read_only=True"):
        WriterLock(tmp_path / "writer.lock")
    lock.release()
    lock.release()
    WriterLock(tmp_path / "writer.lock").release()


def test_other_process_is_named_and_its_death_unlocks(tmp_path: Path) -> None:
    """The refusal names the pid of another process; when that is killed the lock is free."""
    path = tmp_path / "writer.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} on host"):
            WriterLock(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    WriterLock(path).release()


def test_file_without_holder_is_free(tmp_path: Path) -> None:
    """What a killed writer left in the file does not lock it."""
    (tmp_path / "writer.lock").write_bytes(b"1 nowhere\n" * 100)
    lock = WriterLock(tmp_path / "writer.lock")
    assert (tmp_path / "writer.lock").read_text().startswith(f"{os.getpid()} ")
    lock.release()
    assert (tmp_path / "writer.lock").read_bytes() == b""


def test_missing_folder(tmp_path: Path) -> None:
    """A lock file that cannot be made is a StorageError that names it."""
    with pytest.raises(StorageError, match="missing"):
        WriterLock(tmp_path / "missing" / "writer.lock")
