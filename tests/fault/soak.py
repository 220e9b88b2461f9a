"""Mixed load for some seconds: memory, descriptors and disk must stay flat.

python -m tests.fault.soak SECONDS

One thread writes and deletes among a fixed number of ids, others search, scroll and get, while
flushes and compactions run. Prints a line for every tenth of the time.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs

IDS = 20_000
DIM = 64
SAMPLES = 30
GROWTH_MAX = 1.25
SLACK_BYTES = 64 << 20
SLACK_DESCRIPTORS = 64
OPTIONS = vs.Options(flush_bytes_max=1 << 20, memory_bytes_max=64 << 20)


class Load:
    """Threads that use a collection until they are told to stop."""

    def __init__(self, items: Any) -> None:
        self.items = items
        self.errors: list[BaseException] = []
        self.calls = 0
        self._stopped = threading.Event()
        runs = [self.write, self.search, self.read]
        self._threads = [threading.Thread(target=self._loop, args=[run]) for run in runs]
        for thread in self._threads:
            thread.start()

    def _loop(self, run: Callable[[np.random.Generator], None]) -> None:
        rng = np.random.default_rng(id(run) % 1000)
        while not self._stopped.is_set():
            try:
                run(rng)
            except BaseException as error:
                self.errors.append(error)
                return
            self.calls += 1

    def write(self, rng: np.random.Generator) -> None:
        ids = rng.choice(IDS, 200, replace=False).tolist()
        vectors = rng.standard_normal((len(ids), DIM)).astype(np.float32)
        self.items.upsert(ids, vectors, [{"n": id_} for id_ in ids])
        self.items.delete(rng.choice(IDS, 50, replace=False).tolist())

    def search(self, rng: np.random.Generator) -> None:
        hits = self.items.search(rng.standard_normal(DIM).astype(np.float32), where="n >= 100")
        if not all(hit.payload["n"] >= 100 for hit in hits):
            raise AssertionError("a hit does not pass the filter")

    def read(self, rng: np.random.Generator) -> None:
        self.items.get(rng.choice(IDS, 100, replace=False).tolist(), with_vectors=True)
        for number, _ in enumerate(self.items.scroll(batch=500)):
            if number > 2_000:
                return

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def usage(path: Path) -> dict[str, int]:
    """Bytes of own memory, bytes of disk, and descriptors in use."""
    status = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
    disk = 0
    for folder, _, names in os.walk(path):  # passes over folders that go meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                disk += os.stat(os.path.join(folder, name)).st_blocks * 512
    return {
        "memory": memory,
        "disk": disk,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


def soak(seconds: float, path: Path, say: Callable[[str], None]) -> list[str]:
    """Run the load; what was not flat or went wrong."""
    samples: list[dict[str, int]] = []
    with vs.open(path, options=OPTIONS) as db:
        schema = vs.Schema([vs.Vector("v", DIM)], [vs.Column("n", "int")])
        load = Load(db.create_collection("items", schema))
        try:
            for number in range(SAMPLES):
                time.sleep(seconds / SAMPLES)
                samples.append(usage(path))
                if number % 3 == 2:
                    say(f"{samples[-1]} calls {load.calls:,}")
        finally:
            load.stop()
        problems = [repr(error) for error in load.errors] + db.check()
    third = SAMPLES // 3
    for name in samples[0]:
        before = max(sample[name] for sample in samples[third : 2 * third])
        after = max(sample[name] for sample in samples[2 * third :])
        slack = SLACK_DESCRIPTORS if name == "descriptors" else SLACK_BYTES
        if after > GROWTH_MAX * before + slack * (seconds < 60):
            problems.append(f"{name} grew from {before:,} to {after:,}")
    return problems


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Soak; exit 1 where something was wrong."""
    folder = Path(tempfile.mkdtemp())
    try:
        problems = soak(float(sys.argv[1]), folder / "db", say)
    finally:
        shutil.rmtree(folder)
    say("soak: " + ("; ".join(problems) or "flat"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
