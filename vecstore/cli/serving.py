"""`vecstore serve`."""

from __future__ import annotations

import importlib
import os
import signal
from typing import Annotated

import typer

from vecstore.cli.console import say
from vecstore.cli.inspecting import Directory
from vecstore.options import DEFAULT_PORT

TOKEN_VARIABLE = "VECSTORE_TOKEN"


def serve(
    directory: Directory,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.")] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        typer.Option(help="What clients must send. Others can see it in the list of processes."),
    ] = None,
    token_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"The environment variable that holds the token; {TOKEN_VARIABLE} by default.",
        ),
    ] = None,
) -> None:
    """Serve a database over gRPC until Ctrl-C. The directory is made if there is none."""
    secret = _token(token, token_env)
    module = importlib.import_module("vecstore_server")
    importlib.import_module("vecstore_server.app").configure_logging()
    server = module.serve(directory, host=host, port=port, token=secret)
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


def _token(token: str | None, variable: str | None) -> str | None:
    if token is not None and variable is not None:
        raise typer.BadParameter("give one of --token and --token-env, not both")
    if variable is not None and variable not in os.environ:
        raise typer.BadParameter(f"--token-env: the environment has no variable {variable}")
    return token if token is not None else os.environ.get(variable or TOKEN_VARIABLE)
