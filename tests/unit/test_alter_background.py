"""Alterations in the background: beside writes and searches, over restarts, and after kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

import vecstore as vs
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import RequestError
from vecstore.ingest.alter_job import read_job
from vecstore.storage import failpoints

DIM, ROWS = 16, 120
VECTORS = np.random.default_rng(2).integers(-9, 9, (ROWS, DIM)).astype(np.float32)
OLD, NEW = ["bits2", "float32"], ["pca4/int8", "bits4", "float16"]

ALTER = """
import sys, vecstore as vs
with vs.open(sys.argv[1], options=vs.Options(background=False)) as db:
    db.collection("items").alter("v", sys.argv[2:])
"""


def make(db: Database) -> Collection:
    """Two segments, and some records in the write buffer."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, "dot", OLD)]))
    for start in range(0, ROWS, ROWS // 3):
        items.upsert(range(start, start + ROWS // 3), VECTORS[start : start + ROWS // 3])
        if start < ROWS // 2:
            items.flush()
    items.delete(range(0, ROWS, 7))
    return items


def exact(items: Collection) -> list[tuple[list[int], list[float]]]:
    """Answers that every ladder with floats gives: the vectors are small integers."""
    found = items.search_batch(VECTORS[:5], limit=20, exact=True)
    return [(hits.ids.tolist(), hits.scores.tolist()) for hits in found]


def ladder(items: Collection) -> list[str]:
    return list(items.schema.vectors[0].representations)


def until(condition: Callable[[], bool]) -> None:
    """Return when it holds, which must be soon."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_returns_when_it_is_done(database: Database) -> None:
    """With wait the new ladder is there when alter returns; without it, it comes by itself."""
    items = make(database)
    before = exact(items)
    items.alter("v", NEW)
    assert ladder(items) == NEW
    assert database.jobs() == []
    items.alter("v", ["bits1", "float16"], wait=False)
    until(lambda: ladder(items) == ["bits1", "float16"])
    assert exact(items) == before


def test_a_job_that_waits_can_be_taken_back(database: Database) -> None:
    """A paused alteration is listed, changes nothing, and goes away with all it made."""
    items = make(database)
    before = exact(items)
    database.pause_jobs()
    items.alter("v", NEW, wait=False)
    [job] = database.jobs()
    assert (job.kind, job.collection, job.state) == ("alter", "items", "paused")
    assert (ladder(items), exact(items)) == (OLD, before)
    items.alter("v", OLD)
    assert database.jobs() == []
    database.resume_jobs()
    assert (ladder(items), exact(items)) == (OLD, before)


def test_it_is_taken_back_in_the_middle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for an alteration that another thread takes back is told."""
    items = make(database)
    reached, go_on = Event(), Event()

    def hook(name: str) -> None:
        if name == "alter.built":
            reached.set()
            go_on.wait(60)

    monkeypatch.setattr(failpoints, "hook", hook)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            items.alter("v", NEW)
        except RequestError as error:
            caught.append(error)

    waiting = Thread(target=wait)
    waiting.start()
    assert reached.wait(60)
    taking = Thread(target=items.alter, args=("v", OLD))
    taking.start()
    go_on.set()
    taking.join()
    waiting.join()
    assert "took that back" in str(caught[0])
    assert ladder(items) == OLD
    assert database.check() == []


def test_it_goes_on_when_opened_again(tmp_path: Path) -> None:
    """An alteration that a close cut off goes on when the database is opened for writing."""
    with vs.open(tmp_path) as db:
        items = make(db)
        before = exact(items)
        db.pause_jobs()
        items.alter("v", NEW, wait=False)
    with vs.open(tmp_path, read_only=True) as db:
        assert ladder(db.collection("items")) == OLD
    with vs.open(tmp_path) as db:
        until(lambda: ladder(db.collection("items")) == NEW)
        assert exact(db.collection("items")) == before
        assert db.check() == []


def test_a_close_in_the_middle_keeps_what_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close ends an alteration between two segments; those that are made are used later."""
    reached, go_on = Event(), Event()

    def hook(name: str) -> None:
        if name == "alter.built":
            reached.set()
            go_on.wait(60)

    db = vs.open(tmp_path)
    before = exact(make(db))
    monkeypatch.setattr(failpoints, "hook", hook)
    db.collection("items").alter("v", NEW, wait=False)
    assert reached.wait(60)
    closing = Thread(target=db.close)
    closing.start()
    until(lambda: db._jobs._closed)
    go_on.set()
    closing.join()
    monkeypatch.undo()
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        job = read_job(db.collection("items")._store)
        assert job is not None
        [made] = job.built
        assert ladder(db.collection("items")) == OLD
    with vs.open(tmp_path) as db:
        items = db.collection("items")
        until(lambda: ladder(items) == NEW)
        assert made.info in items._store.snapshot().manifest.segments
        assert exact(items) == before
        assert db.check() == []


def test_beside_writes_and_searches(database: Database) -> None:
    """Threads that write, flush and search meanwhile see every write and the same best hit."""
    items = make(database)
    items.upsert(["best"], np.full((1, DIM), 50.0))
    stop = Event()
    failed: list[BaseException] = []
    written: list[int] = []

    def repeat(action: Callable[[int], None]) -> None:
        number = 0
        try:
            while not stop.is_set():
                action(number)
                number += 1
        except BaseException as error:
            failed.append(error)

    def write(number: int) -> None:
        items.upsert([f"{number}"], VECTORS[number % ROWS][None])
        written.append(number)
        if number % 10 == 9:
            items.flush()
            stop.wait(0.02)  # or each alteration has hundreds of segments to make

    def search(_: int) -> None:
        for plan in ({"exact": True}, {}):
            assert items.search(np.ones(DIM), limit=1, **plan).ids.tolist() == ["best"]

    threads = [Thread(target=repeat, args=(action,)) for action in (write, search, search)]
    for thread in threads:
        thread.start()
    ladders = [
        ["bits1", "float32"],
        ["bits4", "int8", "float32"],
        ["prefix8/bits8", "float32"],
        NEW,
    ]
    for wanted in ladders:
        items.alter("v", wanted)
        assert ladder(items) == wanted
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    expected = {*range(ROWS)} - {*range(0, ROWS, 7)} | {"best"} | set(map(str, written))
    assert {record.id for record in items.scroll()} == expected
    items.flush()
    for live in items._store.snapshot().segments:
        assert live.source.specs("v") == tuple(NEW)


def test_a_reader_follows(tmp_path: Path) -> None:
    """A reader in another process has the new ladder, and its answers, after the cut-over."""
    with vs.open(tmp_path) as db:
        before = exact(make(db))
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        assert (ladder(items), exact(items)) == (OLD, before)
        held = items.search(VECTORS[0], limit=5)
        subprocess.run([sys.executable, "-c", ALTER, str(tmp_path), *NEW], check=True)
        assert (ladder(items), exact(items)) == (NEW, before)
        plan = vs.Cascade([vs.Scan("bits4", keep=50), vs.Rescore("float16", keep=5)])
        assert len(items.search(VECTORS[0], limit=5, plan=plan)) == 5
        assert len(list(held)) == 5
        assert db.check() == []


@pytest.mark.parametrize(
    "place",
    [
        "alter.begin:1",
        "segment.component:1",
        "segment.component:4",
        "segment.renamed:1",
        "alter.built:1",
        "segment.renamed:2",
        "alter.built:2",
        "alter.commit:1",
        "alter.committed:1",
        "reclaim.removed:1",
    ],
)
def test_a_crash_leaves_the_old_or_the_new_ladder(tmp_path: Path, place: str) -> None:
    """Killed anywhere, the database is sound, answers as before, and goes on or takes it back."""
    alone = vs.Options(background=False)
    with vs.open(tmp_path, options=alone) as db:
        before = exact(make(db))
    killed = subprocess.run(
        [sys.executable, "-c", ALTER, str(tmp_path), *NEW],
        env={**os.environ, "VECSTORE_FAILPOINT": place},
        check=False,
    )
    assert killed.returncode == failpoints.EXIT_CODE
    done = place.startswith(("alter.committed", "reclaim"))
    with vs.open(tmp_path, options=alone) as db:
        items = db.collection("items")
        assert (ladder(items), exact(items)) == (NEW if done else OLD, before)
        assert db.check() == []
        if place.endswith("1"):
            items.alter("v", NEW)
            assert (ladder(items), exact(items)) == (NEW, before)
        else:
            items.alter("v", OLD)
            assert len(list(db._environment.paths.segments.iterdir())) == 2
        assert db.check() == []
