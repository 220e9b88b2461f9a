"""A server in a process of its own, so that the wire is measured and not a function call."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import vecstore
from vecstore.errors import UnavailableError, VecstoreError

START_S = 60.0
STOP_S = 15.0


@contextmanager
def served(path: Path) -> Iterator[Any]:
    """A connection to a server process that holds the database in `path`, until the block ends.

    Raises:
        UnavailableError: the server did not start.
        MissingExtraError: grpcio is not installed.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(str(path), theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        with vecstore.connect(_address(ours)) as db:
            yield db
    finally:
        ours.close()  # the server stops when nobody holds the other end
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _address(pipe: Connection) -> str:
    try:
        started, text = pipe.recv() if pipe.poll(START_S) else (False, "it did not start in time")
    except EOFError:
        started, text = False, "its process ended"
    if not started:
        raise UnavailableError(f"the server of the demo does not answer: {text}")
    return str(text)


def _serve(path: str, pipe: Connection) -> None:
    """What the process runs: say the address, then serve until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this
    try:
        server = importlib.import_module("vecstore_server").serve(path, port=0)
    except VecstoreError as error:
        pipe.send((False, str(error)))
        return
    pipe.send((True, server.address))
    try:
        pipe.recv()
    except EOFError:
        server.stop()
