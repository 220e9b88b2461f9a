"""Calls that take long: they keep no others waiting, and say how far they have come."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event
from typing import Any

from vecstore.types import Progress
from vecstore_proto.v1 import database_pb2

CALLS = 32
"""Long calls at a time, most of which wait for a job; further ones wait for them."""

TELL_S = 0.1
"""How far a step has come is told at most so often, besides its beginning and its end."""

Behavior = Callable[[Any, Any], Any]


class ClientGone(Exception):  # noqa: N818 - it is no failure
    """Ends work from the inside: its call was cancelled."""


class LongCalls:
    """The threads of calls that take long."""

    def __init__(self) -> None:
        self._calls = ThreadPoolExecutor(CALLS, thread_name_prefix="vecstore-long")
        self._work = ThreadPoolExecutor(CALLS, thread_name_prefix="vecstore-long-work")
        self._running: set[Future[Any]] = set()

    def apart(self, behavior: Behavior) -> Any:
        """The behaviour of an rpc, to be run in threads that no short call needs."""
        return in_pool(behavior, self._calls)

    def follow(
        self, work: Callable[[Progress], Iterable[Any]], answer: Callable[..., Any], context: Any
    ) -> Iterator[Any]:
        """Do work, and say meanwhile how far it has come.

        Args:
            work: calls what it is given; ends with what that raises once the client is gone.
            answer: makes a message of `progress=` or `report=`.
            context: of the call.

        Returns:
            The messages: progress, and then the reports that `work` gives.
        """
        told: SimpleQueue[Any] = SimpleQueue()
        gone = Event()
        if not context.add_callback(gone.set):
            return
        teller = _Teller(told, gone)
        running = self._work.submit(work, teller)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: teller.end())
        while (progress := told.get()) is not None:
            yield answer(progress=progress)
        try:
            reports = running.result()
        except ClientGone:
            return
        for report in reports:
            yield answer(report=report)

    def stop(self, timeout_s: float) -> None:
        """Take no more calls, and wait for work whose calls were cancelled, but not for long."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._work.shutdown(wait=False, cancel_futures=True)
        wait(list(self._running), timeout_s)


class _Teller:
    """The progress of work, for its client: the beginning and the end of each step, and some."""

    def __init__(self, told: SimpleQueue[Any], gone: Event) -> None:
        self._told = told
        self._gone = gone
        self._last: tuple[str, int, int] | None = None
        self._what = ""
        self._silent_until = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._gone.is_set():
            raise ClientGone
        if what != self._what:
            self._tell()
        self._last = (what, done, total)
        now = time.monotonic()
        if what != self._what or now >= self._silent_until:
            self._what, self._silent_until = what, now + TELL_S
            self._tell()

    def end(self) -> None:
        """Tell what was not told yet, and then None."""
        self._tell()
        self._told.put(None)

    def _tell(self) -> None:
        if self._last is not None:
            what, done, total = self._last
            self._last = None
            self._told.put(database_pb2.Progress(what=what, done=done, total=total))


def in_pool(behavior: Behavior, pool: ThreadPoolExecutor) -> Any:
    """The behaviour of an rpc, to be run in threads of a pool."""
    found: Any = functools.partial(behavior)
    found.experimental_thread_pool = pool
    return found
