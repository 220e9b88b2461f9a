"""A server that is killed loses nothing that it acknowledged to a client."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.fault.test_kill import check_batches
from tests.fault.writer import DIM, ROWS, vectors_of
from vecstore.errors import UnavailableError

ROUNDS = 3
SCHEMA = vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["bits1", "float16"])])


def write_and_kill(path: Path, first: int, seconds: float) -> int:
    """Write batches to a server that is killed after some seconds; the last one it answered."""
    command = [sys.executable, "-m", "vecstore_server", str(path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = server.stderr.readline().split(" at ")[1].strip()
        reader = threading.Thread(target=server.stderr.read)  # else the pipe fills up
        reader.start()
        with vs.connect(address) as db:
            if "items" not in db.collections():
                db.create_collection("items", SCHEMA)
            items = db.collection("items")
            killer = threading.Timer(seconds, server.kill)
            killer.start()
            batch = first
            with pytest.raises(UnavailableError):
                while True:
                    ids = [*range(10), *(f"{batch}-{row}" for row in range(ROWS - 10))]
                    items.upsert(ids, vectors_of(batch), [{"batch": batch}] * ROWS)
                    batch += 1
                    if batch % 20 == 0:
                        items.flush()
            killer.join()
        reader.join()
    return batch - 1


@pytest.mark.parametrize("message_bytes", [1 << 20, 2_000], ids=["messages", "streams"])
def test_a_killed_server_loses_nothing_acknowledged(
    message_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[str], None],
) -> None:
    """After each kill, every batch that was acknowledged over the wire is there, whole."""
    monkeypatch.setattr(vs.options, "REQUEST_BYTES_TARGET", message_bytes)
    newest = -1
    for seconds in np.random.default_rng(8).uniform(0.02, 0.2, ROUNDS):
        last = write_and_kill(tmp_path, newest + 1, float(seconds))
        if last >= 0:
            newest = check_batches(tmp_path, last)
    assert newest >= ROUNDS
    say(f"kill -9 of a server: {ROUNDS} rounds, {newest + 1:,} batches, 0 lost")
