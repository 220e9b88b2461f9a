"""The documents know every command."""

from __future__ import annotations

import re

import pytest

from tests.tidy.tree import ROOT, expect_none


def test_documents_name_every_make_target() -> None:
    """README or CONTRIBUTING names each target that `make help` lists."""
    targets = re.findall(r"^([a-z]+):.*##", _text("Makefile"), re.MULTILINE)
    documents = _text("README.md") + _text("CONTRIBUTING.md")
    assert targets
    expect_none([f"make {name}" for name in targets if f"make {name}" not in documents])


def test_readme_names_every_command() -> None:
    """README names each command of `vecstore`."""
    typer = pytest.importorskip("typer", exc_type=ImportError)
    from vecstore.cli import app

    commands = list(typer.main.get_command(app).commands)
    readme = _text("README.md")
    assert commands
    expect_none([f"vecstore {name}" for name in commands if f"vecstore {name}" not in readme])


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
