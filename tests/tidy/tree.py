"""The files that the tidy tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", ".github", "bench", "client", "proto", "server", "tests", "vecstore")
ROOT_SUFFIXES = {".md", ".toml", ""}
PACKAGES = (
    "vecstore",
    "proto/vecstore_proto",
    "server/vecstore_server",
    "client/vecstore_client",
)


@cache
def project_files() -> tuple[Path, ...]:
    """Every file of the project; none that a build or a test run leaves."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in ROOT_SUFFIXES]
    for folder in FOLDERS:
        found += (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return tuple(sorted(path for path in found if "__pycache__" not in path.parts))


def written_files(*suffixes: str, under: tuple[str, ...] = ("",)) -> list[Path]:
    """The files with one of the suffixes that people write: generated code is left out."""
    folders = [ROOT / folder for folder in under]
    return [
        path
        for path in project_files()
        if path.suffix in suffixes
        and "_pb2" not in path.name
        and any(path.is_relative_to(folder) for folder in folders)
    ]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a Python file, methods and nested ones too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, line: int | None = None) -> str:
    """How a finding names its place: path:line, relative to the root."""
    name = path.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"


def expect_none(found: list[str]) -> None:
    """Fail with every finding on its own line."""
    if found:
        pytest.fail("\n".join(found), pytrace=False)
