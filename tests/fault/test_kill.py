"""A writer that is killed loses nothing that it acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import vecstore as vs
from tests.fault.writer import vectors_of

ROUNDS = 200 if os.environ.get("VECSTORE_FAULT") == "full" else 20


def run_and_kill(path: Path, first: int, seconds: float) -> int:
    """Start a writer, kill -9 it that long after its first answer; the last batch it answered."""
    command = [sys.executable, "-m", "tests.fault.writer", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = int(writer.stdout.readline())
        time.sleep(seconds)
        writer.kill()
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
    return newest


def test_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After each kill at a random moment, every acknowledged batch is there, whole."""
    moments = np.random.default_rng(7).uniform(0, 0.15, ROUNDS)
    newest = -1
    for moment in moments:
        newest = check_batches(tmp_path, run_and_kill(tmp_path, newest + 1, moment))
    assert newest >= ROUNDS
