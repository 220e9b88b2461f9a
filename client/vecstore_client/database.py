"""A database that a server serves."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from vecstore.options import RPC_TIMEOUT_S
from vecstore.reports import Job, RepairReport, SnapshotInfo
from vecstore.schema import Schema
from vecstore.types import Progress
from vecstore_client import calls
from vecstore_client.channel import Connection, open_connection
from vecstore_client.collection import RemoteCollection


def connect(
    address: str, *, token: str | None = None, timeout_s: float = RPC_TIMEOUT_S
) -> RemoteDatabase:
    """Connect to a server: the same methods as an embedded database.

    Args:
        address: "host:port"; the port may be left out where it is 7700.
        token: what the server was started with, if it was. It travels unencrypted.
        timeout_s: how long one call may take; `check`, `repair`, `snapshot`, `compact`,
            `measure_recall`, and `alter` that waits, take as long as they take.

    Returns:
        The database, to be closed or used as a context manager.

    Raises:
        UnavailableError: no server answers there.
        AuthenticationError: the token is missing or wrong.
        RequestError: an address, token or timeout that cannot be.
    """
    return RemoteDatabase(open_connection(address, token=token, timeout_s=timeout_s))


class RemoteDatabase:
    """A connection to a server; made by `vecstore.connect`. Safe to use from many threads.

    Also a context manager that closes it. Every method may raise RemoteError: UnavailableError
    where the server cannot be reached, DeadlineError where it does not answer in time. Whether a
    write that failed so was applied is not known, so that none is sent again on its own: to write
    it again may undo what another client wrote in between.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"RemoteDatabase({self._connection.address!r})"

    def create_collection(self, name: str, schema: Schema) -> RemoteCollection:
        """Make a collection; see `vecstore.database.Database.create_collection`."""
        self._connection.check_open()
        made = self._connection.run(calls.create_collection(name, schema))
        return RemoteCollection(self._connection, made)

    def collection(self, name: str) -> RemoteCollection:
        """The collection of that name, or NotFoundError."""
        self._connection.check_open()
        found = self._connection.run(calls.get_collection(name))
        return RemoteCollection(self._connection, found)

    def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        return self._connection.run(calls.list_collections())

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its records, or NotFoundError."""
        self._connection.check_open()
        self._connection.run(calls.drop_collection(name))

    def jobs(self) -> list[Job]:
        """Background work under way, waiting or failed, oldest first; what is done is not listed.

        It is that of the server, as are `pause_jobs` and `resume_jobs`.
        """
        return self._connection.run(calls.list_jobs())

    def pause_jobs(self) -> None:
        """Hold up background work, until `resume_jobs` or the server ends."""
        self._connection.run(calls.pause_jobs())

    def resume_jobs(self) -> None:
        """Let background work go on."""
        self._connection.run(calls.resume_jobs())

    def check(self, progress: Progress | None = None) -> list[str]:
        """Have the server verify every checksum and invariant on disk, however long that takes.

        Args:
            progress: told what is being checked, and how far it has come; raising stops it.

        Returns:
            The problems found; empty when the database is sound.
        """
        return self._connection.follow(calls.check(progress))

    def repair(self, progress: Progress | None = None) -> RepairReport:
        """See `vecstore.database.Database.repair`."""
        return self._connection.follow(calls.repair(progress))

    def snapshot(self, target: str, *, progress: Progress | None = None) -> SnapshotInfo:
        """Have the server copy the database as of now; see `vecstore.database.Database.snapshot`.

        Args:
            target: a name, such as "monday", for a place below the one that the server was
                started with (`vecstore serve DIR --snapshots DIR_OR_URL`).
            progress: told how far it has come: bytes.

        Raises:
            RequestError: the server has no place for snapshots.
            SchemaError: `target` is not 1 to 128 letters, digits, '_', '.' or '-'.
        """
        self._connection.check_open()
        return self._connection.follow(calls.snapshot(target, progress))

    def close(self) -> None:
        """Drop the connection; the server's database stays open."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
