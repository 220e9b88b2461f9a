"""Copies of a database in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

import vecstore as vs
from tests.unit.backups import DIM, Stopped, fill, state, state_at, write
from vecstore.backup.directory import NewDirectory
from vecstore.database import Database
from vecstore.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptionError,
    LockedError,
    RequestError,
)
from vecstore.storage import failpoints
from vecstore.storage.files import RealFiles

LABELS = ["snapshot.copied", "snapshot.linked", "snapshot.renamed"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database of every kind of file, in "db"."""
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as opened:
        fill(opened)
        yield opened


def test_copy_equals_the_database(tmp_path: Path, db: Database) -> None:
    """A copy opens as a database with the same records, vectors, hits and stats."""
    expected = state(db)
    made = db.snapshot(tmp_path / "copy")
    write(db, "books", 9)
    assert state_at(tmp_path / "copy") == expected
    assert made.number == 0
    assert made.bytes_total >= made.bytes_new > 0


def test_copy_shares_files_and_nothing_else(tmp_path: Path, db: Database) -> None:
    """Files of segments and codecs are hard links; no locks and no pins of readers are copied."""
    made = db.snapshot(str(tmp_path / "copy"))
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["codecs", "data.mdb", "segments"]
    linked = [path for path in copy.rglob("*") if path.is_file() and path.name != "data.mdb"]
    assert made.files == len(linked) + 1
    for path in linked:
        assert path.samefile(tmp_path / "db" / path.relative_to(copy))
    assert made.bytes_new == (copy / "data.mdb").stat().st_size


def test_copies_part_from_each_other(tmp_path: Path, db: Database) -> None:
    """Writing to a copy changes neither the database nor its other copies."""
    expected = state(db)
    for name in ("one", "two"):
        db.snapshot(tmp_path / name)
    with vs.open(tmp_path / "one") as one:
        write(one, "books", 7)
        one.collection("books").flush()
        one.drop_collection("pages")
    assert state(db) == expected
    assert state_at(tmp_path / "two") == expected


def test_copy_of_an_empty_database(tmp_path: Path) -> None:
    """A database without collections can be copied, into an empty directory too."""
    (tmp_path / "copy").mkdir()
    with vs.open(tmp_path / "db") as db:
        db.snapshot(tmp_path / "copy")
    assert state_at(tmp_path / "copy") == {}


def test_jobs_are_left_out(tmp_path: Path, db: Database) -> None:
    """A change of representations under way is not in a copy, which has the ladder of before."""
    with vs.open(tmp_path / "other") as other:
        fill(other)
        other.pause_jobs()
        other.collection("books").alter("v", ["bits2", "float16"], wait=False)
        assert "alter" in [job.kind for job in other.jobs()]
        other.snapshot(tmp_path / "copy")
    with vs.open(tmp_path / "copy") as copy:
        assert copy.jobs() == []
        assert copy.check() == []
        assert copy.collection("books").schema == db.collection("books").schema
        assert copy.collection("books").count() == db.collection("books").count()


def test_copy_is_of_one_moment(tmp_path: Path) -> None:
    """While a thread writes, each copy has every acknowledged batch, and all of them whole."""
    with vs.open(tmp_path / "db", options=vs.Options(flush_bytes_max=20_000)) as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM)]))
        acknowledged, stop = [-1], Event()

        def run() -> None:
            batch = 0
            while not stop.is_set():
                rows = np.full((10, DIM), 1.0)
                items.upsert([f"{batch}-{row}" for row in range(10)], rows, [{"b": batch}] * 10)
                acknowledged[0] = batch
                batch += 1

        writer = Thread(target=run)
        writer.start()
        try:
            for number in range(5):
                before = acknowledged[0]
                db.snapshot(tmp_path / f"copy{number}")
                after = acknowledged[0] + 1
                with vs.open(tmp_path / f"copy{number}") as copy:
                    assert copy.check() == []
                    records = list(copy.collection("items").scroll())
                    batches = [record.payload["b"] for record in records]
                    newest = max(batches, default=-1)
                    assert before <= newest <= after
                    assert sorted(batches) == sorted([*range(newest + 1)] * 10)
        finally:
            stop.set()
            writer.join()


