"""The command line: `vecstore`. Needs the extra `cli`; each file beside this is a thin command."""

from __future__ import annotations

import sys
from typing import Any

_EXTRA_PACKAGES = ("typer", "rich", "click")


def main() -> None:
    """Run the command in `sys.argv` and exit with its code.

    0 is success, 1 an error with its reason on stderr, 2 a wrong use, 130 an interruption.
    """
    try:
        from vecstore.cli.commands import make_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_PACKAGES:
            raise
        sys.exit(
            f"the command line needs {error.name}, which is not installed; "
            "install it with: pip install 'vecstore[cli]'"
        )
    make_app()(prog_name="vecstore")


def __getattr__(name: str) -> Any:
    """`app`, the typer application: made when it is asked for, as typer may not be there."""
    if name == "app":
        from vecstore.cli.commands import make_app

        return make_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
