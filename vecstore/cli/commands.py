"""The commands, put together."""

from __future__ import annotations

import typer

from vecstore.cli.console import reporting
from vecstore.cli.demonstrating import demo
from vecstore.cli.importing import import_
from vecstore.cli.inspecting import check, stats
from vecstore.cli.searching import search
from vecstore.cli.serving import serve


def make_app() -> typer.Typer:
    """The application; each command turns errors into one line and an exit code."""
    app = typer.Typer(
        help="A vector database that keeps embeddings compressed from disk to answer.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.command("demo")(reporting()(demo))
    app.command("serve")(reporting()(serve))
    app.command("import")(reporting()(import_))
    app.command("search")(reporting()(search))
    app.command("stats")(reporting()(stats))
    app.command("check")(reporting()(check))
    return app
