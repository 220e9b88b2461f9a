"""vecstore: a vector database that keeps embeddings compressed from disk to answer.

    import vecstore as vs

    with vs.open("library") as db:
        books = db.create_collection("books", vs.Schema(vectors=[vs.Vector("text", dim=384)]))
        books.upsert(ids, vectors=embeddings, payloads=payloads)
        for hit in books.search(query, limit=10):
            ...

Importing this module costs numpy only; `open` loads the engine, `connect` the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vecstore import errors
from vecstore.options import RPC_TIMEOUT_S, Options
from vecstore.reports import CollectionStats, Job, Recall, RepairReport, SnapshotInfo
from vecstore.request import Cascade, MaxSim, Probe, Rescore, Scan
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.tokens import Tokens
from vecstore.types import (
    Codes,
    Hit,
    Hits,
    Progress,
    Record,
    StageReport,
    TokenMatches,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from vecstore.backup.objects import ObjectStore
    from vecstore.database import Database
    from vecstore.multivector.collection_report import Records
    from vecstore.multivector.report import TokenReport
    from vecstore_client import RemoteDatabase

__version__ = "0.1.0"

__all__ = [
    "Cascade",
    "Codes",
    "CollectionStats",
    "Column",
    "Hit",
    "Hits",
    "Job",
    "MaxSim",
    "MultiVector",
    "Options",
    "Probe",
    "Progress",
    "Recall",
    "Record",
    "RepairReport",
    "Rescore",
    "Scan",
    "Schema",
    "SnapshotInfo",
    "StageReport",
    "TokenMatches",
    "Tokens",
    "Vector",
    "connect",
    "errors",
    "open",
    "restore",
    "snapshots",
    "token_report",
]


def open(  # noqa: A001  (vecstore.open, as in gzip.open)
    path: str | os.PathLike[str], *, read_only: bool = False, options: Options | None = None
) -> Database:
    """Open the database in a directory; made if there is none.

    Args:
        path: the directory.
        read_only: open beside a writer in another process; every read sees the writer's last
            acknowledged write. The directory must hold a database.
        options: sizes and threads; see `Options`.

    Returns:
        The database, to be closed or used as a context manager.

    Raises:
        LockedError: another process writes here.
        NotADatabaseError: the directory holds something else.
        FormatVersionError: a newer vecstore wrote it.
    """
    from vecstore.database import Database  # the engine, only when it is used

    return Database.open(
        path, read_only=read_only, options=Options() if options is None else options
    )


def connect(
    address: str, *, token: str | None = None, timeout_s: float = RPC_TIMEOUT_S
) -> RemoteDatabase:
    """Connect to a server: the same methods as an embedded database.

    Args:
        address: "host:port".
        token: what the server was started with, if it was.
        timeout_s: how long one call may take.

    Raises:
        UnavailableError: no server answers there.
        MissingExtraError: grpcio is not installed.
    """
    client: Any = importlib.import_module("vecstore_client")
    found: RemoteDatabase = client.connect(address, token=token, timeout_s=timeout_s)
    return found


def restore(
    source: str | os.PathLike[str] | ObjectStore,
    path: str | os.PathLike[str],
    *,
    number: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Make a database from what `Database.snapshot` made. The source is not trusted.

    The database appears at `path` when all of it is there and has been checked. Until then it is in
    "<path>.restoring"; after an interruption the same call goes on from there.

    Args:
        source: a directory, the URL of an object store, or a store of obstore.
        path: the new directory; there must be none, or an empty one.
        number: of the snapshot in an object store; the last one by default.
        progress: told how far it has come: bytes.

    Raises:
        AlreadyExistsError: something is at `path`.
        NotFoundError: there is no such snapshot.
        CorruptionError: a byte is missing or is not what it was, or it is no database.
        FormatVersionError: a newer vecstore wrote it.
        DatabaseFullError: there is no room for it.
        LockedError: the source is a directory that is being written.
        MissingExtraError: obstore is not installed.
    """
    from vecstore.backup.restore import restore_database

    restore_database(source, path, number, progress)


def token_report(
    collection: Records,
    queries: Mapping[str, Sequence[Any]],
    *,
    policies: Sequence[tuple[str, str]] = (),
    budgets: Sequence[int] = (),
    judgments: Sequence[Mapping[Any, float]] | None = None,
) -> TokenReport:
    """What pruning, pooling and token budgets would lose of a collection; reads all its records.

    See `vecstore.multivector.collection_report.report_tokens`; `vecstore.multivector.draw` draws
    the report.
    """
    from vecstore.multivector.collection_report import report_tokens

    return report_tokens(
        collection, queries, policies=policies, budgets=budgets, judgments=judgments
    )


def snapshots(source: str | ObjectStore) -> list[SnapshotInfo]:
    """The snapshots in an object store, oldest first.

    Args:
        source: its URL, or a store of obstore.

    Raises:
        CorruptionError, FormatVersionError: one of them cannot be read.
        MissingExtraError: obstore is not installed.
    """
    from vecstore.backup.snapshot import list_snapshots

    return list_snapshots(source)
