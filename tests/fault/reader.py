"""A process that reads while another writes, until it is killed; it ends by itself if it sees
anything but one whole batch, each no older than the one before.

python -m tests.fault.reader DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import vecstore as vs
from tests.fault.writer import same_sets, vectors_of


def main() -> None:
    """Get the ten records that every batch rewrites, and search, again and again."""
    with vs.open(Path(sys.argv[1]), read_only=True) as db:
        items = db.collection("items")
        seen = -1
        while True:
            records = items.get(range(10), with_vectors=True)
            batches = {record.payload["batch"] for record in records if record is not None}
            assert len(records) == 10, len(records)
            assert len(batches) == 1, batches
            batch = batches.pop()
            assert batch >= seen, (batch, seen)
            vectors = vectors_of(batch)[:10]
            for record, vector in zip(records, vectors, strict=True):
                assert record is not None
                assert (record.vectors["v"] == vector).all(), record.id
                assert same_sets(record.vectors), record.id
            hits = items.search({"v": np.ones(vectors.shape[1], dtype=np.float32)}, limit=5)
            assert not hits.partial
            assert len(hits) == 5
            if seen < 0:
                sys.stdout.write("reading\n")
                sys.stdout.flush()
            seen = batch


if __name__ == "__main__":
    main()
