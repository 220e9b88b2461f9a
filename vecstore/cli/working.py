"""`vecstore jobs`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vecstore
from vecstore.cli.console import human_bytes, say, table
from vecstore.cli.tokens import TokenVariable, read_token
from vecstore.errors import NotADatabaseError, UnavailableError
from vecstore.reports import Job

if TYPE_CHECKING:
    from vecstore_client import RemoteDatabase


def jobs(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|DIR", help="A server, as host:port; or the directory of a database."
        ),
    ],
    token: Annotated[str | None, typer.Option(help="What the server was started with.")] = None,
    token_env: TokenVariable = None,
) -> None:
    """List the background work of a server."""
    if Path(target).is_dir():
        with vecstore.open(target, read_only=True):
            say(
                f"background work runs in the process that writes {target}; where that is a "
                "server, ask it: vecstore jobs HOST:PORT"
            )
        return
    with connected(target, read_token(token, token_env)) as db:
        found = db.jobs()
    if found:
        show_jobs(found)
    else:
        say("no background work")


def connected(target: str, token: str | None) -> RemoteDatabase:
    """A server, or an error that says what the target of a command may be."""
    missing = f"{target} is neither a directory nor the address of a server, host:port"
    if "/" in target or Path(target).exists():
        raise NotADatabaseError(missing)
    try:
        return vecstore.connect(target, token=token)
    except UnavailableError as error:
        if ":" in target:
            raise
        raise UnavailableError(f"{missing}: {error}") from None


def show_jobs(found: Iterable[Job]) -> None:
    """Print a table of background work."""
    table(
        ["collection", "work", "state", "message", "written", "of"],
        [
            [
                job.collection,
                job.kind,
                job.state,
                job.message,
                human_bytes(job.done),
                human_bytes(job.total) if job.total else "-",
            ]
            for job in found
        ],
        left=4,
    )
