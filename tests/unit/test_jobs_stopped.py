"""What background work that was stopped leaves behind: nothing."""

from __future__ import annotations

import gc
import time
import weakref
from contextlib import closing

from tests.unit.test_jobs import LONG_S, Endless
from vecstore.ingest.jobs import Jobs, Task


def test_what_was_stopped_holds_nothing() -> None:
    """Neither frames nor the functions among them: whoever removes files waits for no collector."""
    held: list[weakref.ref[Endless]] = []

    def run(pace: Task) -> None:
        work = Endless()
        held.append(weakref.ref(work))
        _ = [[work, pace, self(pace)] for self in [work]]

    gc.collect()
    gc.disable()
    try:
        with closing(Jobs()) as jobs:
            jobs.submit("compact", "items", run)
            end = time.monotonic() + LONG_S
            while not held or ((work := held[0]()) is not None and not work.begun.is_set()):
                assert time.monotonic() < end
            work = None
            jobs.cancel("items")
            while held[0]() is not None:
                assert time.monotonic() < end
    finally:
        gc.enable()
