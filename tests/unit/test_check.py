"""Check tells each problem once, with its place, and disturbs nobody; see also tests/fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np

import vecstore as vs
from tests.unit.damaged import DIM, OPTIONS, ROWS, fill, flip, flip_value, segment_file
from vecstore.storage import keys

READER = """
import sys, vecstore
with vecstore.open(sys.argv[1], read_only=True) as db:
    for _ in range(10):
        print(db.check())
"""


def test_each_damaged_block_is_told_once(tmp_path: Path) -> None:
    """A problem is one text, with file, block and seqs; what depends on it is passed over."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        fill(db)
    flip(segment_file(tmp_path, 1, "rows"), 300)
    flip(segment_file(tmp_path, 1, "codes-0-2"), 300)
    with vs.open(tmp_path, read_only=True) as db:
        problems = db.check()
    assert len(problems) == 2
    for problem, name in zip(problems, ("rows", "codes-0-2"), strict=True):
        assert str(segment_file(tmp_path, 1, name)) in problem
        assert "block 0" in problem
        assert f"segment 2 holds the seqs {ROWS} to {2 * ROWS - 1}" in problem


def test_a_damaged_value_is_told_once(tmp_path: Path) -> None:
    """A value that cannot be read is one problem, and the segments are looked at all the same."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        fill(db).delete([1])
    flip_value(tmp_path, keys.TOMBSTONES, keys.chunk_key(1, 0))
    flip(segment_file(tmp_path, 0, "column-0"), 200)
    with vs.open(tmp_path, read_only=True) as db:
        problems = db.check()
    assert len(problems) == 2
    assert "'tombstones'" in problems[0]
    assert "column-0" in problems[1]


def test_progress_comes_to_its_end(tmp_path: Path) -> None:
    """Each part is told in bytes or ids, ascending, from 0 to all of it."""
    told: dict[str, list[tuple[int, int]]] = {}
    with vs.open(tmp_path, options=OPTIONS) as db:
        fill(db)
        size = db.collection("items").stats().disk_bytes
        db.check(lambda what, done, total: told.setdefault(what, []).append((done, total)))
    assert told.keys() == {"data.mdb", "collection 'items'", "ids of 'items'", "trained codecs"}
    assert told["collection 'items'"][-1] == (size, size)
    for steps in told.values():
        done = [step for step, _ in steps]
        assert done == sorted(set(done))
        assert (done[0], done[-1]) == (0, steps[0][1])


def test_check_beside_writes(tmp_path: Path) -> None:
    """Checks while others write, flush, compact and delete find nothing, in any process."""
    stop = Event()
    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=20_000)) as db:
        items = fill(db)

        def write() -> None:
            rng = np.random.default_rng(0)
            while not stop.is_set():
                ids = rng.integers(0, 500, 20).tolist()
                items.upsert(ids, {"v": rng.standard_normal((20, DIM))})
                items.delete(rng.integers(0, 500, 3).tolist())
                if rng.random() < 0.2:
                    items.compact()

        writer = Thread(target=write)
        writer.start()
        try:
            for _ in range(15):
                assert db.check() == []
            command = [sys.executable, "-c", READER, str(tmp_path)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (found.stdout, found.stderr) == ("[]\n" * 10, "")
        finally:
            stop.set()
            writer.join()


def test_files_that_nothing_names(tmp_path: Path) -> None:
    """A stray file or folder is told; what waits to be removed is not."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        items = fill(db)
        hits = items.search({"v": np.ones(DIM)}, limit=100)
        items.compact()
        assert len(list((tmp_path / "segments").iterdir())) > 1  # `hits` still has the old ones
        assert db.check() == []
        assert len(hits) == 100
        for name in ("0000000000000fff", "notes"):
            (tmp_path / "segments" / name).mkdir()
        assert db.check() == [
            f"{tmp_path / 'segments' / name} is named by nothing"
            for name in ("0000000000000fff", "notes")
        ]
