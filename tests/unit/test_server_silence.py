"""Callers that connect and send nothing hold up no one else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

import vecstore as vs
from tests.unit.fake_database import Starter
from vecstore_server import receiving
from vecstore_server.app import WORKERS, Server


@contextmanager
def _idle(server: Server, method: str, count: int, token: str | None = None) -> Iterator[Any]:
    """Calls that send no message until the end of the context."""
    forever = threading.Event()

    def nothing() -> Iterator[bytes]:
        forever.wait(30)
        yield from ()

    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(server.address) as plain:
        make = plain.stream_unary(method)
        yield [make.future(nothing(), metadata=metadata, timeout=20) for _ in range(count)]
        forever.set()


@pytest.mark.parametrize(
    "method",
    [
        "/vecstore.v1.CollectionService/Get",
        "/vecstore.v1.CollectionService/UpsertStream",
        "/vecstore.v1.CollectionService/SearchStream",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/x/y",
    ],
)
def test_strangers_that_stay_silent_hold_nothing(start: Starter, method: str) -> None:
    """Calls without the token get their answer before they send anything, as many as there are."""
    _, server = start(token="secret")
    with _idle(server, method, 2 * WORKERS) as calls:
        with vs.connect(server.address, token="secret", timeout_s=5) as remote:
            assert remote.collections() == ["fake"]
        healthy = method.endswith("Check")
        expected = grpc.StatusCode.OK if healthy else grpc.StatusCode.UNAUTHENTICATED
        assert {call.code() for call in calls} == {expected}


def test_silent_uploads_hold_no_other_call(
    start: Starter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Streams whose parts do not come leave the workers free, and are cancelled after a while."""
    monkeypatch.setattr(receiving, "PART_TIMEOUT_S", 0.5)
    _, server = start(token="secret")
    method = "/vecstore.v1.CollectionService/UpsertStream"
    with _idle(server, method, WORKERS, token="secret") as calls:
        with vs.connect(server.address, token="secret", timeout_s=5) as remote:
            begun = time.monotonic()
            assert remote.collection("fake").count() == 5
            assert time.monotonic() - begun < 0.5
            monkeypatch.setattr(vs.options, "REQUEST_BYTES_TARGET", 200)
            assert remote.collection("fake").upsert(list(range(50)), np.ones((50, 3))) == 50
        assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
    assert "Traceback" not in caplog.text
