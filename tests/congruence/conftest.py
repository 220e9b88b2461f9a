"""An embedded database, one behind a server, and both side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vecstore as vs
import vecstore_server
from tests.congruence.blocking import Blocking
from tests.congruence.pair import Pair, paired


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two databases that do nothing on their own; at the end, both must be sound."""
    with paired(tmp_path_factory.mktemp("pair"), vs.Options(background=False)) as made:
        yield made
        assert made("check") == []


@pytest.fixture(params=["embedded", "remote", "asyncio"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A new database, embedded and behind a server; at the end what is on disk must be sound."""
    path = tmp_path / "database"
    if request.param == "embedded":
        with vs.open(path) as database:
            yield database
    else:
        server = vecstore_server.serve(path, port=0, snapshots=tmp_path)
        connect = vs.connect if request.param == "remote" else Blocking.connect
        with connect(server.address) as database:
            yield database
        server.stop()
    with vs.open(path) as database:
        assert database.check() == []