def test_files_are_kept_until_they_are_linked(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection that is dropped in the middle is in the copy, and its files go afterwards."""
    expected = state(db)

    def drop(label: str) -> None:
        if label == "snapshot.copied":
            db.drop_collection("pages")
            db._environment.reclaimer.sweep()

    monkeypatch.setattr(failpoints, "hook", drop)
    db.snapshot(tmp_path / "copy")
    monkeypatch.undo()
    assert db.collections() == ["books"]
    assert state_at(tmp_path / "copy") == expected
    db._environment.reclaimer.sweep()
    assert len(os.listdir(tmp_path / "db" / "segments")) == 3


def test_reader_keeps_the_files_of_its_copy(tmp_path: Path, db: Database) -> None:
    """The writer removes no file that another process still copies, and removes it afterwards."""
    expected = state(db)
    code = (
        "import sys, vecstore as vs\n"
        "from vecstore.storage import failpoints\n"
        "def wait(label):\n"
        "    if label == 'snapshot.copied':\n"
        "        print('copied', flush=True); sys.stdin.readline()\n"
        "failpoints.hook = wait\n"
        "vs.open(sys.argv[1], read_only=True).snapshot(sys.argv[2])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "db"), str(tmp_path / "copy")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "copied\n"
        db.drop_collection("pages")
        db._environment.reclaimer.sweep()
        reader.communicate("go on\n")
    assert reader.returncode == 0
    assert state_at(tmp_path / "copy") == expected
    db._environment.reclaimer.sweep()
    assert len(os.listdir(tmp_path / "db" / "segments")) == 3
    assert os.listdir(tmp_path / "db" / "readers") == []


@pytest.mark.parametrize("label", LABELS)
def test_stopped_copy_is_made_again(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """An error at any step leaves no copy or a whole one, and nothing that is in the way."""

    def stop(reached: str) -> None:
        if reached == label:
            raise Stopped

    monkeypatch.setattr(failpoints, "hook", stop)
    with pytest.raises(Stopped):
        db.snapshot(tmp_path / "copy")
    monkeypatch.undo()
    whole = label == "snapshot.renamed"
    assert os.listdir(tmp_path) == ["db"] or whole
    assert (tmp_path / "copy").exists() == whole
    if not whole:
        db.snapshot(tmp_path / "copy")
    assert state_at(tmp_path / "copy") == state(db)


@pytest.mark.parametrize("label", LABELS)
def test_killed_copy_is_made_again(tmp_path: Path, db: Database, label: str) -> None:
    """A process that dies at any step leaves no copy or a whole one; the next one finishes it."""
    expected = state(db)
    db.close()
    code = "import sys, vecstore as vs; vs.open(sys.argv[1]).snapshot(sys.argv[2])"
    arguments = [sys.executable, "-c", code, str(tmp_path / "db"), str(tmp_path / "copy")]
    died = subprocess.run(
        arguments, check=False, env={**os.environ, "VECSTORE_FAILPOINT": f"{label}:1"}
    )
    assert died.returncode == failpoints.EXIT_CODE
    if label != "snapshot.renamed":
        assert sorted(os.listdir(tmp_path)) == ["copy.tmp", "db"]
        subprocess.run(arguments, check=True)
    assert sorted(os.listdir(tmp_path)) == ["copy", "db"]
    assert state_at(tmp_path / "copy") == expected
    assert state_at(tmp_path / "db") == expected


def test_progress_counts_bytes_and_can_stop(tmp_path: Path, db: Database) -> None:
    """Progress grows to the total, in bytes; what it raises stops the copy and leaves nothing."""
    seen: list[tuple[str, int, int]] = []
    db.snapshot(tmp_path / "copy", progress=lambda *report: seen.append(report))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == seen[-1][2] > 0

    def stop(what: str, done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        db.snapshot(tmp_path / "other", progress=stop)
    assert sorted(os.listdir(tmp_path)) == ["copy", "db"]


def test_copy_overwrites_nothing(tmp_path: Path, db: Database) -> None:
    """What is at the target, or where the copy is made, is neither changed nor removed."""
    for name in ("full", "other.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for name in ("full", "other", "file"):
        with pytest.raises(AlreadyExistsError):
            db.snapshot(tmp_path / name)
    assert (tmp_path / "full" / "letter").read_text() == "dear"
    assert (tmp_path / "other.tmp" / "letter").read_text() == "dear"
    assert (tmp_path / "file").read_text() == "dear"
    assert not (tmp_path / "other").exists()


def test_one_copy_at_a_time(tmp_path: Path, db: Database) -> None:
    """Two at once never mix: the second is told that a copy is being made there, and by whom."""
    with (
        NewDirectory(RealFiles(), tmp_path / "copy", ".tmp", "a snapshot").making(),
        pytest.raises(LockedError, match=r"a snapshot to \S+/copy is under way, by .*pid"),
    ):
        db.snapshot(tmp_path / "copy")
    db.snapshot(tmp_path / "copy")


def test_missing_file_is_told(tmp_path: Path, db: Database) -> None:
    """A database that has lost a file is not copied without it."""
    next((tmp_path / "db" / "segments").glob("*/payloads")).unlink()
    with pytest.raises(CorruptionError, match="payloads"):
        db.snapshot(tmp_path / "copy")
    assert os.listdir(tmp_path) == ["db"]


def test_wrong_targets_are_refused(tmp_path: Path, db: Database) -> None:
    """No path and no store, a place in the database, and a closed database are refused."""
    for target in (None, 7, "", "a\0b", "nowhere://x"):
        with pytest.raises(RequestError):
            db.snapshot(target)  # type: ignore[arg-type]
    for name in ("db", "db/copy", "db/segments/copy"):
        with pytest.raises(RequestError, match="outside"):
            db.snapshot(tmp_path / name)
    db.close()
    with pytest.raises(ClosedError):
        db.snapshot(tmp_path / "copy")
