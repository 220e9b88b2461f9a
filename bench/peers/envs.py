"""Throw-away virtual environments, one for each library, as their dependencies clash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.base import Environment

NUMPY = "numpy>=1.26,<3"
INSTALL_S_MAX = 1800  # some want three gigabytes of torch
DONE = "installed"


class EnvironmentFailedError(Exception):
    """An environment cannot be made; the text is the last line of what pip said."""


def folder() -> Path:
    """Where environments are kept: $VECSTORE_BENCH_CACHE, else the user's cache."""
    root = os.environ.get("VECSTORE_BENCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vecstore-bench"
    return Path(root) if root else base


def python_of(environment: Environment) -> str:
    """The interpreter of an environment, which is made first where it is not there.

    Raises:
        EnvironmentFailedError: pip could not install what is required.
    """
    if not environment.requirements:
        return sys.executable
    wanted = "\n".join((sys.version, NUMPY, *environment.requirements))
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    place = folder() / "environments" / f"{environment.name}-{digest}"
    python = place / "bin" / "python"
    if not (place / DONE).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(place)])
        _run([str(python), "-m", "pip", "install", "--quiet", NUMPY, *environment.requirements])
        (place / DONE).touch()
    return str(python)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_S_MAX
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailedError(f"not installed after {INSTALL_S_MAX} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        wrong = [line for line in said if line.startswith("ERROR")] or said or ["no word"]
        raise EnvironmentFailedError(wrong[-1])
