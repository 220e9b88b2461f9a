"""What the wire costs: a search and an upsert over gRPC beside the same calls embedded.

    python bench/wire.py [--rows 20000] [--dim 384] [--calls 1000]

The server runs in a process of its own, on loopback. Embedded and remote calls alternate, so that
both meet the same noise of the machine. "wire only" is a server that decodes a batch and drops it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import vecstore as vs

SERVE = """
import sys
import vecstore_server
path = sys.argv[1]
if path:
    server = vecstore_server.serve(path, port=0)
else:
    import vecstore as vs

    class Nothing:
        schema = vs.Schema(vectors=[vs.Vector("v", 384)])

        def collection(self, name):
            return self

        def upsert(self, ids, vectors, payloads):
            return len(ids)

        def close(self):
            pass

    server = vecstore_server.Server(Nothing(), port=0)
    server.start()
print(server.address, flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def connected(path: str) -> Iterator[Any]:
    """A database in another process; "" stands for one that drops what it is sent."""
    command = [sys.executable, "-c", SERVE, path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with vs.connect(process.stdout.readline().strip()) as database:
            yield database
        process.communicate()


def milliseconds(calls: list[Callable[[], object]], count: int) -> list[np.ndarray[Any, Any]]:
    """The times of calls that take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(count + 50):
        for call, spent in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            if turn >= 50:
                spent.append((time.perf_counter() - begun) * 1e3)
    return [np.array(spent) for spent in times]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--calls", type=int, default=1_000)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((asked.rows, asked.dim), dtype=np.float32)
    ids = list(range(asked.rows))
    payloads = [{"title": f"row {row}", "year": row % 50} for row in ids]
    schema = vs.Schema(vectors=[vs.Vector("v", asked.dim)], columns=[vs.Column("year", "int")])
    with tempfile.TemporaryDirectory() as folder, connected(f"{folder}/served") as remote_db:
        embedded_db = vs.open(f"{folder}/embedded")
        remote = remote_db.create_collection("bench", schema)
        embedded = embedded_db.create_collection("bench", schema)
        for name, target in (("embedded", embedded), ("remote", remote)):
            begun = time.perf_counter()
            for start in range(0, asked.rows, 1_000):
                part = slice(start, start + 1_000)
                target.upsert(ids[part], rows[part], payloads[part])
            spent = time.perf_counter() - begun
            print(f"upsert, batches of 1,000, {name}: {rows.nbytes / spent / 1e6:.0f} MB/s")
            target.flush()

        def read(target: Any) -> Callable[[], object]:
            return lambda: list(target.search(rows[7], limit=10))

        here, there = milliseconds([read(embedded), read(remote)], asked.calls)
        embedded_db.close()
    for name, times in (("embedded", here), ("remote", there)):
        print(f"search, {name}: p50 {np.median(times):.3f} ms, p99 {np.quantile(times, 0.99):.3f}")
    print(f"search, added by gRPC: p50 {np.median(there) - np.median(here):.3f} ms (bar 1.5)")
    with connected("") as database:
        nothing = database.collection("bench")
        for size in (1_000, asked.rows):
            best = 0.0
            for _ in range(5):
                begun = time.perf_counter()
                for start in range(0, asked.rows, size):
                    part = slice(start, start + size)
                    nothing.upsert(ids[part], rows[part])
                best = max(best, rows.nbytes / (time.perf_counter() - begun) / 1e6)
            print(f"upsert, batches of {size:,}, wire only: {best:.0f} MB/s")


if __name__ == "__main__":
    main()
