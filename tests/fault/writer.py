"""A process that writes batches and says when each is acknowledged, until it is killed.

python -m tests.fault.writer DIRECTORY FIRST_BATCH
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore import options

ROWS = 50
DIM = 16


def vectors_of(batch: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors [ROWS, DIM] of a batch, which anyone can work out again."""
    return np.random.default_rng(batch).integers(-9, 9, (ROWS, DIM)).astype(np.float32)


def sets_of(vectors: Any) -> list[Any]:
    """For each vector 1 or 2 multiples of it, or None: sets of vectors that follow from it."""
    counts = [int(vector[0]) % 3 for vector in vectors]
    return [
        np.outer(np.arange(1, 1 + count), vector).astype(np.float32) if count else None
        for vector, count in zip(vectors, counts, strict=True)
    ]


def same_sets(vectors: Mapping[str, Any]) -> bool:
    """Whether the sets of a record follow from its vector."""
    (expected,) = sets_of(vectors["v"][None])
    found = vectors.get("pages")
    return np.array_equal(found, expected) if found is not None else expected is None


def main() -> None:
    """Write batches: each adds ROWS ids of its own and rewrites the ids 0 to 9.

    Every other one comes as codes, and what is compacted has lists.
    """
    path, first = Path(sys.argv[1]), int(sys.argv[2])
    options.LISTS_ROWS_MIN = ROWS
    vector = vs.Vector("v", DIM, "dot", ["bits1", "float16"])
    schema = vs.Schema([vector, vs.MultiVector("pages", DIM, "dot", ["float16"])])
    with vs.open(path, options=vs.Options(flush_bytes_max=8_000)) as db:
        if "items" not in db.collections():
            db.create_collection("items", schema)
        items = db.collection("items")
        for batch in range(first, first + 100_000):
            ids = [*range(10), *(f"{batch}-{row}" for row in range(ROWS - 10))]
            vectors = vectors_of(batch)
            coded = items.codec("v").encode(vectors) if batch % 2 else vectors
            fields = {"v": coded, "pages": sets_of(vectors)}
            items.upsert(ids, fields, [{"batch": batch}] * ROWS)
            sys.stdout.write(f"{batch}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
