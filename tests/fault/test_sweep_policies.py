"""Stored tokens become fewer, and power or disk fail at any call: all of them did, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.fault.filesystem import FaultyFiles, PowerOff
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import StorageError
from vecstore.ingest.opening import open_environment

FULL = os.environ.get("VECSTORE_FAULT") == "full"
STEP = 1 if FULL else 4
DIM = 4
FIELD = vs.MultiVector("t", DIM, "dot", ("int8", "float32"))
WANTED: dict[str, Any] = {"pruning": "first5", "pooling": "ward2"}
OPTIONS = vs.Options(background=False, reserve_bytes=0, map_bytes=1 << 24, threads=1)
SETS = [np.random.default_rng(row).standard_normal((1 + row % 8, DIM)) for row in range(24)]
OLD = {row: len(each) for row, each in enumerate(SETS)}
NEW = {row: -(-min(5, tokens) // 2) for row, tokens in OLD.items()}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], FaultyFiles]]:
    """Makes a disk, whose power goes only when told to: nothing needs to be synced for real."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    numbers = iter(range(1 << 20))

    def make() -> FaultyFiles:
        root = tmp_path / str(next(numbers))
        root.mkdir()
        return FaultyFiles(root)

    return make


def opened(files: FaultyFiles, *, faulty: bool = True) -> Database:
    """The database on a disk."""
    given = files if faulty else None
    path = files.root / "db"
    return Database(open_environment(path, read_only=False, options=OPTIONS, files=given))


def fill(database: Database) -> Collection:
    """Two segments, and records in the write buffer."""
    items = database.create_collection("items", vs.Schema([FIELD]))
    for start in (0, 8, 16):
        items.upsert(range(start, start + 8), {"t": SETS[start : start + 8]})
        if start < 16:
            items.flush()
    return items


def lengths(items: Collection) -> dict[Any, int]:
    """How many tokens each record has."""
    return {record.id: len(record.vectors["t"]) for record in items.scroll(with_vectors=True)}


def check_disk(files: FaultyFiles) -> None:
    """Old whole or new whole, and sound; asked for again it is done, and nothing is left over."""
    with opened(files, faulty=False) as database:
        assert database.check() == []
        items = database.collection("items")
        assert lengths(items) == (OLD if items.schema.vector("t") == FIELD else NEW)
        items.alter("t", **WANTED)
        assert lengths(items) == NEW
        assert database.check() == []
    with opened(files, faulty=False) as database:
        names = {path.name for path in (files.root / "db" / "segments").iterdir()}
        assert len(names) == database.collection("items").stats().segments == 2


def span_of(files: FaultyFiles) -> tuple[int, list[str]]:
    """How many calls come before the alteration, and the names of all."""
    with opened(files) as database:
        items = fill(database)
        before = len(files.made)
        items.alter("t", **WANTED)
        assert lengths(items) == NEW
        return before, list(files.made)


@pytest.mark.parametrize("torn", [False, True], ids=["lost", "torn"])
def test_the_power_goes_at_any_call(disk: Callable[[], FaultyFiles], *, torn: bool) -> None:
    """Whichever call the power goes at, the tokens are those of before or of after."""
    before, made = span_of(disk())
    for number in range(before + 1, len(made) + 1, (3 if torn else 1) * STEP):
        files = disk()
        files.stop(number)
        try:
            with opened(files) as database:
                fill(database).alter("t", **WANTED)
        except PowerOff:
            pass
        files.power_off(number if torn else None)
        check_disk(files)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=str)
@pytest.mark.parametrize("name", ["create", "write_at", "sync", "map", "rename", "link"])
def test_a_call_fails(disk: Callable[[], FaultyFiles], name: str, code: int) -> None:
    """Where a file cannot be written or read, the tokens stay as they were or are the new ones."""
    before, made = span_of(disk())
    skipped = made[:before].count(name)
    failed = 0
    for number in range(skipped + 1, made.count(name) + 1, STEP):
        files = disk()
        files.fail(name, number, code)
        try:
            with opened(files) as database:
                items = fill(database)
                try:
                    items.alter("t", **WANTED)
                except StorageError:
                    failed += 1
                    assert lengths(items) == OLD
        except StorageError:
            failed += 1
        check_disk(files)
    assert failed
