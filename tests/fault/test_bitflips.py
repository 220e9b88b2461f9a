"""A database with a damaged byte anywhere says so or answers as before, and can be repaired.

One place of each kind by default; thousands where VECSTORE_FAULT is "full".
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fault.damage import Flip, build, places

FULL = os.environ.get("VECSTORE_FAULT") == "full"
PROCESSES = 2


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that is damaged."""
    path = tmp_path_factory.mktemp("sound") / "database"
    build(path)
    return path


def try_places(mode: str, sound: Path, flips: list[Flip], folder: Path) -> dict[int, str]:
    """The outcome of each place, tried in processes of their own; "crash" where one died."""

    def share(first: int) -> dict[int, str]:
        own = folder / str(first)
        own.mkdir()
        shutil.copytree(sound, own / "database")
        (own / "places.json").write_text(json.dumps(flips))
        return _try_share(mode, own / "database", first, len(flips))

    with ThreadPoolExecutor(PROCESSES) as pool:
        return {
            key: value for part in pool.map(share, range(PROCESSES)) for key, value in part.items()
        }


def _try_share(mode: str, path: Path, first: int, count: int) -> dict[int, str]:
    outcomes: dict[int, str] = {}
    while first < count:
        command = [sys.executable, "-m", "tests.fault.outcomes", mode, str(path)]
        command += [str(first), str(PROCESSES)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        tried = -1
        for line in done.stdout.splitlines():
            word, number, *rest = line.split(" ", 2)
            tried = int(number)
            if word == "did":
                outcomes[tried] = rest[0]
        if done.returncode == 0:
            break
        assert tried >= first, done.stderr
        outcomes[tried] = f"crash: {done.returncode}: {done.stderr[-500:]}"
        first = tried + PROCESSES
    return outcomes


def figures(outcomes: dict[int, str]) -> str:
    """How many there are of each outcome."""
    counts = Counter(outcome.partition(":")[0] for outcome in outcomes.values())
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def test_damage_is_found_or_harmless(
    sound: Path, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Wherever a bit flips or a file is cut or gone, no answer differs and no process dies."""
    flips = places(sound, full=FULL)
    outcomes = try_places("ask", sound, flips, tmp_path)
    say(f"damaged places asked: {len(outcomes)}: {figures(outcomes)}")
    assert len(outcomes) == len(flips)
    wrong = {flips[key]: text for key, text in outcomes.items() if ":" in text}
    assert not wrong, wrong


def test_damage_is_repaired(sound: Path, tmp_path: Path, say: Callable[[str], None]) -> None:
    """After a repair, check finds nothing, and each record not listed as lost is as it was."""
    flips = places(sound, full=FULL)[:: 1 if FULL else 4]
    outcomes = try_places("repair", sound, flips, tmp_path)
    say(f"damaged places repaired: {len(outcomes)}: {figures(outcomes)}")
    assert len(outcomes) == len(flips)
    wrong = {flips[key]: text for key, text in outcomes.items() if ":" in text}
    assert not wrong, wrong
