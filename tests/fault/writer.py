"""A process that writes batches and says when each is acknowledged, until it is killed.

python -m tests.fault.writer DIRECTORY FIRST_BATCH
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import vecstore as vs
from vecstore import options

ROWS = 50
DIM = 16


def vectors_of(batch: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors [ROWS, DIM] of a batch, which anyone can work out again."""
    return np.random.default_rng(batch).integers(-9, 9, (ROWS, DIM)).astype(np.float32)


def main() -> None:
    """Write batches: each adds ROWS ids of its own and rewrites the ids 0 to 9.

    Every other one comes as codes, and what is compacted has lists.
    """
    path, first = Path(sys.argv[1]), int(sys.argv[2])
    options.LISTS_ROWS_MIN = ROWS
    schema = vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["bits1", "float16"])])
    with vs.open(path, options=vs.Options(flush_bytes_max=8_000)) as db:
        if "items" not in db.collections():
            db.create_collection("items", schema)
        items = db.collection("items")
        for batch in range(first, first + 100_000):
            ids = [*range(10), *(f"{batch}-{row}" for row in range(ROWS - 10))]
            vectors = vectors_of(batch)
            coded = items.codec("v").encode(vectors) if batch % 2 else vectors
            items.upsert(ids, coded, [{"batch": batch}] * ROWS)
            sys.stdout.write(f"{batch}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
