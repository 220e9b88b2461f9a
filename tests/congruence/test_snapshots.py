"""A snapshot that a server makes is the one that the embedded database makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
import vecstore_server
from tests.congruence.blocking import Blocking
from tests.congruence.pair import plain
from vecstore.errors import AlreadyExistsError, RequestError, SchemaError

ROWS = np.random.default_rng(3).standard_normal((50, 8)).astype(np.float32)
Connect = Callable[[str], Any]


@pytest.fixture(params=["remote", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Both ways to connect to a server."""
    return vs.connect if request.param == "remote" else Blocking.connect


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the snapshots of `remote` are made."""
    return tmp_path / "copies" / "here"


@pytest.fixture
def remote(connect: Connect, place: Path, tmp_path: Path) -> Iterator[Any]:
    """A filled database behind a server that makes snapshots."""
    server = vecstore_server.serve(tmp_path / "served", port=0, snapshots=place)
    with connect(server.address) as database:
        fill(database)
        yield database
    server.stop()


def fill(database: Any) -> None:
    """Write records to a segment and to the write buffer."""
    books = database.create_collection("books", vs.Schema(vectors=[vs.Vector("text", 8)]))
    books.upsert(range(40), ROWS[:40])
    books.flush()
    books.upsert(range(40, 50), ROWS[40:])


def held(path: Path) -> Any:
    """The records of a snapshot, which must be sound."""
    with vs.open(path, read_only=True) as database:
        assert database.check() == []
        return plain(database.collection("books").scroll(with_vectors=True))


def test_a_snapshot_by_name_holds_the_same(remote: Any, place: Path, tmp_path: Path) -> None:
    """A server makes the same snapshot under a name as the embedded database at a path."""
    told: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        told[what] = total - done

    with vs.open(tmp_path / "embedded") as embedded:
        fill(embedded)
        here = embedded.snapshot(tmp_path / "mine")
    there = remote.snapshot("monday", progress=progress)
    assert plain(there) == plain(here)
    assert timedelta(0) <= datetime.now(UTC) - there.created_at < timedelta(minutes=1)
    assert held(place / "monday") == held(tmp_path / "mine")
    assert told
    assert set(told.values()) == {0}


def test_a_name_is_taken_once(remote: Any, place: Path) -> None:
    """A second snapshot of a name is refused; clients are not told where the server keeps them."""
    remote.snapshot("monday")
    with pytest.raises(AlreadyExistsError) as caught:
        remote.snapshot("monday")
    assert str(caught.value) == "monday exists and is no empty directory; name another place"
    assert [path.name for path in place.iterdir()] == ["monday"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "a/b", "-x", "s3://bucket/x", "a\0", "x" * 129, 7, None],
)
def test_names_never_become_paths(remote: Any, place: Path, name: Any) -> None:
    """A name is plain, or nothing is made."""
    with pytest.raises(SchemaError, match="snapshot name is"):
        remote.snapshot(name)
    assert not place.exists()


def test_an_object_store_numbers_the_snapshots_of_a_name(connect: Connect, tmp_path: Path) -> None:
    """Below a URL, each name is a place of its own, which holds numbered snapshots."""
    pytest.importorskip("obstore")
    url = (tmp_path / "store").as_uri()
    server = vecstore_server.serve(tmp_path / "served", port=0, snapshots=url)
    with connect(server.address) as database:
        fill(database)
        first = database.snapshot("library")
        again = database.snapshot("library")
        other = database.snapshot("other")
    server.stop()
    assert [first.number, again.number, other.number] == [1, 2, 1]
    assert again.bytes_new < first.bytes_new == other.bytes_new
    vs.restore(f"{url}/library", tmp_path / "restored")
    assert len(held(tmp_path / "restored")) == 50


def test_a_server_without_a_place_says_how_to_start_it(connect: Connect, tmp_path: Path) -> None:
    """Without a place for snapshots, the error names the option of the server."""
    server = vecstore_server.serve(tmp_path, port=0)
    with connect(server.address) as database, pytest.raises(RequestError, match="--snapshots"):
        database.snapshot("monday")
    server.stop()


@pytest.mark.parametrize("call", ["check", "repair", "snapshot"])
def test_progress_that_cannot_be_called_is_refused(
    remote: Any, place: Path, tmp_path: Path, call: str
) -> None:
    """Before any work, with the same text on both."""
    given: list[Any] = ["monday"] if call == "snapshot" else []
    with vs.open(tmp_path / "embedded") as embedded:
        for database in (embedded, remote):
            with pytest.raises(RequestError) as caught:
                getattr(database, call)(*given, progress=7)
            assert str(caught.value) == (
                "progress is 7, expected a function of what, done and total, or None"
            )
    assert not place.exists()
