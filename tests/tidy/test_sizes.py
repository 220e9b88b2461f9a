"""Small enough to read: files and functions have a longest length."""

from __future__ import annotations

import ast

from tests.tidy.tree import expect_none, functions, place, written_files

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def test_files_are_short() -> None:
    """No source file is longer than 400 lines."""
    long = [
        f"{place(path)}: {lines} lines"
        for path in written_files(".py", ".pyi", ".cpp", ".h", ".proto")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    ]
    expect_none(long)


def test_functions_are_short() -> None:
    """No Python function is longer than 60 lines, its docstring not counted."""
    long = [
        f"{place(path, function.lineno)}: {function.name} has {lines} lines"
        for path in written_files(".py")
        for function in functions(path)
        if (lines := _body_lines(function)) > FUNCTION_LINES_MAX
    ]
    expect_none(long)


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, less those of the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines
