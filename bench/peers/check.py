"""Whether adapters do what they promise, on a few thousand rows: what to run after changing one.

    python -m bench.peers.check [NAME ...] [--rows N]

Builds each peer whose name begins with NAME, asks it everything that it says it does, and compares
with the truth. Prints a line for each, and ends with 1 where one fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, dense_case, nearest, token_case
from bench.data import synthetic
from bench.measure import LIMIT, THREADS
from bench.peers import Entry, entries
from bench.peers.drive import PeerFailedError, Worker
from vecstore.types import Array, Float32, Int64

ROWS, QUERIES = 4_000, 50
BELOW = 100  # a tenth of the marks
RECALL_MIN = 0.9
LATE_MIN = 0.75  # codes of 2 bits find no more
GONE = 500  # rows that are deleted
DOCUMENTS, TOKENS = 300, 24


def main() -> int:
    """Check the peers asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.check", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    names = asked.names or None
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vecstore-peers-") as folder:
        dense = _dense(Path(folder) / "dense", asked.rows)
        late = _late(Path(folder) / "late")
        for case, found in ((dense, entries("dense", names)), (late, entries("late", names))):
            for place, entry in enumerate(found):
                try:
                    said = ", ".join(checked(entry, case, Path(folder) / f"{case.name}-{place}"))
                except (PeerFailedError, AssertionError) as error:
                    said, failed = f"FAILED: {error}", failed + 1
                print(f"{entry.known.name:<32}{said}", flush=True)
    return 1 if failed else 0


def checked(entry: Entry, case: Case, folder: Path) -> Iterator[str]:
    """What was seen to hold of a peer, step by step.

    Raises:
        AssertionError: something does not hold.
        PeerFailedError: the peer failed.
    """
    with Worker(entry, case, folder, THREADS) as worker:
        built = worker.build(case)
        yield f"built in {built['insert_s'] + built['finish_s']:.2f} s, {built['disk']:,} bytes"
        settings = worker.ask("settings")
        assert settings, "no settings"
        recalls = [recall(worker.find(each, LIMIT)[0], case.truth) for each in settings]
        yield f"recall {recalls[0]:.3f} to {recalls[-1]:.3f} over {len(settings)}"
        least = LATE_MIN if "late" in entry.known.does else RECALL_MIN
        assert max(recalls) >= least, f"recall is {max(recalls):.3f} at best"
        for batch, threads in ((False, 1), (False, 2), (True, 2)):
            worker.ask(
                "time", setting=settings[0], limit=LIMIT, batch=batch, threads=threads, seconds=0.1
            )
        if "filter" in entry.known.does:
            yield _filtered(worker, case, settings[-1])
        if "database" in entry.known.does:
            yield _changed(worker, case, settings[-1])
            worker.ask("close")
    if "database" not in entry.known.does:
        return
    with Worker(entry, case, folder, THREADS) as worker:
        worker.ask("open")
        found, _ = worker.find(settings[-1], LIMIT)
        assert not np.isin(found, np.arange(GONE, 2 * GONE)).any(), "deleted rows came back"
        yield "reopened"


def _filtered(worker: Worker, case: Case, setting: dict[str, Any]) -> str:
    allowed = case.marks < BELOW
    truth = nearest(case.vectors, case.queries, LIMIT, allowed)
    found, _ = worker.find(setting, LIMIT, below=BELOW)
    assert allowed[found[found >= 0]].all(), "rows that the filter forbids"
    share = recall(found, truth)
    assert share >= RECALL_MIN, f"recall is {share:.3f} with a filter"
    return f"filtered {share:.3f}"


def _changed(worker: Worker, case: Case, setting: dict[str, Any]) -> str:
    """Replace rows 0 ... GONE with the vectors of those that are then deleted."""
    worker.ask("insert", source="vectors", start=GONE, stop=2 * GONE, batch=100, first=0)
    worker.ask("delete", rows=list(range(GONE, 2 * GONE)))
    vectors = np.array(case.vectors)
    vectors[:GONE] = vectors[GONE : 2 * GONE]
    allowed = np.ones(case.rows, dtype=np.bool_)
    allowed[GONE : 2 * GONE] = False
    truth = nearest(vectors, case.queries, LIMIT, allowed)
    found, _ = worker.find(setting, LIMIT)
    assert allowed[found[found >= 0]].all(), "deleted rows are found"
    share = recall(found, truth)
    assert share >= RECALL_MIN, f"recall is {share:.3f} after changes"
    return f"changed {share:.3f}"


def recall(found: Array, truth: Int64) -> float:
    """The mean share of the true rows that are among those found."""
    limit = found.shape[1]
    shares = [np.isin(true[:limit], rows).mean() for true, rows in zip(truth, found, strict=True)]
    return float(np.mean(shares))


def _dense(folder: Path, rows: int) -> Case:
    source = synthetic(None)
    parts = [source.rows(0, rows)]
    return dense_case(folder, "dense", parts, rows, source.queries(QUERIES))


def _late(folder: Path) -> Case:
    """Documents of vectors around topics; a query is some vectors of one document, moved."""
    rng = np.random.default_rng(5)
    topics = rng.standard_normal((64, 128), dtype=np.float32)

    def some(count: int) -> Float32:
        drawn = topics[rng.integers(len(topics), size=count)]
        return _unit(drawn + rng.standard_normal(drawn.shape, dtype=np.float32))

    documents = [some(int(count)) for count in rng.integers(8, TOKENS, size=DOCUMENTS)]
    queries = [
        _unit(each[:8] + 0.5 * rng.standard_normal((8, 128), dtype=np.float32) / 11)
        for each in documents[:QUERIES]
    ]
    scores = [[(query @ each.T).max(axis=1).sum() for each in documents] for query in queries]
    truth = np.argsort(-np.array(scores), axis=1, kind="stable")
    return token_case(folder, "late", documents, queries, truth)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    sys.exit(main())
