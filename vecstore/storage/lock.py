r"""One writer: a lock on a file that says who holds it.

The operating system drops the lock when its process ends, however it ends. The file stays.

    bytes  "<pid> <host>\n", UTF-8; empty while nobody writes
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from vecstore.errors import LockedError
from vecstore.storage.files import storage_errors


class WriterLock:
    """The right to write, from the moment it is made until `release`.

    Args:
        path: the file.
        refusal: what LockedError says, from who holds it; by default what `vecstore.open` says.

    Raises:
        LockedError: another handle holds it; the message says whose.
        StorageError: the file cannot be opened.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path, refusal: Callable[[str], str] | None = None) -> None:
        with storage_errors("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
            except BlockingIOError:
                who = _holder(descriptor)
                os.close(descriptor)
                raise LockedError(refusal(who) if refusal else _refusal(path, who)) from None
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another handle write; fine to call again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold a copy of it
            os.close(descriptor)


@contextlib.contextmanager
def no_writer(path: Path) -> Iterator[None]:
    """Keep writers away while the block runs; nobody ever wrote where the file is missing.

    Raises:
        LockedError: one is there.
    """
    with storage_errors("lock", path), contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(_refusal(path, _holder(descriptor))) from None
        kept = stack.pop_all()
    with kept:
        yield


def _holder(descriptor: int) -> str:
    """Who holds the lock of a file, in words."""
    pid, _, host = os.pread(descriptor, 512, 0).decode("utf-8", "replace").strip().partition(" ")
    if not pid.isdecimal():
        return "another process"
    if int(pid) == os.getpid() and host == socket.gethostname():
        return f"this process (pid {pid})"
    return f"process {pid} on host {host}"


def _refusal(path: Path, who: str) -> str:
    return (
        f"{path.parent} is being written by {who}; close it there first, or open it here with "
        "read_only=True"
    )
