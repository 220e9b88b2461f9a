"""A machine that runs out of something: typed errors, nothing acknowledged is lost, and it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.fault.limited import BATCHES, ROWS, vectors_of

TYPED = {"DatabaseFullError", "StorageError", "ReadOnlyError", "UnknownOutcomeError", "MemoryError"}


def run(kind: str, folder: Path) -> tuple[list[int], list[str]]:
    """Run the limited writer; the batches it acknowledged, and the errors it met."""
    command = [sys.executable, "-m", "tests.fault.limited", kind, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    batches = [int(value) for word, value in lines if word == "ok"]
    return batches, [value for word, value in lines if word == "error"]


def check(folder: Path, batches: list[int], tried: int) -> None:
    """Every acknowledged batch is there, every other is whole or absent, and writes work again."""
    with vs.open(folder / "db") as db:
        assert db.check() == []
        items = db.collection("items")
        found = {record.id: record.vectors["v"] for record in items.scroll(with_vectors=True)}
        for batch in ["first", *range(tried)]:
            ids = [f"{batch}-{row}" for row in range(ROWS)]
            there = [id_ in found for id_ in ids]
            assert all(there) or not any(there)
            assert all(there) or (batch != "first" and batch not in batches)
            if all(there):
                expected = vectors_of(0 if batch == "first" else int(batch))
                np.testing.assert_array_equal(np.stack([found[id_] for id_ in ids]), expected)
        items.upsert(["again"], vectors_of(1)[:1])
        items.flush()
        assert items.get(["again"])[0] is not None


@pytest.mark.parametrize("kind", ["file_bytes", "descriptors", "memory"])
def test_limits_of_the_process(tmp_path: Path, kind: str) -> None:
    """Under a limit, writes fail with typed errors or work; without it, all that was said holds."""
    batches, errors = run(kind, tmp_path)
    assert set(errors) <= TYPED
    if kind == "file_bytes":
        assert errors
    check(tmp_path, batches, BATCHES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(small_disk: Path) -> None:
    """A full disk refuses writes and keeps what it has; room makes it write again."""
    batches, errors = run("disk", small_disk)
    assert errors
    assert set(errors) <= TYPED
    remount = ["mount", "-o", "remount,size=200m", str(small_disk)]
    subprocess.run(remount, check=True)
    check(small_disk, batches, BATCHES)
