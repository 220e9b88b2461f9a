"""The server around a database: ports, tokens, streams, failures, shutdown."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import vecstore as vs
import vecstore_server
from tests.unit.fake_database import FakeDatabase, Starter, run_python
from vecstore import errors
from vecstore_proto.convert import ids_to_wire
from vecstore_proto.tensors import field_vectors_to_wire
from vecstore_proto.v1 import collection_pb2, collection_pb2_grpc, database_pb2
from vecstore_server.app import Server


def test_a_port_is_served_once(start: Starter) -> None:
    """A second server on the port of a first one fails, and says why."""
    _, server = start()
    with pytest.raises(errors.RemoteError, match="port is taken"):
        Server(FakeDatabase(), port=server.port)  # type: ignore[arg-type]


def test_a_taken_port_leaves_nothing_behind(
    start: Starter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the port is taken, no database is made, and gRPC writes nothing of its own."""
    _, server = start()
    with pytest.raises(errors.RemoteError, match="port is taken"):
        vecstore_server.serve(tmp_path / "new", port=server.port)
    assert not (tmp_path / "new").exists()
    assert capfd.readouterr().err == ""


def test_a_database_that_cannot_be_opened_gives_the_port_back(tmp_path: Path) -> None:
    """Where the database cannot be opened, the port is free again."""
    (tmp_path / "file").write_text("x")
    first = vecstore_server.serve(tmp_path / "db", port=0)
    first.stop(0)
    port = first.port
    with pytest.raises(errors.NotADatabaseError):
        vecstore_server.serve(tmp_path / "file", port=port)
    vecstore_server.serve(tmp_path / "db", port=port).stop(0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_need_a_token(host: str, tmp_path: Path) -> None:
    """An address that other machines can reach is refused without a token; nothing is opened."""
    with pytest.raises(errors.RequestError, match="token"):
        vecstore_server.serve(tmp_path / "new", host=host, port=0)
    assert not (tmp_path / "new").exists()


def test_other_machines_may_be_served_with_a_token(start: Starter) -> None:
    """With a token, any address may be listened on."""
    _, server = start(host="0.0.0.0", token="secret")
    with vs.connect(f"127.0.0.1:{server.port}", token="secret") as remote:
        assert remote.collections() == ["fake"]


@pytest.mark.parametrize("token", ["", "a b", "é", "a\n", 7, "x" * 5_000])
def test_tokens_that_cannot_be_sent_are_refused(start: Starter, token: Any) -> None:
    """A token that gRPC could not carry is refused on both sides, and never means no token."""
    with pytest.raises(errors.RequestError, match="token"):
        start(token=token)
    with pytest.raises(errors.RequestError, match="token"):
        vs.connect("127.0.0.1:1", token=token)


@pytest.mark.parametrize("port", [-1, 65_536, True, "7700"])
def test_ports_that_cannot_be_are_refused(port: Any) -> None:
    """A port is an int from 0 to 65,535."""
    with pytest.raises(errors.RequestError, match="port"):
        Server(FakeDatabase(), port=port)  # type: ignore[arg-type]


def _methods() -> list[tuple[str, Any]]:
    return [
        (f"/{service_.full_name}/{method.name}", method)
        for file in (database_pb2, collection_pb2)
        for service_ in file.DESCRIPTOR.services_by_name.values()
        for method in service_.methods
    ]


@pytest.mark.parametrize("token", [None, "Bearer wrong", "secret", "bearer secret", "Bearer "])
def test_every_method_needs_the_token(start: Starter, token: str | None) -> None:
    """No method of the protocol, nor any other, answers without the exact token."""
    database, server = start(token="secret")
    metadata = () if token is None else (("authorization", token),)
    names = [name for name, _ in _methods()] + ["/vecstore.v1.CollectionService/New", "/x/y"]
    assert len(names) > 15
    with grpc.insecure_channel(server.address) as plain:
        for name in names:
            with pytest.raises(grpc.RpcError) as caught:
                plain.unary_unary(name)(b"", metadata=metadata, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, name
    assert database.fake.calls == []


def test_a_wrong_token_is_said_to_be_wrong(start: Starter) -> None:
    """A client without the token, or with another, learns it when it connects."""
    _, server = start(token="secret")
    for token in (None, "wrong"):
        with pytest.raises(errors.AuthenticationError, match="token"):
            vs.connect(server.address, token=token)


def test_health_is_told_to_all(start: Starter) -> None:
    """The standard health check answers without a token."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    _, server = start(token="secret")
    with grpc.insecure_channel(server.address) as plain:
        stub: Any = health_pb2_grpc.HealthStub(plain)
        found = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert found.status == health_pb2.HealthCheckResponse.SERVING


def test_unexpected_failures_are_logged_and_not_told(
    fake: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns that the server failed; its log has the traceback."""
    collection, remote = fake

    def fail() -> None:
        raise KeyError("secret")

    collection.answers["count"] = fail
    with pytest.raises(errors.InternalError) as caught:
        remote.count()
    assert "secret" not in str(caught.value)
    assert "KeyError: 'secret'" in caplog.text


def test_calls_are_logged_without_what_they_carry(
    fake: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The access log has the method, the code and the time, and nothing of the data."""
    with caplog.at_level(logging.INFO, logger="vecstore_server.access"):
        fake[1].upsert(["private"], [[1, 2, 3]], [{"name": "private"}])
        give_up = time.monotonic() + 10
        while "Upsert" not in caplog.text and time.monotonic() < give_up:
            time.sleep(0.01)  # the answer comes before the log
    assert "/vecstore.v1.CollectionService/Upsert OK" in caplog.text
    assert "private" not in caplog.text


def _stream(server: Server, requests: Iterator[Any]) -> Any:
    with grpc.insecure_channel(server.address) as plain:
        stub: Any = collection_pb2_grpc.CollectionServiceStub(plain)
        try:
            return stub.UpsertStream(requests, timeout=10)
        except grpc.RpcError as error:
            return error.details()


def _part(ids: list[int], **vectors: Any) -> Any:
    part = collection_pb2.UpsertStreamRequest(collection="fake")
    part.records.ids.CopyFrom(ids_to_wire(ids))
    for field, values in vectors.items():
        field_vectors_to_wire(field, values, part.records.vectors.add())
    return part


def test_streams_that_do_not_fit_are_refused(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that differ, no parts, or too many bytes or records: nothing is written."""
    database, server = start()
    assert "before its last" in _stream(server, iter(()))
    assert "before its last" in _stream(server, iter([_part([1], v=[[1]])]))
    one = _part([1], v=[[1]])
    for words, other in (
        ("differ", _part([2], w=[[1]])),
        ("shapes", _part([2], v=[[1, 2]])),
        ("shapes", _part([2], v=[[1.0]])),
    ):
        other.last = True
        assert words in _stream(server, iter([one, other]))
    monkeypatch.setattr(vs.options, "BATCH_ROWS_MAX", 3)
    assert "more than 3 records" in _stream(server, iter([_part([1, 2]), _part([3, 4])]))
    monkeypatch.setattr(vs.options, "BATCH_BYTES_MAX", 300)
    large = (_part([1], v=[[1] * 30]) for _ in range(3))
    assert "more than 300 bytes of vectors" in _stream(server, large)
    one.records.payloads.json.append(b"x" * 301)
    assert "more than 300 bytes of payloads" in _stream(server, iter([one]))
    assert database.fake.calls == []


def test_a_stream_that_breaks_writes_nothing(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a client goes away before the last part, the batch is dropped; that is no error."""
    caplog.set_level(logging.INFO, logger="vecstore_server")
    database, server = start()

    def broken() -> Iterator[Any]:
        yield _part([1], v=[[1]])
        time.sleep(0.3)  # by then the server has the call
        raise OSError("the client fell over")

    assert "Exception iterating requests" in _stream(server, broken())
    with vs.connect(server.address) as remote:
        assert remote.collection("fake").count() == 5
    assert [name for name, _ in database.fake.calls] == ["count"]
    # What the server sees, by and by, is a call that was cancelled, or a stream that ended early.
    end = time.monotonic() + 10
    while not re.search("UpsertStream (CANCELLED|INVALID_ARGUMENT)", caplog.text):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not [
        record
        for record in caplog.records
        if record.name.startswith("vecstore_server") and record.levelno > logging.INFO
    ]


def test_bytes_that_are_no_message_are_refused(start: Starter) -> None:
    """Garbage in place of a message fails its call and no other."""
    _, server = start()
    with grpc.insecure_channel(server.address) as plain:
        for name, method in _methods():
            if not (method.client_streaming or method.server_streaming):
                with pytest.raises(grpc.RpcError) as caught:
                    plain.unary_unary(name)(b"\xff\xff\xff\x07", timeout=10)
                assert caught.value.code() is grpc.StatusCode.INTERNAL
                assert caught.value.details() == "Exception deserializing request!"
    with vs.connect(server.address) as remote:
        assert remote.collections() == ["fake"]


def test_a_search_without_vectors_is_refused(start: Starter) -> None:
    """A request that holds no query vector is refused in words of its own."""
    _, server = start()
    with grpc.insecure_channel(server.address) as plain:
        stub: Any = collection_pb2_grpc.CollectionServiceStub(plain)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Search(collection_pb2.SearchRequest(collection="fake", limit=1), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the request holds no query vector"


def test_clients_are_not_told_where_the_database_is(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors, problems, jobs and stats name files inside the database; only the log has whole
    paths.
    """
    database, server = start(root="/srv/db")

    def fail() -> None:
        raise errors.CorruptionError("/srv/db/segments/1/rows of /srv/db: block 7 is damaged")

    database.fake.answers["count"] = fail
    texts = ("/srv/db/data.mdb is damaged", "/srv/db2 stays", "a\ud800")
    told = ("data.mdb is damaged", "/srv/db2 stays", "a\\ud800")
    job = vs.Job(
        id=1, kind="flush", collection="c", state="failed", done=0, total=0, message=texts[0]
    )
    stats = vs.CollectionStats(
        records=0,
        buffered=0,
        deleted=0,
        segments=0,
        disk_bytes=0,
        representations=(),
        quarantined=texts,
        jobs=(job,),
    )
    database.waiting = [job]
    database.fake.answers["stats"] = lambda: stats
    with vs.connect(server.address) as remote:
        with pytest.raises(errors.CorruptionError) as caught:
            remote.collection("fake").count()
        assert str(caught.value) == "segments/1/rows of its directory: block 7 is damaged"
        database.work = lambda progress: list(texts)
        assert remote.check() == list(told)
        database.work = lambda progress: vs.RepairReport(rebuilt=texts, lost=texts, remaining=texts)
        assert remote.repair() == vs.RepairReport(rebuilt=told, lost=told, remaining=told)
        assert [job.message for job in remote.jobs()] == [told[0]]
        found = remote.collection("fake").stats()
        assert found.quarantined == told
        assert [job.message for job in found.jobs] == [told[0]]
    assert "/srv/db/segments/1/rows" in caplog.text


def test_stopping_lets_running_calls_finish(start: Starter) -> None:
    """A call that is running when the server stops gets its answer, and then all is closed."""
    database, server = start()
    running, finish = threading.Event(), threading.Event()

    def slow() -> int:
        running.set()
        finish.wait(10)
        assert not database.closed.is_set()
        return 3

    database.fake.answers["count"] = slow
    found: list[int] = []
    with vs.connect(server.address) as remote:
        collection = remote.collection("fake")
        caller = threading.Thread(target=lambda: found.append(collection.count()))
        caller.start()
        assert running.wait(10)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        time.sleep(0.1)
        finish.set()
        caller.join(10)
        stopper.join(10)
    assert found == [3]
    assert database.closed.is_set()
    assert not server.wait(1)


def test_the_module_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """`python -m vecstore_server` serves a directory, and SIGTERM ends it with everything kept."""
    path, copies = tmp_path / "db", tmp_path / "copies"
    command = [sys.executable, "-m", "vecstore_server", str(path), "--port", "0"]
    command += ["--snapshots", str(copies)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        with vs.connect(line.split(" at ")[1].strip()) as remote:
            made = remote.create_collection("c", vs.Schema(vectors=[vs.Vector("v", 3)]))
            assert made.upsert([1], np.eye(3)[:1]) == 1
            remote.snapshot("monday")
            with pytest.raises(errors.LockedError):
                vs.open(path)
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=30)[1]
    assert process.returncode == 0, rest
    assert "stopped" in rest
    for place in (path, copies / "monday"):
        with vs.open(place) as database:
            assert database.collection("c").count() == 1
            assert database.check() == []


def test_the_module_says_what_is_wrong(tmp_path: Path) -> None:
    """A directory that is no database ends the process with a message and code 1."""
    (tmp_path / "data.mdb").write_bytes(b"x" * 100)
    found = subprocess.run(
        [sys.executable, "-m", "vecstore_server", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert str(tmp_path) in found.stderr


def test_importing_the_server_starts_nothing() -> None:
    """Importing the server opens no port and starts no thread."""
    assert run_python("import threading, vecstore_server\nprint(threading.active_count())") == "1"


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("vecstore_client", "grpc", "client"),
        ("vecstore_client", "google.protobuf", "client"),
        ("vecstore_server", "grpc", "server"),
        ("vecstore_server", "grpc_health", "server"),
    ],
)
def test_a_missing_package_names_its_extra(module: str, package: str, extra: str) -> None:
    """Without gRPC, the error says what to install."""
    assert f"pip install 'vecstore[{extra}]'" in run_python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from vecstore.errors import MissingExtraError\n"
        f"try:\n    import {module}\n"
        "except MissingExtraError as error:\n    print(error)"
    )
