"""The wire code is what `make proto` makes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, expect_none

GENERATOR_VERSION = "1.76.0"


def test_wire_code_is_generated(tmp_path: Path) -> None:
    """The committed wire code equals what the pinned generator makes of the .proto files."""
    try:
        installed = version("grpcio-tools")
    except PackageNotFoundError:
        installed = "none"
    if installed != GENERATOR_VERSION:
        pytest.skip(f"needs grpcio-tools {GENERATOR_VERSION}; installed: {installed}")
    source = ROOT / "proto"
    protos = [str(path) for path in sorted(source.glob("vecstore_proto/v1/*.proto"))]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", *outputs, *protos]
    subprocess.run(command, check=True, capture_output=True)
    committed, made = _generated(source), _generated(tmp_path)
    names = sorted(committed.keys() | made.keys())
    expect_none(
        [f"{name}: run make proto" for name in names if committed.get(name) != made.get(name)]
    )


def _generated(folder: Path) -> dict[str, str]:
    """Generated files below a folder: name -> text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*_pb2*.py*")
        if path.suffix in {".py", ".pyi"}
    }
