"""A writer under a limit of the machine: it says what it acknowledged, and which errors it met.

python -m tests.fault.limited LIMIT FOLDER      LIMIT: file_bytes, descriptors, memory, disk

For "disk", FOLDER is on a small file system. Lines: "ok BATCH", "error TYPE", "read COUNT".
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import numpy as np

import vecstore as vs

BATCHES = 60
ROWS = 200
DIM = 64
SCHEMA = vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["bits2", "float16"])])
OPTIONS = vs.Options(flush_bytes_max=100_000, reserve_bytes=0)


def vectors_of(batch: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors [ROWS, DIM] of a batch, which anyone can work out again."""
    return np.random.default_rng(batch).integers(-9, 9, (ROWS, DIM)).astype(np.float32)


def say(word: str, value: object) -> None:
    """Tell the parent."""
    sys.stdout.write(f"{word} {value}\n")
    sys.stdout.flush()


def limit(kind: str) -> None:
    """Lower a limit of this process, a little above what it uses now."""
    if kind == "file_bytes":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    elif kind == "descriptors":
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, used + 12))
    elif kind == "memory":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bytes_max = pages * resource.getpagesize() + (24 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))


def main() -> None:
    """Write batches until all are tried, whatever fails."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    with vs.open(folder / "db", options=OPTIONS) as db:
        items = db.create_collection("items", SCHEMA)
        items.upsert([f"first-{row}" for row in range(ROWS)], vectors_of(0))
        items.search(vectors_of(0)[0])
        limit(kind)
        for batch in range(BATCHES):
            try:
                items.upsert([f"{batch}-{row}" for row in range(ROWS)], vectors_of(batch))
            except (vs.errors.VecstoreError, MemoryError) as error:
                say("error", type(error).__name__)
            else:
                say("ok", batch)
        try:
            items.search(vectors_of(0)[0], limit=5)
            say("read", items.count())
        except (vs.errors.VecstoreError, MemoryError) as error:
            say("error", type(error).__name__)


if __name__ == "__main__":
    main()
