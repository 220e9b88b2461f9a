"""Runs commands of the command line, and makes what they are run on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

import vecstore
from vecstore.cli import app
from vecstore.types import Float32

DIM = 8


def run(*arguments: object, code: int = 0) -> str:
    """What a command prints, on both streams, and that it exits with `code`."""
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    assert result.exit_code == code, result.output
    return result.output


def spawn(*arguments: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vecstore.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def vectors(count: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def write_jsonl(path: Path, items: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def make_books(path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    with vecstore.open(path) as db:
        schema = vecstore.Schema(
            vectors=(vecstore.Vector("text", DIM),), columns=(vecstore.Column("year", "int"),)
        )
        payloads = [{"year": 2000 + row, "title": f"book {row}"} for row in range(20)]
        made = db.create_collection("books", schema)
        made.upsert(range(20), vectors(20), payloads)
        made.flush()
    return path
