"""Commits: whole or not at all, alone or together, and what a disk that fails leads to."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.storage.kv import Kv, Txn

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot")])


@contextmanager
def opened(path: Path, **keywords: Any) -> Iterator[tuple[Database, Collection]]:
    """A database with an empty collection, which is sound at the end."""
    with vs.open(path, options=vs.Options(background=False, **keywords)) as db:
        yield db, db.create_collection("items", SCHEMA)
    with vs.open(path) as db:
        assert db.check() == []


def put(items: Collection, *ids: int) -> int:
    """Write records."""
    return items.upsert(list(ids), np.ones((len(ids), 4)))


def at_once(db: Database, *acts: Callable[[], Any]) -> list[Future[Any]]:
    """Run writes in threads that all wait for the lock before the first of them gets it."""
    environment = db._environment
    with ThreadPoolExecutor(len(acts)) as pool:
        with environment.lock:
            futures = [pool.submit(act) for act in acts]
            if environment.options.durability == "group":
                while len(environment.queue.waiting) < len(acts):
                    time.sleep(0.001)
        return futures


def cut_off(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, after: bool) -> None:
    """Let the next commit end with an error, before or after it is made."""
    write = Kv.write

    @contextmanager
    def broken(kv: Kv) -> Iterator[Txn]:
        monkeypatch.setattr(Kv, "write", write)
        with write(kv) as txn:
            yield txn
            if not after:
                raise error
        raise error

    monkeypatch.setattr(Kv, "write", broken)


def test_group_shares_a_commit(tmp_path: Path) -> None:
    """Writes of many threads that wait, to two collections, are one commit; each is answered."""
    with opened(tmp_path, durability="group") as (db, items):
        other = db.create_collection("other", SCHEMA)
        put(items, 100)
        before = db._environment.kv.last_txn()
        futures = at_once(
            db,
            *(lambda number=number: put(items, number, number + 10) for number in range(5)),
            lambda: put(other, 1),
            lambda: items.delete([100, 200]),
        )
        assert [future.result() for future in futures] == [2] * 5 + [1, 1]
        assert db._environment.kv.last_txn() == before + 1
        assert sorted(record.id for record in items.scroll()) == [*range(5), *range(10, 15)]
        assert other.count() == 1


def test_alone_by_default(tmp_path: Path) -> None:
    """With durability "fsync" each write is a commit of its own."""
    with opened(tmp_path) as (db, items):
        before = db._environment.kv.last_txn()
        for future in at_once(
            db, *(lambda number=number: put(items, number) for number in range(5))
        ):
            future.result()
        assert db._environment.kv.last_txn() == before + 5


def test_group_member_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that cannot be applied fails by itself; the others of its group are written."""
    with opened(tmp_path, durability="group") as (db, items):
        doomed = db.create_collection("doomed", SCHEMA)
        put_many = Txn.put_many

        def full(txn: Txn, name: str, pairs: Any) -> None:
            found = list(pairs)
            if len(found) == 3:
                raise errors.DatabaseFullError("no room for three")
            put_many(txn, name, found)

        def drop() -> None:
            db.drop_collection("doomed")

        monkeypatch.setattr(Txn, "put_many", full)
        environment = db._environment
        with ThreadPoolExecutor(4) as pool, environment.lock:
            acts = (
                lambda: put(items, 1),
                lambda: put(items, 2, 3, 4),
                lambda: put(doomed, 1),
                lambda: put(items, 5),
            )
            futures = [pool.submit(act) for act in acts]
            while len(environment.queue.waiting) < 4:
                time.sleep(0.001)
            drop()
        assert futures[0].result() == futures[3].result() == 1
        with pytest.raises(errors.DatabaseFullError, match="no room for three"):
            futures[1].result()
        with pytest.raises(errors.NotFoundError, match="dropped"):
            futures[2].result()
        assert sorted(record.id for record in items.scroll()) == [1, 5]


@pytest.mark.parametrize("after", [False, True])
def test_group_survives_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Where the thread that commits for others is interrupted, theirs are written, once each."""
    with opened(tmp_path, durability="group") as (db, items):
        cut_off(monkeypatch, KeyboardInterrupt(), after=after)
        futures = at_once(db, *(lambda number=number: put(items, number) for number in range(4)))
        raised = [future.exception() for future in futures]
        assert sorted(map(repr, raised)) == ["KeyboardInterrupt()"] + ["None"] * 3
        kept = [number for number, error in enumerate(raised) if after or error is None]
        assert sorted(record.id for record in items.scroll()) == kept
        assert items._store.snapshot().manifest.next_seq == len(kept)
        assert not db._environment.queue.waiting


def test_retry_that_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a group is tried one by one and that is interrupted, each write is told the truth."""
    with opened(tmp_path, durability="group") as (db, items):
        put_many = Txn.put_many
        interrupts = [KeyboardInterrupt()]

        def full(txn: Txn, name: str, pairs: Any) -> None:
            found = list(pairs)
            if len(found) == 3:
                monkeypatch.setattr(Kv, "write", interrupted)
                raise errors.DatabaseFullError("no room for three")
            put_many(txn, name, found)

        write = Kv.write

        def interrupted(kv: Kv) -> Any:
            if interrupts:
                raise interrupts.pop()
            return write(kv)

        monkeypatch.setattr(Txn, "put_many", full)
        acts = [lambda: put(items, 1), lambda: put(items, 2, 3, 4), lambda: put(items, 5)]
        raised = [future.exception() for future in at_once(db, *acts)]
        kept = [number for number, error in zip((1, 0, 5), raised, strict=True) if error is None]
        assert sum(isinstance(error, KeyboardInterrupt) for error in raised) == 1
        assert sorted(record.id for record in items.scroll()) == kept
        assert not db._environment.queue.waiting


