"""A writer that is killed loses nothing that it acknowledged, whoever reads and is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import vecstore as vs
from tests.fault.writer import same_sets, vectors_of

CHECKED = 20  # rounds of one database, as each reads all that the ones before wrote
ROUNDS = 200 if os.environ.get("VECSTORE_FAULT") == "full" else 20


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A process that reads meanwhile, and must still do so when it is killed."""
    command = [sys.executable, "-m", "tests.fault.reader", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        yield
        reader.kill()
        assert reader.wait() == -signal.SIGKILL, "the reader saw what it should not"


def run_and_kill(path: Path, first: int, seconds: float) -> int:
    """Start a writer and a reader, and kill -9 both; the last batch that the writer answered.

    The writer is killed that long after it answered, and the reader began to read.
    """
    command = [sys.executable, "-m", "tests.fault.writer", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = int(writer.stdout.readline())
        with reading(path):
            time.sleep(seconds)
            writer.kill()
            writer.wait()
        for line in writer.stdout:
            if line.endswith("\n"):
                last = int(line)
    return last


def check_batches(path: Path, last: int) -> int:
    """Every batch up to `last` is there and whole; the newest batch found, perhaps one more."""
    with vs.open(path) as db:
        assert db.check() == []
        items = db.collection("items")
        newest = max(last, items.get([0])[0].payload["batch"])
        assert newest <= last + 1
        records = list(items.scroll(with_vectors=True, batch=5_000))
        expected = {
            f"{batch}-{row}": vector
            for batch in range(newest + 1)
            for row, vector in enumerate(vectors_of(batch)[10:])
        } | dict(enumerate(vectors_of(newest)[:10]))
        assert {record.id for record in records} == expected.keys()
        assert len(records) == items.count() == len(expected)
        for record in records:
            assert (record.vectors["v"] == expected[record.id]).all()
            assert len(items.schema.vectors) == 1 or same_sets(record.vectors)
    return newest


def test_kill_loses_nothing_acknowledged(tmp_path: Path, say: Callable[[str], None]) -> None:
    """After each kill, every acknowledged batch is there, whole, and was read so meanwhile."""
    moments = np.random.default_rng(7).uniform(0, 0.15, ROUNDS)
    batches = 0
    for start in range(0, ROUNDS, CHECKED):
        folder, newest = tmp_path / str(start), -1
        for moment in moments[start : start + CHECKED]:
            newest = check_batches(folder, run_and_kill(folder, newest + 1, moment))
        assert newest + 1 >= CHECKED
        batches += newest + 1
    say(f"kill -9 of writer and reader: {ROUNDS} rounds, {batches:,} batches, 0 lost")
