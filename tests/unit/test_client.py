"""The client: large batches and answers, servers that are slow or gone, what it imports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.congruence.blocking import Blocking
from tests.unit.fake_database import FakeDatabase, Starter, run_python
from vecstore import errors
from vecstore.storage import failpoints
from vecstore_client import channel
from vecstore_proto import results
from vecstore_proto.v1 import collection_pb2, database_pb2
from vecstore_server.app import Server


@pytest.mark.parametrize("address", ["", "a:b", "http://a:1", "a:0", "a:65536", 7, None])
def test_addresses_that_cannot_be_are_refused(address: Any) -> None:
    """An address is "host:port"."""
    with pytest.raises(errors.RequestError, match="address"):
        vs.connect(address)


def test_answers_too_large_for_one_message_are_streamed(
    fake: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that one message cannot hold come whole all the same."""
    monkeypatch.setattr(results, "PART_BYTES_MAX", 500)
    collection, remote = fake
    expected = [(record.id, record.payload) for record in collection.records]
    found = remote.get(range(10))
    assert [(record.id, record.payload) for record in found] == expected
    assert [(hit.id, hit.payload) for hit in remote.search([1, 2, 3])] == expected
    for hits in remote.search_batch([[1, 2, 3], [4, 5, 6]]):
        assert [(hit.id, hit.payload) for hit in hits] == expected
    assert [record.id for record in remote.scroll(batch=7)] == list(range(10))
    page, after = remote.scroll_page(1, 7)
    assert [record.id for record in page] == list(range(1, 8))
    assert after == 8


