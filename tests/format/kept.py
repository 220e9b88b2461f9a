"""The files of format version 1 that are kept, and how a new one is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "v1"
WRITE = "VECSTORE_WRITE_GOLDEN"


def write_missing(path: Path, make: Callable[[], bytes]) -> None:
    """Make a golden file that is missing, where that was asked for; else fail."""
    if path.exists():
        return
    if os.environ.get(WRITE) != "1":
        pytest.fail(f"golden file {path.name} is missing; a new one is made with {WRITE}=1")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make())
