"""Start and stop a server."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

import vecstore
from vecstore import options as limits
from vecstore.errors import RemoteError, RequestError
from vecstore.options import Options
from vecstore_proto.status import KEEPALIVE_MS, METADATA_BYTES_MAX
from vecstore_proto.v1 import collection_pb2_grpc, database_pb2_grpc
from vecstore_server.health import Health
from vecstore_server.interceptors import ErrorInterceptor, TokenInterceptor
from vecstore_server.service import CollectionService, DatabaseService, OpenCollections
from vecstore_server.snapshots import SnapshotPlace
from vecstore_server.telling import without_roots
from vecstore_server.working import LongCalls

if TYPE_CHECKING:
    from vecstore.database import Database

_LOG = logging.getLogger("vecstore_server")

WORKERS = 16
RECEIVERS = 4
"""Batches that are received as streams at a time, each of up to 1 GiB; further ones wait."""

CALLS_MAX = 1_024
DRAIN_S = 10.0

_CHANNEL = (
    ("grpc.so_reuseport", 0),  # else a second server would take half of the calls, unnoticed
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    # Clients ask for a sign of life during calls that have no deadline.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
)


class Server:
    """An open database behind a port.

    Args:
        database: what to serve, or what opens it once the port is held; it is closed when the
            server stops.
        host: the address to listen on.
        port: the port, or 0 for any that is free.
        token: what clients must send; needed where other machines can reach `host`.
        root: the directory of the database, which clients are not told.
        snapshots: where to make the snapshots that clients ask for; see `serve`.

    Raises:
        RequestError: a host, port or place that cannot be, or a token that is missing or cannot
            be sent.
        RemoteError: the port is taken.

    Attributes:
        host: the address.
        port: the port.
    """

    def __init__(
        self,
        database: Database | Callable[[], Database],
        *,
        host: str = "127.0.0.1",
        port: int = limits.DEFAULT_PORT,
        token: str | None = None,
        root: str | os.PathLike[str] | None = None,
        snapshots: str | os.PathLike[str] | None = None,
    ) -> None:
        _check_address(host, port, token)
        place = SnapshotPlace(snapshots, root)
        self.host = host
        self._stopping = threading.Lock()
        self._health = Health()
        self._receivers = ThreadPoolExecutor(RECEIVERS, thread_name_prefix="vecstore-receive")
        self._long_calls = LongCalls()
        tell = without_roots(root, place.root)
        guards = [] if token is None else [TokenInterceptor(token)]
        self._grpc = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="vecstore"),
            interceptors=[ErrorInterceptor(tell), *guards],
            options=_CHANNEL,
            maximum_concurrent_rpcs=CALLS_MAX,
        )
        self.port = _listen(self._grpc, host, port)
        try:
            self._database = database() if callable(database) else database
        except BaseException:
            self._grpc.start()  # one that never ran would keep the port
            self._grpc.stop(None).wait()
            raise
        collections = OpenCollections(self._database)
        database_pb2_grpc.add_DatabaseServiceServicer_to_server(  # type: ignore[no-untyped-call]
            DatabaseService(collections, self._long_calls, place, tell), self._grpc
        )
        collection_pb2_grpc.add_CollectionServiceServicer_to_server(  # type: ignore[no-untyped-call]
            CollectionService(collections, self._receivers, self._long_calls, tell), self._grpc
        )
        self._grpc.add_generic_rpc_handlers((self._health.handler(),))

    @property
    def address(self) -> str:
        """What clients connect to: "host:port"."""
        return _address(self.host, self.port)

    def start(self) -> None:
        """Answer calls from now on."""
        self._grpc.start()
        self._health.serving = True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the server has stopped; True where `timeout_s` ran out before."""
        return bool(self._grpc.wait_for_termination(timeout_s))

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no new calls, let running ones finish within `drain_s`, close the database."""
        with self._stopping:
            self._health.serving = False
            self._grpc.stop(drain_s).wait()
            self._receivers.shutdown(wait=False, cancel_futures=True)
            self._long_calls.stop(DRAIN_S)
            self._database.close()


def serve(
    path: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = limits.DEFAULT_PORT,
    token: str | None = None,
    options: Options | None = None,
    snapshots: str | os.PathLike[str] | None = None,
) -> Server:
    """Open the database in a directory and serve it, in threads of this process.

    Args:
        path: the directory; made if there is none.
        host: the address to listen on; others than loopback need a token.
        port: the port, or 0 for any that is free (see `Server.port`).
        token: what clients must send with every call.
        options: as for `vecstore.open`.
        snapshots: a directory, or the URL of an object store. A client that asks for a snapshot
            gives a name, which is that of a directory, or of a further part of the URL, below it.

    Returns:
        The server, started. `Server.stop` ends it and closes the database.

    Raises:
        RequestError: a host, port or place that cannot be, or a token that is missing or cannot
            be sent.
        RemoteError: the port is taken.
        StorageError: as `vecstore.open`.
    """
    server = Server(
        lambda: vecstore.open(path, options=options),
        host=host,
        port=port,
        token=token,
        root=path,
        snapshots=snapshots,
    )
    server.start()
    return server


def run(
    path: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = limits.DEFAULT_PORT,
    token: str | None = None,
    *,
    snapshots: str | os.PathLike[str] | None = None,
) -> None:
    """Serve a directory until SIGINT or SIGTERM, then drain; call it from the main thread.

    Errors are those of `serve`. What it does is logged as "vecstore_server".
    """
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        server = serve(path, host=host, port=port, token=token, snapshots=snapshots)
        try:
            _LOG.info("serving %s at %s", os.fspath(path), server.address)
            stop.wait()
            _LOG.info("stopping: waiting up to %g s for running calls", DRAIN_S)
        finally:
            server.stop()
        _LOG.info("stopped")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def configure_logging() -> None:
    """Log to stderr what the server does, each call included; for a process that only serves."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(server: Any, host: str, port: int) -> int:
    """Take the port, or RemoteError; the port taken."""
    try:
        _try_port(host, port)
        return int(server.add_insecure_port(_address(host, port)))
    except (OSError, RuntimeError):
        raise RemoteError(
            f"cannot listen on {_address(host, port)}: the port is taken or the address is "
            "not one of this machine; stop the other server, or choose another port"
        ) from None


def _try_port(host: str, port: int) -> None:
    """Raise OSError where a port cannot be had; gRPC would also write about it to stderr."""
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    refused = []
    for family, _, _, _, place in places:
        try:
            socket.create_server(place[:2], family=family).close()
        except OSError as error:
            refused.append(error)
    taken = [error for error in refused if error.errno == errno.EADDRINUSE]
    if taken or len(refused) == len(places):
        raise (taken or refused)[0]


def _check_address(host: str, port: int, token: str | None) -> None:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise RequestError(f"port is {port!r}, expected an int from 0 to 65,535")
    if token is None and not _is_loopback(host):
        raise RequestError(
            f"host {host!r} can be reached from other machines and there is no token; "
            "set one, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
