"""A scripted workload with a fault at each of its file system calls, one at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.fault.filesystem import FaultyFiles, PowerOff
from vecstore import options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import DatabaseFullError, ReadOnlyError, StorageError
from vecstore.ingest.opening import open_environment

DIM = 8
SCHEMA = vs.Schema(
    vectors=[
        vs.Vector("v", DIM, "dot", ["pca4/bits2", "float16"]),
        vs.Vector("coded", DIM, "dot", ["bits8"]),  # comes as codes
    ],
    columns=[vs.Column("n", "int")],
)
LADDER = ["bits2", "float16"]  # what the step "alter" wants
OPTIONS = vs.Options(background=False, reserve_bytes=0, map_bytes=1 << 24, threads=1)

State = dict[int, int]  # id -> the step that wrote it
Step = tuple[str, range]
STEPS: list[Step] = [
    ("upsert", range(20)),
    ("flush", range(0)),
    ("upsert", range(10, 30)),
    ("delete", range(3, 12)),
    ("flush", range(0)),
    ("compact", range(0)),
    ("upsert", range(5, 8)),
    ("alter", range(0)),
    ("upsert", range(25, 35)),
]


def after(steps: int) -> State:
    """What the collection holds after so many steps."""
    state: State = {}
    for number, (name, ids) in enumerate(STEPS[:steps]):
        for id_ in ids:
            if name == "upsert":
                state[id_] = number
            else:
                state.pop(id_, None)
    return state


def vectors_of(ids: range, number: int) -> Any:
    return np.array([np.random.default_rng([id_, number]).integers(-9, 9, DIM) for id_ in ids])


def do(items: Collection, number: int) -> None:
    """One step."""
    name, ids = STEPS[number]
    if name == "upsert":
        vectors = vectors_of(ids, number)
        codes = items.codec("coded").encode(vectors)
        items.upsert(ids, {"v": vectors, "coded": codes}, [{"n": number}] * len(ids))
    elif name == "delete":
        items.delete(ids)
    elif name == "alter":
        items.alter("v", LADDER)
    else:
        getattr(items, name)()


def opened(path: Path, files: FaultyFiles | None) -> Database:
    return Database(open_environment(path, read_only=False, options=OPTIONS, files=files))


def collection(database: Database) -> Collection:
    if "items" not in database.collections():
        database.create_collection("items", SCHEMA)
    return database.collection("items")


def content(database: Database) -> State:
    """The records, each with the vector of the step that its payload names."""
    state = {}
    codec = collection(database).codec("coded")
    for record in collection(database).scroll(with_vectors=True):
        assert isinstance(record.id, int)
        state[record.id] = record.payload["n"]
        expected = vectors_of(range(record.id, record.id + 1), state[record.id])
        assert record.vectors["v"].tolist() == expected[0].tolist()
        coded = codec.decode(codec.encode(expected))
        assert record.vectors["coded"].tolist() == coded[0].tolist()
    return state


def check_disk(path: Path, done: int) -> None:
    """What is on disk is sound and holds the steps that were done, and perhaps the next; it works.

    Args:
        path: of the database.
        done: how many steps were acknowledged.
    """
    with opened(path, None) as database:
        assert database.check() == []
        assert content(database) in [after(done), after(done + 1)]
        items = collection(database)
        items.upsert([99], {"v": np.ones((1, DIM))}, [{"n": 0}])
        items.flush()
        items.alter("v", LADDER)  # also ends one that was under way
        items.compact()
        assert items.delete([99]) == 1
        assert database.check() == []
    with opened(path, None) as database:  # files that something still had may go now
        left = list((path / "segments").iterdir())
        assert len(left) == collection(database).stats().segments


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], FaultyFiles]:
    """Makes a disk, whose power goes only when told to: nothing needs to be synced for real."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", 10)
    numbers = iter(range(1 << 20))

    def make() -> FaultyFiles:
        root = tmp_path / str(next(numbers))
        root.mkdir()
        return FaultyFiles(root)

    return make


def calls_of(files: FaultyFiles) -> list[str]:
    """The names of the calls that the whole workload makes."""
    with opened(files.root / "db", files) as database:
        for number in range(len(STEPS)):
            do(collection(database), number)
        assert content(database) == after(len(STEPS))
    assert list(files.root.glob("db/segments/*/listed-*"))
    check_disk(files.root / "db", len(STEPS))
    return files.made


@pytest.mark.parametrize("torn", [False, True], ids=["lost", "torn"])
def test_the_power_goes_at_any_call(
    disk: Callable[[], FaultyFiles], say: Callable[[str], None], *, torn: bool
) -> None:
    """Whichever call the power goes at, what was acknowledged is there, and the disk is sound."""
    made = calls_of(disk())
    moments = [  # one of each run of pieces written to a file
        number
        for number, name in enumerate(made, 1)
        if name != "write_at" or made[number - 2] != name
    ]
    asked = moments[:: 3 if torn else 1]
    for number in asked:
        files, done = disk(), 0
        if number % 2:
            (files.root / "db").mkdir()  # somebody made it before, durably
        files.stop(number)
        try:
            with opened(files.root / "db", files) as database:
                items = collection(database)
                for done in range(len(STEPS)):
                    do(items, done)
                done = len(STEPS)
        except PowerOff:
            pass
        files.power_off(number if torn else None)
        check_disk(files.root / "db", done)
    kind = "torn" if torn else "lost"
    say(f"power off, unsynced bytes {kind}: at {len(asked)} of {len(made)} calls, 0 lost")


@pytest.mark.parametrize("name", ["create", "write_at", "sync", "sync_dir", "rename", "make_dir"])
def test_a_call_fails_for_good(disk: Callable[[], FaultyFiles], name: str) -> None:
    """After an input/output error nothing acknowledged is lost; reads go on, writes are refused."""
    for number in range(1, calls_of(disk()).count(name) + 1, 3 if name == "write_at" else 1):
        files, done = disk(), 0
        files.fail(name, number)
        try:
            with opened(files.root / "db", files) as database:
                items = collection(database)
                try:
                    for done in range(len(STEPS)):
                        do(items, done)
                    done = len(STEPS)
                except StorageError as error:
                    assert "Input/output" in str(error)  # noqa: PT017 - what follows needs it too
                    with pytest.raises(ReadOnlyError, match="disk failed"):
                        do(items, 0)
                    assert content(database) in [after(done), after(done + 1)]
        except StorageError:
            assert done == 0
        check_disk(files.root / "db", done)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((name, errno.ENOSPC) for name in ("create", "write_at", "sync", "sync_dir", "make_dir")),
        *((name, errno.EMFILE) for name in ("create", "sync_dir", "map")),
    ],
    ids=str,
)
def test_a_call_fails_for_now(disk: Callable[[], FaultyFiles], name: str, code: int) -> None:
    """A step that finds no room, or no descriptor, changes nothing and works when tried again."""
    kind = DatabaseFullError if code == errno.ENOSPC else StorageError
    for number in range(1, calls_of(disk()).count(name) + 1, 3 if name == "write_at" else 1):
        files, failures = disk(), 0
        files.fail(name, number, code)
        try:
            database = opened(files.root / "db", files)
        except kind:
            failures += 1
            database = opened(files.root / "db", files)
        with database:
            items = collection(database)
            for step in range(len(STEPS)):
                try:
                    do(items, step)
                except kind:
                    failures += 1
                    assert content(database) == after(step)
                    assert database.check() == []
                    do(items, step)
            files.mend()
            assert content(database) == after(len(STEPS))
        assert failures <= 1
        check_disk(files.root / "db", len(STEPS))
