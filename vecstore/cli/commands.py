"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

import vecstore
from vecstore.cli.backing import restore, snapshot, snapshots
from vecstore.cli.changing import alter, compact
from vecstore.cli.console import reporting, say
from vecstore.cli.demonstrating import demo
from vecstore.cli.importing import import_
from vecstore.cli.inspecting import check, repair, stats
from vecstore.cli.measuring import recall
from vecstore.cli.searching import search
from vecstore.cli.serving import serve
from vecstore.cli.working import jobs


def make_app() -> typer.Typer:
    """The application; each command turns errors into one line and an exit code."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    app.command("demo")(reporting()(demo))
    app.command("serve")(reporting()(serve))
    app.command("import")(reporting()(import_))
    app.command("search")(reporting()(search))
    app.command("stats")(reporting()(stats))
    app.command("recall")(reporting()(recall))
    app.command("jobs")(reporting()(jobs))
    app.command("compact")(reporting()(compact))
    app.command("alter")(reporting()(alter))
    app.command("check")(reporting()(check))
    app.command("repair")(reporting()(repair))
    app.command("snapshot")(reporting()(snapshot))
    app.command("snapshots")(reporting()(snapshots))
    app.command("restore")(reporting()(restore))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"vecstore {vecstore.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """A vector database that keeps embeddings compressed from disk to answer."""
