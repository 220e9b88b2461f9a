"""A process that ends at any labelled place of a write loses nothing that it acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vecstore as vs
from tests.fault.power.verify import wrong
from tests.fault.power.workload import STEPS
from vecstore.storage.failpoints import EXIT_CODE, NAMES

FULL = os.environ.get("VECSTORE_FAULT") == "full"
SEED = 5
# The workload drops nothing, and uploads no snapshot; only Linux makes holes.
ELSEWHERE = {"drop.committed", *(() if sys.platform == "linux" else ("space.released",))}


def run(folder: Path, place: str, *, background: bool) -> tuple[int, int]:
    """Run the workload until a place is reached; the exit code, and how many steps it answered."""
    command = [sys.executable, "-m", "tests.fault.power.workload", str(folder), str(folder / "ack")]
    ended = subprocess.run(
        [*command, str(SEED), str(int(background))],
        env={**os.environ, "VECSTORE_FAILPOINT": place},
        check=False,
    )
    answers = folder / "ack"
    return ended.returncode, len(answers.read_text().splitlines()) if answers.exists() else 0


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("name", sorted(NAMES - ELSEWHERE))
def test_process_that_ends_at_a_place(
    tmp_path: Path, say: Callable[[str], None], name: str, background: bool
) -> None:
    """After the n-th visit to a place ends the process, every acknowledged step is there, whole."""
    some = (2,) if background else (1, 4)
    for visit in range(1, 40) if FULL else some:
        folder = tmp_path / str(visit)
        folder.mkdir()
        code, answered = run(folder, f"{name}:{visit}", background=background)
        assert code in (EXIT_CODE, 0)
        if visit == 1 and not background:
            assert code == EXIT_CODE, "the workload never gets there"
        assert list(wrong(folder, answered, SEED)) == []
        if code == 0:
            assert answered == STEPS + 1
            break
    say(f"process ended at {name}, background {background}: visits up to {visit}, 0 lost")


def test_process_that_ends_in_a_drop(tmp_path: Path) -> None:
    """A drop is there once its commit is; its files go when the database is opened again."""
    code = (
        "import sys, vecstore as vs\n"
        "with vs.open(sys.argv[1]) as db:\n"
        "    items = db.create_collection('items', vs.Schema([vs.Vector('v', 2)]))\n"
        "    items.upsert([1], [[1, 2]])\n"
        "    items.flush()\n"
        "    db.drop_collection('items')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "VECSTORE_FAILPOINT": "drop.committed:1"},
        check=False,
    )
    assert ended.returncode == EXIT_CODE
    assert len(list((tmp_path / "segments").iterdir())) == 1
    with vs.open(tmp_path) as db:
        assert db.collections() == []
        assert db.check() == []
    assert list((tmp_path / "segments").iterdir()) == []
