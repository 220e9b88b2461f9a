"""`vecstore serve`."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from vecstore.cli.console import say, wrong_use
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
    reserve_bytes: Annotated[
        int, typer.Option(help="Writes are refused when less space than this is free.")
    ] = DEFAULTS.reserve_bytes,
    flush_age_s: Annotated[
        int, typer.Option(help="Seconds after which a write buffer is flushed; 0 for never.")
    ] = DEFAULTS.flush_age_s,
    durability: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(get_args(Durability))}]",
            help="fsync syncs each batch by itself; group does so for all that came meanwhile.",
        ),
    ] = DEFAULTS.durability,
    background: Annotated[
        bool, typer.Option(help="Flush and compact in the background.")
    ] = DEFAULTS.background,
    background_bytes_per_s: Annotated[
        int, typer.Option(help="Most that background work writes; 0 for no limit.")
    ] = DEFAULTS.background_bytes_per_s,
) -> None:
    """Serve a database over gRPC until Ctrl-C. The directory is made if there is none."""
    secret = read_token(token, token_env)
    with wrong_use():
        options = Options(
            memory_bytes_max=memory_bytes_max,
            reserve_bytes=reserve_bytes,
            flush_age_s=flush_age_s,
            durability=cast(Durability, durability),
            background=background,
            background_bytes_per_s=background_bytes_per_s,
        )
    module = importlib.import_module("vecstore_server")
    importlib.import_module("vecstore_server.app").configure_logging()
    with wrong_use():
        server = module.serve(
            directory, host=host, port=port, token=secret, options=options, snapshots=snapshots
        )
    _run(server, directory, "" if secret is None else ", token=...")


def _run(server: Any, directory: Path, hint: str) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        say(f"serving {directory} at {server.address}; Ctrl-C stops it")
        say(f'connect with vecstore.connect("{server.address}"{hint})')
        server.wait()
    except KeyboardInterrupt:
        say("stopping: running calls may finish", error=True)
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, before)