def test_group_whose_commit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails fails every write of its group, each with an error of its own."""
    with opened(tmp_path, durability="group") as (db, items):
        cut_off(monkeypatch, errors.UnknownOutcomeError("the disk failed"), after=True)
        futures = at_once(db, *(lambda number=number: put(items, number) for number in range(3)))
        raised = [future.exception() for future in futures]
        assert all(isinstance(error, errors.UnknownOutcomeError) for error in raised)
        assert len(set(map(id, raised))) == 3
        assert items.count() == 3, "it was applied, and is read again"
        assert put(items, 7) == 1


def test_thread_that_gives_up_waiting(tmp_path: Path) -> None:
    """A write whose thread was interrupted while it waited is not made later."""
    with opened(tmp_path, durability="group") as (db, items):
        environment = db._environment
        lock, given_up = environment.lock, Event()

        class Interrupted:
            def __enter__(self) -> None:
                raise KeyboardInterrupt

            def __exit__(self, *_: object) -> None:
                pass

        def give_up() -> None:
            environment.lock = Interrupted()  # type: ignore[assignment]
            try:
                put(items, 1)
            finally:
                environment.lock = lock
                given_up.set()

        with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
            pool.submit(give_up).result()
        assert given_up.is_set()
        put(items, 2)
        assert [record.id for record in items.scroll()] == [2]


def test_disk_that_fails_makes_it_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an input/output error nothing is written until the database is opened again."""
    with opened(tmp_path) as (db, items):
        put(items, 1)

        def broken(*_: object) -> None:
            error = errors.StorageError("cannot write")
            error.__cause__ = OSError(errno.EIO, "Input/output error")
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("vecstore.storage.files.RealFiles.sync_dir", broken)
            with pytest.raises(errors.StorageError, match="cannot write"):
                items.flush()
        for act in (
            lambda: put(items, 2),
            lambda: items.delete([1]),
            items.flush,
            items.compact,
            lambda: db.create_collection("more", SCHEMA),
            lambda: db.drop_collection("items"),
        ):
            with pytest.raises(errors.ReadOnlyError, match="cannot write"):
                act()
        assert items.search([1, 1, 1, 1]).ids.tolist() == [1]
        assert items.get([1])[0] is not None
    with vs.open(tmp_path) as db:
        items = db.collection("items")
        put(items, 2)
        items.flush()
        assert items.count() == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.ENFILE])
def test_a_lack_of_something_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Without space or descriptors a flush fails and changes nothing; later it works."""
    with opened(tmp_path) as (db, items):
        put(items, 1)
        with monkeypatch.context() as patch:

            def refuse(*_: Any, **__: Any) -> int:
                raise OSError(code, "refused on purpose")

            patch.setattr("vecstore.storage.files.os.open", refuse)
            with pytest.raises(errors.StorageError, match="refused on purpose") as caught:
                items.flush()
        assert isinstance(caught.value, errors.DatabaseFullError) == (code == errno.ENOSPC)
        assert items.stats().buffered == 1
        put(items, 2)
        items.flush()
        assert (items.stats().segments, items.count()) == (1, 2)
        assert db.check() == []


def test_doubtful_commits_twice_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit that the disk leaves open is read again; after two in a row nothing is written."""
    with opened(tmp_path) as (_, items):
        for after in (False, True):
            cut_off(monkeypatch, errors.UnknownOutcomeError("the disk failed"), after=after)
            with pytest.raises(errors.UnknownOutcomeError):
                put(items, 1)
            assert (items.get([1])[0] is not None) == after
            put(items, 2)
        for _ in range(2):
            cut_off(monkeypatch, errors.UnknownOutcomeError("the disk failed"), after=True)
            with pytest.raises(errors.UnknownOutcomeError):
                put(items, 3)
        with pytest.raises(errors.ReadOnlyError, match="the disk failed"):
            put(items, 4)
        assert sorted(record.id for record in items.scroll()) == [1, 2, 3]
