"""Servers of fake databases, and databases without background work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import vecstore as vs

if TYPE_CHECKING:
    from tests.unit.fake_database import FakeDatabase, Starter
    from vecstore.database import Database
    from vecstore_server import Server


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts servers of fake databases, and stops them at the end."""
    from tests.unit.fake_database import FakeDatabase
    from vecstore_server import Server

    started = []

    def run(**keywords: Any) -> tuple[FakeDatabase, Server]:
        database: Any = FakeDatabase()
        server = Server(database, port=0, **keywords)
        server.start()
        started.append(server)
        return database, server

    yield run
    for server in started:
        server.stop(0)


@pytest.fixture
def fake(start: Starter) -> Iterator[tuple[Any, Any]]:
    """A fake collection, and the remote one that a client sees of it."""
    database, server = start()
    with vs.connect(server.address) as remote:
        yield database.fake, remote.collection("fake")


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Database]:
    """An empty database without background work; sound after the test, and when reopened."""
    options = vs.Options(background=False, threads=1)
    with vs.open(tmp_path / "db", options=options) as opened:
        yield opened
        assert opened.check() == []
    with vs.open(tmp_path / "db", options=options) as reopened:
        assert reopened.check() == []
