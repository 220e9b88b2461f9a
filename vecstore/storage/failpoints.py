"""Places where a test may end the process, or run something, to see what a crash leaves behind.

    VECSTORE_FAILPOINT=flush.commit:3    ends the process, with code 77, the third time that it
                                         gets to "flush.commit"; read when vecstore is imported
    failpoints.hook = function           is called with the label of each place

Nobody else has a use for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock

from vecstore.errors import RequestError

NAMES = frozenset(
    {
        "upsert.begin",
        "upsert.put",
        "upsert.committed",
        "delete.committed",
        "flush.begin",
        "segment.component",
        "segment.renamed",
        "flush.commit",
        "flush.committed",
        "compact.begin",
        "compact.commit",
        "compact.committed",
        "alter.begin",
        "alter.built",
        "alter.commit",
        "alter.committed",
        "reclaim.removed",
        "space.released",
        "snapshot.copied",
        "snapshot.linked",
        "snapshot.renamed",
        "create.committed",
        "drop.committed",
    }
)
EXIT_CODE = 77
_VARIABLE = "VECSTORE_FAILPOINT"

hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that the place of that label was reached. Does nothing unless a test wants it."""
    assert name in NAMES, name
    if hook is not None:
        hook(name)
    if _countdown is not None:
        _countdown.reach(name)


class _Countdown:
    """Ends the process at the n-th visit to a place."""

    def __init__(self, name: str, visits: int) -> None:
        self._name = name
        self._left = visits
        self._lock = Lock()

    def reach(self, name: str) -> None:
        if name == self._name:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os._exit(EXIT_CODE)


def _from_environment() -> _Countdown | None:
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return None
    name, _, visits = wanted.partition(":")
    if name not in NAMES or not visits.isdecimal() or int(visits) < 1:
        raise RequestError(
            f"{_VARIABLE} is {wanted!r}, expected the label of a place and a number from 1, "
            "such as 'flush.commit:3'"
        )
    return _Countdown(name, int(visits))


_countdown = _from_environment()
