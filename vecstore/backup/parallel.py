"""Many files at once, and how far they have come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from vecstore.types import Progress

THREADS = 8
_REPORT_S = 0.1
_Item = TypeVar("_Item")

# Is told the bytes just handled; raises when the work is to end.
Tick = Callable[[int], None]


def for_all(
    items: Iterable[_Item],
    work: Callable[[_Item, Tick], None],
    total: int,
    what: str,
    progress: Progress | None,
) -> None:
    """Do `work` for each item, in threads; the caller's thread reports.

    Args:
        items: to be worked on.
        work: told an item, and whom to tell of the bytes it has handled.
        total: bytes of all.
        what: the step, for `progress`.
        progress: told now and then.

    Raises:
        Exception: the first that `work` or `progress` raised, when all threads have ended.
    """
    lock = threading.Lock()
    waiting = iter(items)
    done = 0
    stopped = threading.Event()

    def tick(count: int) -> None:
        nonlocal done
        with lock:
            done += count
        if stopped.is_set():
            raise _StoppedError

    def run() -> None:
        while not stopped.is_set():
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            work(item, tick)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="vecstore-backup") as pool:
        running = [pool.submit(run) for _ in range(THREADS)]
        try:
            while True:
                ended, more = wait(running, timeout=_REPORT_S, return_when=FIRST_EXCEPTION)
                for future in ended:
                    future.result()
                if progress is not None:
                    progress(what, done, total)
                if not more:
                    return
        finally:
            stopped.set()


class _StoppedError(Exception):
    """The other threads end; the error that ended the work is raised already."""
