"""Tests say what must be true."""

from __future__ import annotations

import ast

from tests.tidy.tree import expect_none, functions, place, written_files


def test_every_test_says_what_must_be_true() -> None:
    """Each test function has a docstring of one paragraph that ends like a sentence."""
    silent = [
        f"{place(path, function.lineno)}: {function.name}"
        for path in written_files(".py", under=("tests",))
        if path.name.startswith("test_")
        for function in functions(path)
        if function.name.startswith("test_") and not _is_sentence(ast.get_docstring(function))
    ]
    expect_none(silent)


def _is_sentence(docstring: str | None) -> bool:
    return docstring is not None and docstring.endswith(".") and "\n\n" not in docstring
