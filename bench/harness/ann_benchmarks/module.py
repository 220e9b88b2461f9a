"""vecstore as an algorithm of ann-benchmarks; see README.md here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ann_benchmarks.algorithms.base.module import BaseANN

import vecstore as vs

NAME, FIELD = "points", "point"
METRICS = {"angular": "cosine", "euclidean": "l2"}
BATCH_ROWS = 10_000
BATCH_QUERIES = 1_000
DEFAULT, EXACT = "default", "exact"


class Vecstore(BaseANN):  # type: ignore[misc]
    """A collection on disk with one ladder of representations."""

    def __init__(self, metric: str, ladder: str) -> None:
        """`ladder`: representations from coarse to fine, as "bits2 float16"."""
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
        self.metric = METRICS[metric]
        self.ladder = tuple(ladder.split())
        self.how: int | str = DEFAULT
        self.name = ""
        self._folder: Path | None = None
        self._database: Any = None
        self._threads = 0
        self._found: list[Any] = []
        self.set_query_arguments(DEFAULT)

    def fit(self, X: Any) -> None:  # noqa: N803
        """Write every row with its number as its id, then make one segment of them."""
        self.done()
        self._folder = Path(tempfile.mkdtemp(prefix="vecstore-"))
        rows = np.asarray(X, dtype=np.float32)
        vector = vs.Vector(FIELD, rows.shape[1], self.metric, self.ladder)
        with vs.open(self._folder) as database:
            points = database.create_collection(NAME, vs.Schema([vector]))
            for start in range(0, len(rows), BATCH_ROWS):
                part = rows[start : start + BATCH_ROWS]
                points.upsert(range(start, start + len(part)), part)
            points.compact()

    def set_query_arguments(self, how: int | str) -> None:
        """How to search: "default", "exact", or how many rows the scan keeps for each hit."""
        if isinstance(how, str) and how not in {DEFAULT, EXACT}:
            raise ValueError(f"asked for {how!r}, expected {DEFAULT!r}, {EXACT!r} or a number")
        self.how = how
        self.name = f"vecstore({' '.join(self.ladder)}, {how})"

    def query(self, q: Any, n: int) -> Any:
        """The numbers of the nearest rows, nearest first; on one thread."""
        return self._points(1).search(np.asarray(q), **self._asked(n)).ids

    def batch_query(self, X: Any, n: int) -> None:  # noqa: N803
        """As `query` for many, on every core that this process may use."""
        points = self._points(_cores())
        queries = np.asarray(X, dtype=np.float32)
        self._found = []
        for start in range(0, len(queries), BATCH_QUERIES):
            part = queries[start : start + BATCH_QUERIES]
            self._found += [hits.ids for hits in points.search_batch(part, **self._asked(n))]

    def get_batch_results(self) -> list[Any]:
        """What `batch_query` found."""
        return self._found

    def get_memory_usage(self) -> float:
        """KB that are resident, and those of the database's files, which a search maps.

        Files that are mapped already count twice: what it comes to is never too low.
        """
        kept = [] if self._folder is None else self._folder.rglob("*")
        files = sum(path.stat().st_blocks * 512 for path in kept if path.is_file())
        return float(super().get_memory_usage() or 0) + files / 1024

    def done(self) -> None:
        """Remove the database."""
        self._close()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _points(self, threads: int) -> Any:
        """The collection, of a database opened with as many threads."""
        if self._database is None or threads != self._threads:
            self._close()
            assert self._folder is not None, "fit comes first"
            options = vs.Options(threads=threads)
            self._database = vs.open(self._folder, read_only=True, options=options)
            self._threads = threads
        return self._database.collection(NAME)

    def _asked(self, limit: int) -> dict[str, Any]:
        asked: dict[str, Any] = {"limit": limit, "with_payload": False}
        if self.how == EXACT:
            asked["exact"] = True
        elif isinstance(self.how, int):
            coarse, fine = self.ladder[0], self.ladder[-1]
            scan = vs.Scan(coarse, self.how * limit)
            asked["plan"] = vs.Cascade([scan, vs.Rescore(fine, limit)])
        return asked

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _cores() -> int:
    """Cores that this process may use: a container may be tied to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
