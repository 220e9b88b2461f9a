"""An embedded database, one behind a server, and both side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vecstore as vs
import vecstore_server
from tests.congruence.blocking import Blocking
from tests.congruence.pair import Pair


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A remote database; at the end, what its server stored must be sound."""
    server = vecstore_server.serve(tmp_path_factory.mktemp("served"), port=0)
    with vs.connect(server.address) as database:
        yield database
        assert database.check() == []
    server.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, served: Any) -> Iterator[Pair]:
    """An embedded and a remote database; at the end, both must be sound."""
    with vs.open(tmp_path_factory.mktemp("embedded")) as database:
        yield Pair(database, served)
        assert database.check() == []


@pytest.fixture(params=["embedded", "remote", "asyncio"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A new database, embedded and behind a server; at the end what is on disk must be sound."""
    if request.param == "embedded":
        with vs.open(tmp_path) as database:
            yield database
    else:
        server = vecstore_server.serve(tmp_path, port=0)
        connect = vs.connect if request.param == "remote" else Blocking.connect
        with connect(server.address) as database:
            yield database
        server.stop()
    with vs.open(tmp_path) as database:
        assert database.check() == []
