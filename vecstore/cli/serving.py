"""`vecstore serve`."""

from __future__ import annotations

import importlib
import signal
from typing import Annotated, cast

import typer

from vecstore.cli.console import say
from vecstore.cli.inspecting import Directory
from vecstore.cli.tokens import TokenVariable, read_token
from vecstore.options import DEFAULT_PORT, Options
from vecstore.types import Durability

DEFAULTS = Options()


def serve(
    directory: Directory,
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.")] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        typer.Option(help="What clients must send. Others can see it in the list of processes."),
    ] = None,
    token_env: TokenVariable = None,
    snapshots: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_URL",
            help="Where the snapshots are made that clients ask for, each below its name.",
        ),
    ] = None,
    memory_bytes_max: Annotated[
        int, typer.Option(help="Memory for the write buffer and for building segments.")
    ] = DEFAULTS.memory_bytes_max,
    durability: Annotated[
        str,
        typer.Option(
            help="fsync syncs each batch by itself; group does so once for all that came meanwhile."
        ),
    ] = DEFAULTS.durability,
    background: Annotated[
        bool, typer.Option(help="Flush and compact in the background.")
    ] = DEFAULTS.background,
) -> None:
    """Serve a database over gRPC until Ctrl-C. The directory is made if there is none."""
    secret = read_token(token, token_env)
    options = Options(
        memory_bytes_max=memory_bytes_max,
        durability=cast(Durability, durability),
        background=background,
    )
    module = importlib.import_module("vecstore_server")
    importlib.import_module("vecstore_server.app").configure_logging()
    server = module.serve(
        directory, host=host, port=port, token=secret, options=options, snapshots=snapshots
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        hint = "" if secret is None else ", token=..."
        say(f"serving {directory} at {server.address}; Ctrl-C stops it")
        say(f'connect with vecstore.connect("{server.address}"{hint})')
        server.wait()
    except KeyboardInterrupt:
        say("stopping: running calls may finish", error=True)
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, before)
