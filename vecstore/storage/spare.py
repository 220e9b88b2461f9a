"""Space of LMDB's file that nothing needs goes back to the file system.

LMDB never makes its file shorter: pages of what was deleted are listed as free, by the commit that
freed them, and written over later. Long runs of them become holes, which take no space and read as
zeros. That loses nothing, for a page is only taken where LMDB itself might write over it now:

    no one takes it     the caller has LMDB's write transaction, and allocates nothing in it
    no one reads it     `mdb_page_alloc` uses the lists of commits before `mdb_find_oldest`: the
                        oldest commit that a reader has, or the last one. Here the same are used. A
                        reader that begins now gets the last commit (`mdb_txn_renew0` looks again
                        after it has entered its number)
    power may fail      with the last commit damaged, the one before counts. Pages that it needs,
                        and the last one does not, were freed by the last one, whose list is not
                        used. Whether a hole outlives the power cut makes no difference
    nor does LMDB       a free page is made in memory (`mdb_page_malloc`) and written whole
                        (`mdb_page_flush`), as the map is for reading only; nothing reads it before
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vecstore import options
from vecstore.storage.failpoints import reach
from vecstore.storage.files import storage_errors
from vecstore.storage.pages import free_pages
from vecstore.types import Int64

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of Linux, the modes of fallocate(2)
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


class Spare(NamedTuple):
    """What may be given back.

    Attributes:
        starts: where each run of free pages begins in the file, in bytes, int64 [n].
        ends: where it ends.
        worth: whether that is worth it: whether the file takes so much less then.
    """

    starts: Int64
    ends: Int64
    worth: bool


def spare(path: Path, last: int, before: int, readers: str) -> Spare:
    """The space of a file that nothing needs; the caller has the write transaction.

    Args:
        path: LMDB's file.
        last: the last commit, as LMDB knows it.
        before: that again, or the next one, for what is spare once that is made: pages freed by
            earlier ones count.
        readers: what LMDB says of its readers, in all processes.

    Raises:
        CorruptionError: LMDB's lists of free pages are damaged.
        StorageError: the file cannot be looked at.
    """
    free = free_pages(path)
    oldest = min([before if free.commit == last else 0, *_reading(readers)])
    old = [pages for commit, pages in free.lists.items() if commit < oldest]
    pages = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *old]))
    starts = pages[np.diff(pages, prepend=-1) != 1] * free.page_bytes
    ends = (pages[np.diff(pages, append=-1) != 1] + 1) * free.page_bytes
    long = ends - starts >= options.HOLE_BYTES_MIN
    starts, ends = starts[long], ends[long]
    filled = _filled(path, starts, ends)
    starts, ends = starts[filled > 0], ends[filled > 0]
    taken, gain = _allocated(path), int(filled.sum())
    worth = gain >= max(options.SPARE_BYTES_MIN, options.SPARE_SHARE_MIN * taken, 1)
    return Spare(starts, ends, worth)


def release(path: Path, found: Spare) -> int | None:
    """Give back what was found, in the same transaction.

    Returns:
        How many bytes the file takes less; None where the system has no holes, or not there.

    Raises:
        DatabaseFullError, StorageError: it failed; what was given back until then stays so.
    """
    before, fallocate = _allocated(path), _fallocate()
    if fallocate is None:
        return None
    with storage_errors("give back space of", path), open(path, "rb+", buffering=0) as file:
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
            if not _punch(fallocate, file.fileno(), start, end - start):
                return None
            reach("space.released")
    return before - _allocated(path)


def _filled(path: Path, starts: Int64, ends: Int64) -> Int64:
    """The bytes of each run that take space: what became a hole is still listed as free."""
    if not hasattr(os, "SEEK_DATA"):
        return ends - starts
    found = np.zeros(len(starts), dtype=np.int64)
    with storage_errors("look at", path), open(path, "rb", buffering=0) as file:
        for run, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            hole = start
            while (data := _seek(file.fileno(), hole, os.SEEK_DATA, end)) < end:
                hole = _seek(file.fileno(), data, os.SEEK_HOLE, end)
                found[run] += hole - data
    return found


def _seek(descriptor: int, at: int, how: int, end: int) -> int:
    """Where the next data or hole begins, or the end."""
    try:
        return min(os.lseek(descriptor, at, how), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole
            return end
        raise


def _reading(readers: str) -> list[int]:
    """The commits that are read now: a line for each reader, `pid thread commit`; "-": none."""
    commits = [line.split()[2] for line in readers.splitlines()[1:]]
    return [int(commit) for commit in commits if commit != "-"]


def _allocated(path: Path) -> int:
    """Bytes that a file takes on disk."""
    with storage_errors("measure", path):
        return os.stat(path).st_blocks * 512


def _fallocate() -> Any:
    """The call of the C library; None where there is none."""
    if sys.platform != "linux":  # another system may have the name with another meaning
        return None
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call


def _punch(fallocate: Any, descriptor: int, start: int, size: int) -> bool:
    """Make a hole; whether the file system can."""
    while fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, size):
        code = ctypes.get_errno()
        if code in _CANNOT:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
