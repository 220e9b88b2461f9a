"""The connection to a server: how it is set up, and how a call fails."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

import grpc

from vecstore import options
from vecstore.errors import ClosedError, DeadlineError, RequestError
from vecstore_client import calls
from vecstore_client.calls import Call, Work
from vecstore_proto.auth import TOKEN_KEY, bearer
from vecstore_proto.status import (
    KEEPALIVE_MS,
    METADATA_BYTES_MAX,
    AnswerTooLarge,
    error_from_status,
    unavailable,
)
from vecstore_proto.v1 import collection_pb2_grpc, database_pb2_grpc

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_S = 5.0

# Calls that may be sent twice. A write of records is not among them: sent again after it was
# applied, it would undo what others wrote in between, or answer with a wrong count. Nor is one
# with a stream of answers: where gRPC (1.85, not asyncio) sent it again in vain, it never ends.
_RETRIED = {
    "vecstore.v1.DatabaseService": ("GetCollection", "ListCollections", "ListJobs"),
    "vecstore.v1.CollectionService": (
        "Get",
        "Scroll",
        "Count",
        "GetCodec",
        "GetStats",
        "Flush",
        "Compact",
        "Search",
    ),
}
# Calls that change what the database holds: whether one that was cut off did so is not known.
_WRITES = frozenset(
    {"CreateCollection", "DropCollection", "Upsert", "UpsertStream", "Delete", "Alter"}
)
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method}
                    for service, methods in _RETRIED.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", options.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", options.MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.per_rpc_retry_buffer_size", options.MESSAGE_BYTES_MAX),
    ("grpc.service_config", _SERVICE_CONFIG),
    # A database is near: a proxy set up for the web is not for it, and a server that comes back
    # is found at once, by a connection that no other client in this process shares.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A call without a deadline must not wait for a machine that is gone.
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
)


class Target:
    """A server and how to call it; what the sync and the asyncio connection share."""

    def __init__(self, address: str, token: str | None, timeout_s: float) -> None:
        self.address = check_address(address)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
            raise RequestError(f"timeout_s is {timeout_s!r}, expected seconds above 0")
        self.timeout_s = float(timeout_s)
        self.metadata = () if token is None else ((TOKEN_KEY, bearer(token)),)
        self.closed = False

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.closed:
            raise ClosedError(f"the database at {self.address} was closed; connect again")

    def time_for(self, call: Call[Any]) -> float | None:
        """Seconds that a call may take; None where it takes as long as it takes."""
        return None if call.long else self.timeout_s

    def error(self, error: Any, method: str) -> Exception:
        """What to raise for a failed call."""
        return error_from_status(error, self.address, self.timeout_s, writes=method in _WRITES)


def methods(channel: Any) -> dict[str, Any]:
    """The rpcs of both services by name, over a sync or an asyncio channel."""
    database = database_pb2_grpc.DatabaseServiceStub(channel)  # type: ignore[no-untyped-call]
    collection = collection_pb2_grpc.CollectionServiceStub(channel)  # type: ignore[no-untyped-call]
    return vars(database) | vars(collection)


class Connection(Target):
    """A channel to a server, used from many threads."""

    def __init__(self, address: str, *, token: str | None, timeout_s: float) -> None:
        super().__init__(address, token, timeout_s)
        self._channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._methods = methods(self._channel)

    def run(self, call: Call[Answer], timeout_s: float | None = None) -> Answer:
        """Make a call and read its answer; errors are those of the embedded database."""
        try:
            return call.read([self._send(call, timeout_s or self.time_for(call))])
        except AnswerTooLarge:
            assert call.stream is not None
            with closing(self._receive(*call.stream, self.timeout_s)) as answers:
                return call.read([answer.part for answer in answers])

    def follow(self, work: Work[Answer]) -> Answer:
        """Have work done, and tell how far it has come; where that raises, the work ends."""
        with closing(self._receive(work.method, work.request, None)) as answers:
            return work.read([report for answer in answers for report in work.reports(answer)])

    def close(self) -> None:
        """Drop the connection; calls that are running fail."""
        self.closed = True
        self._channel.close()

    def _send(self, call: Call[Any], timeout_s: float | None) -> Any:
        self.check_open()
        method = self._methods[call.method]
        try:
            return method(call.request, timeout=timeout_s, metadata=self.metadata)
        except grpc.RpcError as error:
            raise self.error(error, call.method) from None

    def _receive(
        self, method: str, request: Any, timeout_s: float | None
    ) -> Generator[Any, None, None]:
        """The messages of an answer; when it is closed, the call is given up."""
        self.check_open()
        answers = self._methods[method](request, timeout=timeout_s, metadata=self.metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise self.error(error, method) from None
        finally:
            answers.cancel()


def open_connection(address: str, *, token: str | None, timeout_s: float) -> Connection:
    """Connect, and make sure that a server answers."""
    connection = Connection(address, token=token, timeout_s=timeout_s)
    try:
        connection.run(calls.server_info(), min(connection.timeout_s, CONNECT_TIMEOUT_S))
    except DeadlineError:
        connection.close()
        raise unavailable(connection.address) from None
    except BaseException:
        connection.close()
        raise
    return connection


def check_address(address: Any) -> str:
    """The address with its port, or RequestError."""
    if not isinstance(address, str) or not address.strip() or "/" in address:
        raise RequestError(f'address is {address!r}, expected "host:port"')
    if ":" not in address or address.endswith("]"):
        return f"{address}:{options.DEFAULT_PORT}"
    port = address.rpartition(":")[2]
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise RequestError(f'address is {address!r}, expected "host:port", port 1 to 65,535')
    return address
