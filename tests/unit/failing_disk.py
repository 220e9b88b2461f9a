"""Run a test in a process of its own, whose disk can be made to fail under LMDB; failing_disk.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def build(folder: Path) -> Path:
    """Compile what is preloaded; skips the test where that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    target = folder / "failing_disk.so"
    flags = ["-O1", "-Wall", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-ldl"]
    subprocess.run([compiler, *flags], check=True)
    return target


def on_failing_disk(body: Callable[[Path], None]) -> Callable[[Path, Path], None]:
    """A test whose body runs in a process of its own; it needs the fixture `shim`: see `build`."""

    def test(tmp_path: Path, shim: Path) -> None:
        script = (
            "from pathlib import Path\n"
            f"from {body.__module__} import {body.__name__} as test\n"
            f"test.body(Path({str(tmp_path)!r}))\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "LD_PRELOAD": str(shim)},
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    made: Any = test
    made.__name__, made.__doc__, made.body = body.__name__, body.__doc__, body
    return test


def fail_sync(code: int, after: int = 0) -> None:
    """Make a sync of LMDB's file fail with an error, after so many that do not."""
    ctypes.CDLL(None).fail_sync(code, after)


def fail_record(code: int, stage: int) -> None:
    """Make the next write of a commit's record fail; the stages are those of failing_disk.c."""
    ctypes.CDLL(None).fail_record(code, stage)