def test_large_answers_reach_the_asyncio_client(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asyncio client streams what one message cannot hold, and closes what it opened."""
    monkeypatch.setattr(results, "PART_BYTES_MAX", 500)
    database, server = start()
    with Blocking.connect(server.address) as remote:
        collection = remote.collection("fake")
        assert [hit.id for hit in collection.search([1, 2, 3])] == list(range(10))
        assert [record.id for record in collection.scroll(batch=7)] == list(range(10))
    monkeypatch.setattr(vs.options, "REQUEST_BYTES_TARGET", 200)
    with Blocking.connect(server.address) as remote:
        assert remote.collection("fake").upsert(list(range(50)), np.ones((50, 3))) == 50
    assert len(database.fake.calls[-1][1][0]) == 50
    with pytest.raises(errors.UnavailableError, match=r"127\.0\.0\.1:1"):
        Blocking.connect("127.0.0.1:1")


def test_large_batches_arrive_as_one(
    fake: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch sent in parts reaches the database in one call, as it was given."""
    monkeypatch.setattr(vs.options, "REQUEST_BYTES_TARGET", 200)
    collection, remote = fake
    ids = [1, "b", 3] * 20
    rows: list[Any] = [[row, 0, 1] for row in range(60)]
    payloads = [{"row": row} if row % 2 else None for row in range(60)]
    for vectors, ttl_s, lives in (
        (rows, 7, [7.0] * 60),
        (rows, [None, 1, 2.5] * 20, [None, 1.0, 2.5] * 20),
        ({"v": rows, "w": [None if row % 7 == 0 else rows[row] for row in range(60)]}, None, None),
    ):
        assert remote.upsert(ids, vectors, payloads, ttl_s=ttl_s) == 60
        (_, (got_ids, got, got_payloads, got_ttl_s)) = collection.calls[-1]
        assert got_ids == ids
        assert got_ttl_s == lives
        sent = vectors if isinstance(vectors, dict) else {"v": vectors}
        for field, values in (got if isinstance(got, dict) else {"v": got}).items():
            for mine, other in zip(values, sent[field], strict=True):
                assert (mine is None) == (other is None)
                assert mine is None or mine.tolist() == other
        assert [text and json.loads(text) for text in got_payloads] == payloads
    assert [name for name, _ in collection.calls].count("upsert") == 3


def test_reads_are_tried_again_and_writes_are_not(fake: tuple[Any, Any]) -> None:
    """A read that finds no server is sent again; a write may have been applied, and is not."""
    collection, remote = fake
    left = {"count": 2, "upsert": 1, "delete": 1}

    def answer(method: str) -> int:
        left[method] -= 1
        if left[method] >= 0:
            raise errors.UnavailableError("gone for a moment")
        return 7

    collection.answers = {method: lambda method=method: answer(method) for method in left}
    assert remote.count() == 7
    for write in (remote.upsert, remote.delete):
        with pytest.raises(errors.UnavailableError, match="for a moment"):
            write([1])
        assert write([1]) == 7


def test_no_streamed_answer_is_tried_again() -> None:
    """Only calls with one answer are sent again by gRPC, which never ends some of the others."""
    (config,) = (text for name, text in channel.CHANNEL_OPTIONS if name == "grpc.service_config")
    (policy,) = json.loads(config)["methodConfig"]
    services = {
        **database_pb2.DESCRIPTOR.services_by_name,
        **collection_pb2.DESCRIPTOR.services_by_name,
    }
    for name in policy["name"]:
        service = services[name["service"].removeprefix("vecstore.v1.")]
        assert not service.methods_by_name[name["method"]].server_streaming


def test_records_are_read_in_runs(fake: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server reads some records at a time, each once, and no more than an answer can hold."""
    monkeypatch.setattr(results, "READ_ROWS", 3)
    collection, remote = fake
    assert [record.id for record in remote.get([1, 1, 1, 2, 1, 2, *range(4)])] == [
        *[1, 1, 1, 2, 1, 2],
        *range(4),
    ]
    assert [ids for _, (ids, _) in collection.calls] == [[1], [2, 1], [0, 1, 2], [3]]
    collection.calls.clear()
    monkeypatch.setattr(results, "PART_BYTES_MAX", 700)
    assert len(remote.get(range(10))) == 10
    one_message, stream = [[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [ids for _, (ids, _) in collection.calls] == one_message + stream
    collection.calls.clear()
    assert [record.id for record in remote.scroll_page(0, 9)[0]] == list(range(9))
    assert all(limit <= 3 for _, (_, limit) in collection.calls)


def test_a_slow_server_is_not_waited_for(start: Starter) -> None:
    """A call that takes longer than timeout_s fails, and says with what address and limit."""
    database, server = start()
    wake = threading.Event()
    database.fake.answers["count"] = lambda: wake.wait(10)
    with vs.connect(server.address, timeout_s=0.3) as remote:
        with pytest.raises(errors.DeadlineError, match=rf"{server.address}.* 0.3 s"):
            remote.collection("fake").count()
        wake.set()


def test_a_server_that_is_down_is_named_fast() -> None:
    """Connecting where nothing listens fails within seconds and names the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(errors.UnavailableError, match=address):
        vs.connect(address)
    assert time.monotonic() - begun < 4


def test_a_listener_that_says_nothing_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting to a port that accepts and stays silent fails as if nothing were there."""
    monkeypatch.setattr(channel, "CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(errors.UnavailableError, match="answers at 127"):
            vs.connect(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_server_that_comes_back_is_found_at_once(start: Starter) -> None:
    """A client outlives its server: the first read after a restart succeeds, and soon a write."""
    _, server = start()
    with vs.connect(server.address) as remote:
        collection = remote.collection("fake")
        server.stop(0)
        for _ in range(2):
            with pytest.raises(errors.UnavailableError, match=rf"{server.address} \(.*refused"):
                remote.collections()
        again = Server(FakeDatabase(), port=server.port)  # type: ignore[arg-type]
        again.start()
        assert remote.collections() == ["fake"]
        assert collection.upsert([1]) == 1
        again.stop(0)


@pytest.mark.parametrize("connect", [vs.connect, Blocking.connect])
def test_a_server_that_dies_during_a_write_leaves_it_unknown(
    tmp_path: Path, connect: Callable[[str], Any]
) -> None:
    """A write whose server is killed says that nobody knows; the next one that none answers."""
    serve = "import sys, vecstore_server as s; v = s.serve(sys.argv[1], port=0)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{serve}; print(v.address, flush=True); v.wait()", tmp_path],
        env={**os.environ, "VECSTORE_FAILPOINT": "upsert.committed:1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        with connect(process.stdout.readline().strip()) as remote:
            schema = vs.Schema([vs.Vector("v", 2)])
            items = remote.create_collection("items", schema)
            with pytest.raises(errors.UnavailableError, match="not known whether the write"):
                items.upsert([1], [[1, 2]])
            assert process.wait(30) == failpoints.EXIT_CODE
            said = ""
            while "start one with `vecstore serve`" not in said:  # the connection may yet break
                with pytest.raises(errors.UnavailableError, match=r"write|start one") as raised:
                    items.upsert([1], [[1, 2]])
                said = str(raised.value)


def test_many_threads_share_a_client(fake: tuple[Any, Any]) -> None:
    """One remote collection may be used from many threads at once."""
    _, remote = fake
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(remote.count() for _ in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [5] * 160


def test_refusing_needs_no_storage() -> None:
    """What cannot be sent is refused in the engine's words without loading its storage."""
    assert (
        run_python(
            "import sys, vecstore as vs\n"
            "from vecstore_client import calls\n"
            "found = calls.Found('c', 1, vs.Schema(vectors=[vs.Vector('v', 2)]))\n"
            "for call in (\n"
            "    lambda: calls.upsert(found, [True], [[1, 2]], None),\n"
            "    lambda: calls.count(found, 5),\n"
            "):\n"
            "    try:\n        call()\n"
            "    except vs.errors.InvalidInputError as error:\n"
            "        print(type(error).__name__, 'lmdb' in sys.modules)"
        )
        == "IdError False\nFilterError False"
    )


def test_the_client_loads_no_engine() -> None:
    """Importing the client loads neither storage nor the engine, and starts no thread."""
    assert (
        run_python(
            "import sys, threading, vecstore_client\n"
            "heavy = {'lmdb', 'lark', 'vecstore.storage', 'vecstore.segment', 'vecstore.codec'}\n"
            "print(sorted(heavy & set(sys.modules)), threading.active_count())"
        )
        == "[] 1"
    )
