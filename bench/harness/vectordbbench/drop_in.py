"""Put the client into a VectorDBBench that lies somewhere.

    python drop_in.py FOLDER/vectordb_bench

Copies the client, and adds it to the lists of clients and of commands, which the package keeps in
two of its files. Only the standard library is needed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

CLIENT = ("__init__.py", "store.py", "config.py", "client.py", "cli.py")
NAME = "Vecstore"
MEMBER = '    Test = "test"\n'  # of the enumeration of clients
FIRST = "        if self == DB.Milvus:\n"  # each of its properties begins with this case
KINDS = (
    "client import Vecstore",
    "config import VecstoreConfig",
    "config import VecstoreCaseConfig",
)
COMMANDS = "from .cli import cli\n"


class LayoutError(Exception):
    """The package is not laid out as version 2.0 is; README.md says what to add by hand."""


def drop_in(package: Path) -> None:
    """Add the client to the package in this folder.

    Raises:
        LayoutError: it has a client of the name already, or its files are of another version.
    """
    clients, commands = package / "backend/clients/__init__.py", package / "cli/vectordbbench.py"
    listed = with_client(clients.read_text(encoding="utf-8"))
    commanded = with_command(commands.read_text(encoding="utf-8"))
    target = package / "backend/clients/vecstore"
    target.mkdir()
    for name in CLIENT:
        shutil.copy(Path(__file__).with_name(name), target / name)
    clients.write_text(listed, encoding="utf-8")
    commands.write_text(commanded, encoding="utf-8")


def with_client(text: str) -> str:
    """The module of clients with ours: a member, and a case in each of three properties."""
    if f'{NAME} = "' in text:
        raise LayoutError(f"there is a client {NAME} already")
    head, *parts = text.split(FIRST)
    if text.count(MEMBER) != 1 or len(parts) != len(KINDS):
        raise LayoutError("the module of clients is not that of version 2.0")
    for kind, part in zip(KINDS, parts, strict=True):
        head += (
            f"        if self == DB.{NAME}:\n"
            f"            from .vecstore.{kind}\n\n"
            f"            return {kind.split()[-1]}\n\n"
            f"{FIRST}{part}"
        )
    return head.replace(MEMBER, f'{MEMBER}    {NAME} = "{NAME}"\n')


def with_command(text: str) -> str:
    """The module of commands with ours, which adds itself when it is imported."""
    if text.count(COMMANDS) != 1:
        raise LayoutError("the module of commands is not that of version 2.0")
    ours = f"from ..backend.clients.vecstore.cli import {NAME}  # noqa: F401\n"
    return text.replace(COMMANDS, ours + COMMANDS)


if __name__ == "__main__":
    drop_in(Path(sys.argv[1]))
