"""Throw-away virtual environments, one for each library, as their dependencies clash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.base import Environment

NUMPY = "numpy>=1.26,<3"
INSTALL_S_MAX = 1800  # some want three gigabytes of torch
DONE = "installed"
SAID_CHARACTERS = 300
CONFLICT = "The conflict is caused by:\n"  # then a line for each side, and an empty one
# Environments that this process could not make, and why: each is tried once.
_failed: dict[Path, str] = {}


class EnvironmentFailedError(Exception):
    """An environment cannot be made; the text is what pip said is wrong."""


def folder() -> Path:
    """Where environments are kept: $VECSTORE_BENCH_CACHE, else the user's cache."""
    root = os.environ.get("VECSTORE_BENCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vecstore-bench"
    return Path(root) if root else base


def python_of(environment: Environment) -> str:
    """The interpreter of an environment, which is made first where it is not there.

    Raises:
        EnvironmentFailedError: pip could not install what is required, now or before in this
            process.
    """
    if not environment.requirements:
        return sys.executable
    wanted = "\n".join((sys.version, NUMPY, *environment.requirements))
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    place = folder() / "environments" / f"{environment.name}-{digest}"
    python = place / "bin" / "python"
    if place in _failed:
        raise EnvironmentFailedError(_failed[place])
    try:
        if not (place / DONE).exists():
            _make(place, python, environment.requirements)
    except EnvironmentFailedError as error:
        _failed[place] = str(error)
        raise
    except OSError as error:
        _failed[place] = f"no environment: {error}"
        raise EnvironmentFailedError(_failed[place]) from None
    return str(python)


def _make(place: Path, python: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(place)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    # Not quiet: what clashes with what is among the things that it says by the way.
    _run([*pip, "install", "--progress-bar", "off", NUMPY, *requirements])
    (place / DONE).touch()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_S_MAX
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailedError(f"not installed after {INSTALL_S_MAX} s") from None
    if done.returncode:
        raise EnvironmentFailedError(wrong(done.stdout, done.stderr))


def wrong(stdout: str, stderr: str) -> str:
    """What pip said is wrong: of versions that clash, which do; else its last error."""
    _, clash, after = stdout.partition(CONFLICT)
    if clash:
        lines = after.partition("\n\n")[0].splitlines()
        found = "versions clash: " + "; ".join(line.strip() for line in lines)
        return found[:SAID_CHARACTERS]
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith("ERROR")]
    return (errors or said or ["no word"])[-1][:SAID_CHARACTERS]
