"""Threads of searches, and how many of them one search gets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Barrier, Event, get_ident

import numpy as np

from tests.unit.segments import SCHEMA, Folder, block_of, every_row, rows_of
from vecstore.options import PARALLEL_BYTES_MIN
from vecstore.search.parallel import SPAN_ROWS, Workers


def test_a_search_gets_threads_for_its_bytes() -> None:
    """Each thread has PARALLEL_BYTES_MIN to score at least, and spans cover all rows."""
    workers = Workers(4)
    assert [workers.share(n * PARALLEL_BYTES_MIN) for n in (0, 1, 2, 3, 9)] == [1, 1, 2, 3, 4]
    rows = 3 * SPAN_ROWS + 5
    assert workers.spans(rows, 0) == [(0, rows)]
    spans = workers.spans(rows, 2 * PARALLEL_BYTES_MIN)
    assert spans == [(0, 2 * SPAN_ROWS), (2 * SPAN_ROWS, rows)]


def test_documents_are_cut_by_their_tokens() -> None:
    """Spans of documents have about as many tokens each, and cover all; none is empty."""
    workers = Workers(3)
    much = 9 * PARALLEL_BYTES_MIN
    offsets = np.array([0, 100, 110, 120, 200, 210, 300], dtype=np.uint64)
    assert workers.documents(offsets, 0) == [(0, 6)]
    assert workers.documents(offsets, much) == [(0, 1), (1, 4), (4, 6)]
    assert workers.documents(offsets[:2], much) == [(0, 1)]
    heavy = np.array([0, 1, 2, 1000, 1001], dtype=np.uint64)
    assert workers.documents(heavy, much) == [(0, 3), (3, 4)]


def test_searches_side_by_side_share_the_threads() -> None:
    """With so many searches under way as threads, each keeps to its own; afterwards not."""
    workers = Workers(4)
    much = 100 * PARALLEL_BYTES_MIN
    shares = []
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(workers.searches)
            shares.append(workers.share(much))
    assert shares == [4, 2, 1, 1, 1]
    assert workers.share(much) == 4


def test_what_no_thread_has_begun_runs_on_the_calling_one() -> None:
    """Where threads are slow to start, a search does not wait; results keep their order."""
    workers = Workers(2)
    busy, free = Barrier(3), Event()

    def hold() -> int:
        busy.wait()
        assert free.wait(60)
        return get_ident()

    def first() -> int:
        busy.wait()
        return get_ident()

    with ThreadPoolExecutor(1) as other:
        held = other.submit(workers.run, [first, hold, hold])
        found = workers.run([partial(lambda n: (n, get_ident()), n) for n in range(5)])
        free.set()
        assert len(set(held.result())) == 3
    assert found == [(n, get_ident()) for n in range(5)]
    workers.close()


def test_touching_is_needless_once_all_is_verified(tmp_path: Path) -> None:
    """It is when every block was read and the last rows lay here and there, not after a scan."""
    folder = Folder(tmp_path, SCHEMA)
    block = block_of(rows_of(50))
    segment = folder.write(every_row(block))
    for spec in SCHEMA.vector("text").representations:
        codes = segment.codes("text", spec)
        assert codes is not None
        needless = [codes.touch.needless]
        for rows in (None, np.array([3]), None):
            codes.touch(rows)
            needless.append(codes.touch.needless)
        assert needless == [False, False, True, False]
    codes = block.codes("text", "float32")
    assert codes is not None
    codes.touch()
    assert codes.touch.needless
