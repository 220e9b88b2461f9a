"""Let many threads use one thing, and one of them replace it while no one uses it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, local


class Gate:
    """What all threads pass that use a thing which may have to be renewed; `with gate:` is inside.

    Once someone inside has asked for it, the next thread that enters renews it, as soon as nobody
    is inside. A thread that is inside already is let in again at once, so that it never waits for
    itself; others wait. Who enters in one thread leaves in the same.

    Args:
        renew: replaces the thing. Where it raises, the thread that entered does, and the next
            thread tries again.
    """

    __slots__ = ("_inside", "_own", "_renew", "_stale", "_turn")

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._turn = Condition()
        self._inside = 0
        self._stale = False
        self._own = local()  # .entries: how often this thread is inside

    def __enter__(self) -> None:
        with self._turn:
            if self._stale:
                self._freshen()
            self._move(1)

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._move(-1)

    def renew(self) -> bool:
        """Ask for a new thing from inside, and wait for it.

        Returns:
            Whether it is there. A thread that is inside more than once does not wait: it is there
            when that thread has left and enters again.
        """
        with self._turn:
            self._stale = True
            self._move(-1)
            try:
                self._freshen()
            finally:
                self._move(1)
            return not self._stale

    def _entries(self) -> int:
        entries: int = getattr(self._own, "entries", 0)
        return entries

    def _move(self, step: int) -> None:
        self._own.entries = self._entries() + step
        self._inside += step
        if not self._inside:
            self._turn.notify_all()

    def _freshen(self) -> None:
        while self._stale and self._entries() <= 0:
            if self._inside:
                self._turn.wait()
            else:
                self._renew()
                self._stale = False
                self._turn.notify_all()
