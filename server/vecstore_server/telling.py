"""What clients are told of the server's files: their paths inside the database, not where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable


def without_root(root: str | os.PathLike[str] | None) -> Callable[[str], str]:
    """A function that takes the directory of a database out of a text; None takes out nothing."""
    if root is None:
        return str
    spellings = {os.path.normpath(root), os.path.abspath(root), os.path.realpath(root)} - {"/", "."}
    names = "|".join(re.escape(name) for name in sorted(spellings, key=len, reverse=True))
    found = re.compile(rf"(?<![\w./-])(?:{names})(?:/|(?![\w-]))")
    return lambda text: found.sub(
        lambda match: "" if match[0].endswith("/") else "its directory", text
    )
