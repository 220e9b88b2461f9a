"""The one place that decides threads: kernels are single-threaded and release the GIL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import TypeVar

import numpy as np

from vecstore import options
from vecstore.errors import ClosedError
from vecstore.types import Uint64

Result = TypeVar("Result")

# Spans start at whole blocks of the kernels and whole words of the allowed bits.
SPAN_ROWS = 4096


class Searches:
    """Counts the searches under way: a context manager around each."""

    def __init__(self) -> None:
        self._under_way: list[None] = []  # whose length changes in one step

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._under_way)

    def __enter__(self) -> None:
        self._under_way.append(None)

    def __exit__(self, *_: object) -> None:
        self._under_way.pop()


class Workers:
    """Threads that searches of one database share; started when first needed.

    Attributes:
        count: threads that one search may use.
        searches: those that are under way.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.searches = Searches()
        self._pool: Executor | None = None
        self._lock = Lock()
        self._closed = False

    def run(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run every task, the first on the calling thread; results in the tasks' order.

        The calling thread also runs what no other has begun by then: where cores are busy, with a
        compaction for one, a thread may take milliseconds to get its turn.
        """
        if len(tasks) == 1 or self.count == 1:
            return [task() for task in tasks]
        with self._lock:
            if self._closed:
                raise ClosedError("the database was closed during a search; open it again")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="vecstore-search")
            try:
                futures = [self._pool.submit(task) for task in tasks[1:]]
            except RuntimeError:  # the machine starts no more threads
                futures = None
        if futures is None:
            return [task() for task in tasks]
        own = {0: tasks[0]()}
        for place in range(len(futures), 0, -1):  # threads begin at the other end
            if futures[place - 1].cancel():
                own[place] = tasks[place]()
        return [
            own[place] if place in own else futures[place - 1].result()
            for place in range(len(tasks))
        ]

    def share(self, bytes_read: int) -> int:
        """How many threads are worth their start, to score so many bytes of codes.

        Searches that run at the same time share the threads: each on its own is done sooner.
        """
        free = self.count // max(1, self.searches.count)
        return max(1, min(free, bytes_read // options.PARALLEL_BYTES_MIN))

    def spans(self, rows: int, bytes_read: int) -> list[tuple[int, int]]:
        """Cut [0, rows) into one span for each thread that is worth its start.

        Args:
            rows: rows to scan.
            bytes_read: bytes of codes that this reads.
        """
        parts = self.share(bytes_read)
        if parts == 1:
            return [(0, rows)]
        step = -(-rows // parts)
        step = -(-step // SPAN_ROWS) * SPAN_ROWS
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    def documents(self, offsets: Uint64, bytes_read: int) -> list[tuple[int, int]]:
        """Cut documents into spans of about as many tokens, as `spans` cuts rows.

        Args:
            offsets: uint64 [N + 1], where the tokens of each lie.
            bytes_read: what to score them costs, as bytes of codes.
        """
        parts = min(self.share(bytes_read), len(offsets) - 1)
        if parts <= 1:
            return [(0, len(offsets) - 1)]
        cuts = np.linspace(int(offsets[0]), int(offsets[-1]), parts + 1)[1:-1].astype(np.uint64)
        places = np.searchsorted(offsets, cuts).tolist()
        return [span for span in pairwise([0, *places, len(offsets) - 1]) if span[0] < span[1]]

    def close(self) -> None:
        """Stop the threads once they are idle."""
        with self._lock:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True)
