"""A client raises what the server raised."""

from __future__ import annotations

import inspect
from concurrent import futures
from typing import Any

import grpc
import pytest

from vecstore import errors
from vecstore_proto import status

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
MESSAGES = [
    "plain",
    "",
    'where is "year = é AND 漢字 🙂"\n             ^^^^\nexpected a value',
    "tab\tpercent %41 %% quote ' \\ \x00 \x7f",
    "🙂" * 10_000 + "\n" + " " * 9_999 + "^",
]


@pytest.fixture(scope="module")
def call() -> Any:
    """Calls a server that raises what it is told to; gives what the client would raise."""
    told: list[Exception] = []

    def fail(request: bytes, context: Any) -> bytes:
        found = status.error_to_status(told.pop())
        context.set_trailing_metadata(found.metadata)
        context.abort(found.code, found.details)

    handler = grpc.unary_unary_rpc_method_handler(fail)
    limits = [
        ("grpc.max_metadata_size", status.METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", status.METADATA_BYTES_MAX),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(1), options=limits)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"F": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=limits) as channel:
        method = channel.unary_unary("/t.T/F")

        def run(error: Exception) -> Exception:
            told.append(error)
            with pytest.raises(grpc.RpcError) as caught:
                method(b"", timeout=30)
            return status.error_from_status(caught.value, "here:1", 2.0)

        yield run
    server.stop(None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives(call: Any, kind: type[errors.VecstoreError]) -> None:
    """Every error of vecstore comes back with its type, text and base classes."""
    found = call(kind("got x,\nexpected é"))
    assert type(found) is kind
    assert str(found) == "got x,\nexpected é"
    assert found.args == kind("got x,\nexpected é").args


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_survives(call: Any, message: str) -> None:
    """Newlines, any Unicode and long texts arrive as they were."""
    assert str(call(errors.FilterError(message))) == message


def test_messages_that_cannot_be_sent_are_made_so(call: Any) -> None:
    """Endless messages are cut, and what UTF-8 cannot hold is escaped."""
    found = str(call(errors.PayloadError("é" * 10_000_000)))
    assert found.startswith("é" * 1_000)
    assert found.endswith("…")
    assert str(call(errors.PayloadError("a\ud800b"))) == "a\\ud800b"


def test_other_exceptions_tell_nothing(call: Any) -> None:
    """An exception that is not vecstore's becomes InternalError without its text."""
    found = call(KeyError("secret"))
    assert type(found) is errors.InternalError
    assert "secret" not in str(found)


def test_subclasses_become_the_error_they_are_of(call: Any) -> None:
    """An error class that is not in the table arrives as its nearest base that is."""

    class SpecialError(errors.CorruptionError):
        pass

    found = call(SpecialError("block 7"))
    assert type(found) is errors.CorruptionError
    assert str(found) == "block 7"


def test_the_table_is_complete() -> None:
    """Every error of vecstore has a code, none of them OK."""
    for kind in KINDS:
        found = status.error_to_status(kind("x"))
        assert found.metadata == ((status.ERROR_KEY, kind.__name__),)
        assert found.code is not grpc.StatusCode.OK


class Failure:
    """What gRPC raises where no server of ours took part."""

    def __init__(self, code: Any, metadata: Any = (), details: str | None = None) -> None:
        self._code = code
        self._details = details
        self._metadata = metadata

    def code(self) -> Any:
        return self._code

    def details(self) -> str | None:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAVAILABLE", errors.UnavailableError),
        ("DEADLINE_EXCEEDED", errors.DeadlineError),
        ("OUT_OF_RANGE", status.AnswerTooLarge),
        ("CANCELLED", errors.RemoteError),
        ("UNIMPLEMENTED", errors.RemoteError),
    ],
)
def test_failures_of_the_network_are_remote_errors(code: str, kind: type[Exception]) -> None:
    """Without a class from the server, the code decides, and the message names the server."""
    found = status.error_from_status(Failure(grpc.StatusCode[code], None), "here:1", 2.0)
    assert type(found) is kind
    assert kind is status.AnswerTooLarge or "here:1" in str(found)


@pytest.mark.parametrize(
    ("code", "details", "known"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: x", True),
        ("UNAVAILABLE", "DNS resolution failed for here:1", True),
        ("UNAVAILABLE", "Socket closed", False),
        ("UNAVAILABLE", None, False),
        ("DEADLINE_EXCEEDED", None, False),
    ],
)
def test_a_write_that_was_cut_off_says_so(code: str, details: str | None, known: bool) -> None:
    """A write that the server may have got is said to be of unknown outcome, a read never."""
    failure = Failure(grpc.StatusCode[code], details=details)
    unknown = "not known whether the write was applied"
    written = str(status.error_from_status(failure, "here:1", 2.0, writes=True))
    assert (unknown in written) is not known
    assert ("start one with" in written) is known
    assert unknown not in str(status.error_from_status(failure, "here:1", 2.0))


def test_unknown_classes_are_remote_errors() -> None:
    """A class that only a newer server knows, or one of Python's, is not looked up."""
    for name in ("NewerError", "SystemExit", "object"):
        failure = Failure(grpc.StatusCode.UNKNOWN, ((status.ERROR_KEY, name),))
        assert type(status.error_from_status(failure, "here:1", 2.0)) is errors.RemoteError


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:7700: Failed "
            "to connect to remote host: Connection refused",
            "at db:7700 (connection refused);",
        ),
        (
            "errors resolving db:7700: [field:x error:y: Domain name not found]",
            "at db:7700 (domain name not found);",
        ),
        ("Socket closed", "at db:7700 (socket closed);"),
        ("", "at db:7700;"),
    ],
)
def test_an_unreachable_server_is_named_with_a_reason(details: str, reason: str) -> None:
    """The message has the address that the user gave, and the end of what gRPC says."""
    found = str(status.unavailable("db:7700", details))
    assert reason in found
    assert "10.0.0.1" not in found
