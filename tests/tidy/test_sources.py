"""What never stands in a source file."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from tests.tidy.tree import PACKAGES, expect_none, parse, place, project_files, written_files

# Put together here, so that this file does not hold what it looks for.
MACHINE_FOLDERS = ("home", "Users", "root", "work", "tmp", "private")
MACHINE_PATH = re.compile(rf"(?<![\w.)}}~-])/(?:{'|'.join(MACHINE_FOLDERS)})/")


def test_libraries_do_not_print() -> None:
    """No package calls print(): a library answers by value, the command line through rich."""
    expect_none(_nodes(_is_print))


def test_nothing_is_pickled() -> None:
    """No package imports pickle, marshal or shelve, or lets numpy unpickle."""
    expect_none(_nodes(_unpickles))


def test_no_path_of_one_machine() -> None:
    """No file of the project names a folder that exists on somebody's machine only."""
    named = [
        f"{place(path, number)}: {line.strip()}"
        for path in project_files()
        if b"\0" not in path.read_bytes()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    expect_none(named)


def _nodes(wrong: Callable[[ast.AST], bool]) -> list[str]:
    """Where the packages have a node that is wrong."""
    return [
        place(path, getattr(node, "lineno", None))
        for path in written_files(".py", under=PACKAGES)
        for node in ast.walk(parse(path))
        if wrong(node)
    ]


def _is_print(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    )


def _unpickles(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.keyword):
        never = isinstance(node.value, ast.Constant) and node.value.value is False
        return node.arg == "allow_pickle" and not never
    else:
        return False
    return any(name.split(".")[0] in {"pickle", "marshal", "shelve"} for name in names)
