"""Calls that take long: how far they have come, how they end, and that they hold up no other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import vecstore as vs
import vecstore_server
from tests.congruence.blocking import Blocking
from tests.unit.fake_database import Starter
from vecstore import errors
from vecstore_proto import results
from vecstore_server.app import WORKERS
from vecstore_server.working import ClientGone

WAIT_S = 20


class Endless:
    """Work that goes on until progress raises."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.error: Exception | None = None

    def __call__(self, progress: Any) -> Any:
        try:
            give_up = time.monotonic() + WAIT_S
            while time.monotonic() < give_up:
                progress("work", 0, 1)
                self.begun.set()
                time.sleep(0.01)
        except Exception as error:
            self.error = error
            raise
        finally:
            self.ended.set()


def test_long_calls_have_no_deadline(start: Starter) -> None:
    """Work may take longer than timeout_s; an alteration that is not waited for may not."""
    database, server = start(snapshots="copies")

    def slow(progress: Any = None) -> Any:
        time.sleep(0.5)
        return []

    database.work = slow
    database.fake.answers = dict.fromkeys(("compact", "alter"), slow)
    for connect in (vs.connect, Blocking.connect):
        with connect(server.address, timeout_s=0.2) as remote:
            assert remote.check() == []
            collection = remote.collection("fake")
            assert collection.compact() is None
            assert collection.alter("v", []) is None
            with pytest.raises(errors.DeadlineError):
                collection.alter("v", [], wait=False)


def test_a_client_that_goes_away_ends_the_work(start: Starter) -> None:
    """Where progress raises in the client, the work of the server ends too, and is no error."""
    database, server = start()

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    for connect in (vs.connect, Blocking.connect):
        database.work = endless = Endless()
        with connect(server.address) as remote:
            with pytest.raises(KeyboardInterrupt):
                remote.check(stop)
            assert endless.ended.wait(WAIT_S)
        assert isinstance(endless.error, ClientGone)


def test_stopping_ends_long_work_before_the_database_is_closed(start: Starter) -> None:
    """A server that stops ends work under way, waits for it, and then closes the database."""
    database, server = start()
    database.work = endless = Endless()
    found: list[Exception] = []

    def check() -> None:
        with pytest.raises(errors.RemoteError) as caught:
            remote.check()
        found.append(caught.value)

    with vs.connect(server.address) as remote:
        caller = threading.Thread(target=check)
        caller.start()
        assert endless.begun.wait(WAIT_S)
        server.stop(0)
        assert endless.ended.is_set()
        assert database.closed.is_set()
        caller.join(WAIT_S)
    assert len(found) == 1


@pytest.mark.parametrize("method", ["check", "repair"])
def test_stopping_ends_a_call_that_was_told_nothing_yet(start: Starter, method: str) -> None:
    """A client that heard of no progress yet raises where the server stops, and does not wait."""
    database, server = start()
    begun, finish = threading.Event(), threading.Event()

    def silent(progress: Any) -> Any:
        begun.set()
        finish.wait(WAIT_S)
        return Endless()(progress)

    database.work = silent
    found: list[Any] = []

    def call() -> None:
        with pytest.raises(errors.UnavailableError) as caught:
            getattr(remote, method)()
        found.append(caught.value)
        finish.set()  # which the server waits for, before it closes the database

    with vs.connect(server.address) as remote:
        caller = threading.Thread(target=call)
        caller.start()
        assert begun.wait(WAIT_S)
        server.stop(0)
        caller.join(WAIT_S)
    assert len(found) == 1


def test_long_calls_hold_up_no_other(start: Starter) -> None:
    """More long calls than there are workers leave the short ones theirs."""
    database, server = start()
    finish = threading.Event()
    database.fake.answers["alter"] = lambda: finish.wait(WAIT_S)
    with vs.connect(server.address, timeout_s=WAIT_S) as remote:
        collection = remote.collection("fake")
        callers = [
            threading.Thread(target=collection.alter, args=("v", [])) for _ in range(WORKERS + 1)
        ]
        for caller in callers:
            caller.start()
        while len(database.fake.calls) < len(callers):
            time.sleep(0.01)
        assert collection.count() == 5
        finish.set()
        for caller in callers:
            caller.join(WAIT_S)


def test_progress_is_told_now_and_then(start: Starter) -> None:
    """Of work that tells a lot, a client is told the beginning and the end of each step."""
    database, server = start()

    def work(progress: Any) -> Any:
        for step in ("one", "two"):
            for done in range(20_000):
                progress(step, done, 30_000)
        return []

    database.work = work
    told: list[tuple[str, int, int]] = []
    with vs.connect(server.address) as remote:
        remote.check(lambda *progress: told.append(progress))
    assert told[0] == ("one", 0, 30_000)
    assert told[-1] == ("two", 19_999, 30_000)
    assert ("one", 19_999, 30_000) in told
    assert ("two", 0, 30_000) in told
    assert told == sorted(told)
    assert len(told) < 1_000


def test_large_reports_come_in_parts(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that one message cannot hold come whole all the same."""
    monkeypatch.setattr(results, "PART_BYTES_MAX", 500)
    database, server = start()
    texts = [f"problem {number} of é" for number in range(100)]
    report = vs.RepairReport(rebuilt=tuple(texts), lost=(), remaining=tuple(texts[:3]))
    with vs.connect(server.address) as remote:
        database.work = lambda progress: texts
        assert remote.check() == texts
        database.work = lambda progress: report
        assert remote.repair() == report


def test_work_that_fails_raises_what_it_did(start: Starter) -> None:
    """An error of work reaches the client after its progress, with its type and text."""
    database, server = start(root="/srv/db", snapshots="/srv/copies")

    def work(progress: Any) -> Any:
        progress("work", 1, 2)
        raise errors.UnknownOutcomeError("/srv/copies/monday in /srv/copies: the disk failed")

    database.work = work
    told: list[Any] = []
    with vs.connect(server.address) as remote, pytest.raises(errors.StorageError) as caught:
        remote.snapshot("monday", progress=lambda *progress: told.append(progress))
    assert type(caught.value) is errors.UnknownOutcomeError
    assert str(caught.value) == "monday in its directory: the disk failed"
    assert told == [("work", 1, 2)]


@pytest.mark.parametrize("place", ["", "a\0", 7, b"copies"])
def test_places_that_cannot_be_are_refused(place: Any, tmp_path: Path) -> None:
    """A place for snapshots is a path or a URL; nothing is opened where it is neither."""
    with pytest.raises(errors.RequestError, match="snapshots is"):
        vecstore_server.serve(tmp_path / "new", port=0, snapshots=place)
    assert not (tmp_path / "new").exists()


def test_urls_of_no_store_are_refused(tmp_path: Path) -> None:
    """A URL that no kind of store has is refused when the server starts; nothing is opened."""
    pytest.importorskip("obstore")
    with pytest.raises(errors.RequestError, match="no URL of an object store"):
        vecstore_server.serve(tmp_path / "new", port=0, snapshots="nothing://bucket")
    assert not (tmp_path / "new").exists()


def test_snapshots_lie_outside_of_the_database(tmp_path: Path) -> None:
    """A place for snapshots inside of the database is refused, however it is spelled."""
    path = tmp_path / "a db"
    (tmp_path / "link").symlink_to(path)
    inside = path / "copies"
    for place in (path, inside, inside.as_uri(), tmp_path / "x" / ".." / "a db", tmp_path / "link"):
        with pytest.raises(errors.RequestError, match="outside"):
            vecstore_server.serve(path, port=0, snapshots=place)
    assert not path.exists()
