"""Reads a source tree: each function with a docstring is a document with one question."""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import textwrap
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
QUERY_WORDS_MIN = 3

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function and what it says about itself.

    Attributes:
        name: with its module and classes: "json.decoder.JSONDecoder.decode".
        module: "json.decoder".
        file: relative to the root, with "/".
        line: where it begins, from 1.
        lines: how many lines it has, its docstring included.
        code: its source without the docstring: the document.
        query: the first paragraph of the docstring, on one line.
        summary: the first line of the docstring.
    """

    name: str
    module: str
    file: str
    line: int
    lines: int
    code: str
    query: str
    summary: str

    @property
    def id(self) -> str:
        """Its place, "file:line"."""
        return f"{self.file}:{self.line}"


def standard_library() -> Path:
    """The folder of the standard library of this interpreter."""
    return Path(sysconfig.get_path("stdlib"))


def source_files(root: Path) -> list[Path]:
    """The Python files of a tree, sorted; not those of tests.

    A folder whose name is no identifier, such as site-packages, holds no modules of the tree.
    """
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name.isidentifier() and name not in TEST_FOLDERS]
        found += (Path(folder, name) for name in files if name.endswith(".py"))
    return sorted(found)


def read_functions(root: Path, path: Path) -> Iterator[Function]:
    """The documented functions and methods of one file, in its order; none if it cannot be read.

    Left out are functions inside functions, those that have no code besides the docstring, and
    those whose query has fewer than QUERY_WORDS_MIN words.
    """
    try:
        with tokenize.open(path) as file, warnings.catch_warnings(action="ignore"):
            source = file.read()
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError):
        return
    file_name = path.relative_to(root)
    parts = file_name.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    lines = source.splitlines()
    for name, node in _definitions(tree, module):
        docstring = ast.get_docstring(node)
        code = _code_without_docstring(node, lines) if docstring else ""
        if docstring and code:
            paragraph = re.split(r"\n\s*\n", docstring, maxsplit=1)[0]
            query = " ".join(paragraph.split())
            if len(query.split()) >= QUERY_WORDS_MIN:
                yield Function(
                    name=name,
                    module=module,
                    file=file_name.as_posix(),
                    line=node.lineno,
                    lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                    code=code,
                    query=query,
                    summary=docstring.splitlines()[0].strip(),
                )


def distinct(functions: list[Function]) -> list[Function]:
    """Those whose code and whose query have not come before: each query has one answer."""
    codes: set[str] = set()
    queries: set[str] = set()
    kept = []
    for function in functions:
        if function.code not in codes and function.query not in queries:
            kept.append(function)
        codes.add(function.code)
        queries.add(function.query)
    return kept


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Functions below a node with their full names; not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}.{child.name}", child
        elif isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{prefix}.{child.name}")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _definitions(child, prefix)


def _code_without_docstring(node: _Definition, lines: list[str]) -> str:
    """The source of a function less its docstring; empty where nothing else is in its body."""
    docstring, *body = node.body
    if all(isinstance(statement, ast.Pass) for statement in body):
        return ""
    assert docstring.end_lineno is not None
    before = lines[node.lineno - 1 : docstring.lineno - 1]
    after = lines[docstring.end_lineno : node.end_lineno]
    return textwrap.dedent("\n".join(before + after)).strip()
