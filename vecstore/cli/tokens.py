"""The token of a server, as commands are given it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

VARIABLE = "VECSTORE_TOKEN"

TokenVariable = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"The environment variable that holds the token; {VARIABLE} by default.",
    ),
]


def read_token(token: str | None, variable: str | None) -> str | None:
    """The token given, or that of the environment."""
    if token is not None and variable is not None:
        raise typer.BadParameter("give one of --token and --token-env, not both")
    if variable is not None and variable not in os.environ:
        raise typer.BadParameter(f"--token-env: the environment has no variable {variable}")
    return token if token is not None else os.environ.get(variable or VARIABLE)
