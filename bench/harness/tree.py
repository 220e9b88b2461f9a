"""vecstore as other interpreters of the same version can import it, and what it needs there.

A harness has an environment of its own (bench.peers.envs). Nothing is compiled for it: this
interpreter's vecstore is copied to a folder that comes first on its path.
"""

from __future__ import annotations

import importlib
import shutil
from importlib.metadata import requires
from pathlib import Path

import vecstore


def lay_tree(folder: Path) -> Path:
    """Copy the package and its compiled kernels to FOLDER/vecstore; returns FOLDER."""
    kernels = importlib.import_module("vecstore.kernels._kernels")
    assert vecstore.__file__ is not None
    assert kernels.__file__ is not None
    source, compiled = Path(vecstore.__file__).parent, Path(kernels.__file__)
    skipped = shutil.ignore_patterns("__pycache__", "*.cpp", "*.h")
    shutil.copytree(source, folder / "vecstore", ignore=skipped)
    shutil.copy(compiled, folder / "vecstore" / "kernels" / compiled.name)
    return folder


def needed() -> tuple[str, ...]:
    """What vecstore itself requires, without its extras, as pip takes it."""
    return tuple(line for line in requires("vecstore") or () if "extra ==" not in line)
