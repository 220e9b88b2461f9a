"""A collection to alter, and what the tests of alterations look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest.alter_plan import Order
from vecstore.storage import failpoints
from vecstore.types import Metric, Uint8

DIM, ROWS = 32, 200
ALONE = vs.Options(background=False)
_RNG = np.random.default_rng(5)
VECTORS = _RNG.standard_normal((ROWS, DIM)).astype(np.float32)
QUERIES = _RNG.standard_normal((5, DIM)).astype(np.float32)


def make(
    db: Database, ladder: Sequence[str], metric: Metric = "dot", segments: int = 2
) -> Collection:
    """A collection of ROWS records, in so many segments; the last record of each lacks "v"."""
    items = db.create_collection(
        "items", vs.Schema([vs.Vector("v", DIM, metric, ladder), vs.Vector("w", 2, "l2")])
    )
    size = ROWS // segments
    for start in range(0, ROWS, size):
        rows = [*VECTORS[start : start + size - 1], None]
        items.upsert(range(start, start + size), {"v": rows, "w": np.ones((size, 2))})
        items.flush()
    return items


def begin(items: Collection, ladder: Sequence[str]) -> None:
    """Store an alteration without working on it."""
    items._alteration._order(Order("v", ladder))


def stop() -> None:
    """Someone presses Ctrl-C in the middle of an alteration."""
    raise KeyboardInterrupt


@contextmanager
def at(label: str, action: Callable[[], Any], times: int = 1) -> Iterator[None]:
    """Do something at the first visits to a place."""
    left = times

    def hook(name: str) -> None:
        nonlocal left
        if name == label and left:
            left -= 1
            action()

    failpoints.hook = hook
    try:
        yield
    finally:
        failpoints.hook = None


def answers(items: Collection, **keywords: Any) -> list[tuple[list[int], list[float]]]:
    """Ids and scores for QUERIES."""
    found = items.search_batch({"v": QUERIES}, **keywords)
    return [(hits.ids.tolist(), hits.scores.tolist()) for hits in found]


def codes(items: Collection, spec: str) -> list[Uint8]:
    """The codes of a representation in each segment."""
    found = []
    for live in items._store.snapshot().segments:
        stored = live.source.codes("v", spec)
        assert stored is not None
        stored.touch()
        rows = np.arange(live.source.field_count("v"))
        found.append(stored.codec.unpack(stored.parts, rows))
    return found


def ladder(items: Collection, field: str = "v") -> list[str]:
    """The representations of a field."""
    return list(items.schema.vector(field).representations)


def folders(db: Database) -> list[str]:
    """The names of the segments on disk."""
    return sorted(path.name for path in db._environment.paths.segments.iterdir())


def named(items: Collection) -> list[str]:
    """The names of the segments that the collection has."""
    paths = items._store.environment.paths
    manifest = items._store.snapshot().manifest
    return sorted(paths.segment(info.id).name for info in manifest.segments)
