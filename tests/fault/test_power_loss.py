"""After a power cut at any moment, every acknowledged step is there and the database is sound.

What a process does to its files is logged (power/shim.c), replayed up to a moment on a disk that
forgets what was not synced (power/disk.py), and opened. `VECSTORE_FAULT=full` cuts after every
record of the log; by default, after some.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fault.power.disk import Disk, Record, read_log

FULL = os.environ.get("VECSTORE_FAULT") == "full"
CUTS = 25
SHIM = Path(__file__).parent / "power" / "shim.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"]
    subprocess.run(command, check=True)
    return library


def record(shim: Path, folder: Path, seed: int, *, background: bool) -> tuple[int, list[Record]]:
    """Run the workload on a new disk; the inode of its root, and what was done to it."""
    root, log, ack = folder / "root", folder / "log", folder / "ack"
    root.mkdir()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "POWER_ROOT": str(root.resolve()),
        "POWER_LOG": str(log),
        "POWER_ACK": str(ack),
    }
    flag = str(int(background))
    command = [sys.executable, "-m", "tests.fault.power.workload", str(root), str(ack), str(seed)]
    subprocess.run([*command, flag], check=True, env=environment)
    return root.stat().st_ino, read_log(log)


def write_image(disk: Disk, rng: np.random.Generator | None, folder: Path) -> None:
    """Lay what the disk kept below a new folder."""
    folder.mkdir()
    for name, data in disk.image(rng):
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("background", [False, True])
def test_power_loss(
    shim: Path, tmp_path: Path, say: Callable[[str], None], background: bool
) -> None:
    """Lost and torn images at moments all over a workload hold what was acknowledged, whole."""
    seed = 11 + background
    inode, records = record(shim, tmp_path, seed, background=background)
    assert any(b"listed" in item.data for item in records)
    assert any(item.operation == "P" for item in records)
    stride = 1 if FULL else len(records) // CUTS
    rng = np.random.default_rng(seed)
    disk = Disk(inode)
    failures: list[str] = []
    images = 0
    command = [sys.executable, "-m", "tests.fault.power.verify", str(seed)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as verifier:  # type: ignore[call-overload]
        for number, item in enumerate(records):
            disk.play(item)
            if number % stride and number + 1 < len(records):
                continue
            for torn in (False, True):
                folder = tmp_path / f"image-{number}-{torn}"
                write_image(disk, rng if torn else None, folder)
                verifier.stdin.write(f"{folder} {len(disk.acknowledged)}\n")
                verifier.stdin.flush()
                answer = verifier.stdout.readline()
                assert answer.endswith("\n"), f"opening {folder} killed the process"
                images += 1
                if answer.strip():
                    failures.append(f"{folder.name}: {answer.strip()}")
                shutil.rmtree(folder)
    say(
        f"power loss, background {background}: {len(records)} records, {images} images, "
        f"{len(failures)} unsound"
    )
    assert not failures, failures[:3]
    assert len(disk.acknowledged) == 61
