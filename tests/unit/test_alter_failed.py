"""Alterations that fail are taken back: opening the database again does not carry them out."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import vecstore as vs
from tests.unit.altering import ALONE, at, folders, ladder, make, named, stop
from vecstore.errors import CorruptionError, DatabaseFullError, ReadOnlyError, StorageError
from vecstore.ingest.alter_job import read_job
from vecstore.segment.environment import Environment
from vecstore.storage.kv import Kv

OLD, NEW = ["float16"], ["pca4/bits1", "float16"]


def fail() -> None:
    """What a disk does that is no good any more."""
    error = StorageError("the disk failed")
    error.errno = errno.EIO
    raise error


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_takes_it_back(tmp_path: Path, background: bool) -> None:
    """Refused for want of space, it is not carried out when there is space, until asked for."""
    with vs.open(tmp_path, options=ALONE) as db:
        make(db, OLD)
    full = vs.Options(reserve_bytes=1 << 46, background=background)
    with vs.open(tmp_path, options=full) as db, pytest.raises(DatabaseFullError, match="reserve"):
        db.collection("items").alter("v", NEW)
    with vs.open(tmp_path) as db:
        items = db.collection("items")
        assert (read_job(items._store), db.jobs(), ladder(items)) == (None, [], OLD)
        items.alter("v", NEW)
        assert ladder(items) == NEW


def test_a_failure_without_wait_takes_it_back(tmp_path: Path) -> None:
    """In the background too; it is listed as failed, and its files and codecs are gone."""
    with vs.open(tmp_path) as db:
        items = make(db, OLD)

        def full() -> None:
            raise DatabaseFullError("no space")

        with at("alter.built", full):
            items.alter("v", NEW, wait=False)
            db._jobs._threads["work"].join(60)
        [job] = db.jobs()
        assert (job.kind, job.state, job.message) == ("alter", "failed", "no space")
        assert read_job(items._store) is None
        assert folders(db) == named(items)
        assert list(db._environment.paths.codecs.iterdir()) == []
        assert db.check() == []


@pytest.mark.parametrize("place", ["alter.begin", "alter.built", "alter.commit"])
def test_a_broken_disk_takes_it_back(tmp_path: Path, place: str) -> None:
    """Where nothing is written any more, that it is not wanted is still stored."""
    with vs.open(tmp_path, options=ALONE) as db:
        items = make(db, OLD)

        def fail_for_good() -> None:
            with db._environment.guard():
                fail()

        with at(place, fail_for_good), pytest.raises(StorageError, match="the disk failed"):
            items.alter("v", NEW)
        with pytest.raises(ReadOnlyError, match="the disk failed"):
            items.alter("v", NEW)
        assert read_job(items._store) is None
    with vs.open(tmp_path, options=ALONE) as db:
        items = db.collection("items")
        assert ladder(items) == OLD
        assert folders(db) == named(items)
        assert db.check() == []


def test_where_nothing_can_be_stored_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alteration that could not be removed is as after a crash, and the error has a note."""
    with vs.open(tmp_path, options=ALONE) as db:
        items = make(db, OLD)

        def break_all() -> None:
            monkeypatch.setattr(Environment, "writing", lambda _: fail())
            monkeypatch.setattr(Kv, "write", lambda _: fail())
            raise DatabaseFullError("no space")

        with at("alter.begin", break_all), pytest.raises(DatabaseFullError) as caught:
            items.alter("v", NEW)
        monkeypatch.undo()
        assert "could not be taken back (the disk failed)" in caught.value.__notes__[0]
        assert read_job(items._store) is not None


def test_damage_takes_it_back(tmp_path: Path) -> None:
    """A damaged segment is an error, and the alteration waits for nothing."""
    with vs.open(tmp_path, options=ALONE) as db:
        items = make(db, OLD)

        def damaged() -> None:
            raise CorruptionError("a block is damaged")

        with at("alter.built", damaged), pytest.raises(CorruptionError):
            items.alter("v", NEW)
        assert read_job(items._store) is None


def test_an_interrupt_keeps_it(tmp_path: Path) -> None:
    """Ctrl-C is no failure: what was made stays, and it goes on when opened again."""
    with vs.open(tmp_path, options=ALONE) as db:
        items = make(db, OLD)
        with at("alter.built", stop), pytest.raises(KeyboardInterrupt):
            items.alter("v", NEW)
        assert read_job(items._store) is not None
    with vs.open(tmp_path) as db:
        db.collection("items").alter("v", NEW)
        assert ladder(db.collection("items")) == NEW
