"""The side that asks: one process for each peer, requests with a time limit, turns with ours."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bench.cases import Case
from bench.measure import ROOT
from bench.peers import Entry
from bench.peers.base import Setting
from bench.peers.envs import EnvironmentFailedError, python_of
from vecstore.types import Int64

SAID_CHARACTERS = 300
BUILD_S_MAX = 3600
CALL_S_MAX = 600
INSERT_ROWS = 10_000
# What a library reads at import: threads that spin after a call would take the cores of the next.
QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class PeerFailedError(Exception):
    """A peer could not do what was asked; the text goes into the table."""


class Worker:
    """A peer in a process of its own, which is killed at the end if it has not ended."""

    def __init__(self, entry: Entry, case: Case, folder: Path, threads: int) -> None:
        """Start the process and make the peer in `folder`, empty or left by the same peer.

        Raises:
            PeerFailedError: its library cannot be installed or loaded.
        """
        self.name = entry.known.name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder.with_name(f"{folder.name}.log")
        try:
            python = python_of(entry.environment)
        except EnvironmentFailedError as error:
            raise PeerFailedError(f"not installed: {error}") from None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [python, "-m", "bench.peers.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=os.environ
                | QUIET
                | dict(entry.environment.variables)
                | {"PYTHONPATH": str(ROOT)},
            )
        try:
            self._start(entry, case, threads)
        except BaseException:
            self.kill()
            raise

    def _start(self, entry: Entry, case: Case, threads: int) -> None:
        self.ask(
            "start",
            module=entry.module,
            kind=entry.known.kind,
            options=dict(entry.known.options),
            folder=str(self.folder),
            shape={
                "rows": case.rows,
                "dim": case.dim,
                "metric": case.metric,
                "threads": threads,
            },
        )
        self.ask("case", folder=str(case.folder))

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def ask(self, do: str, *, limit_s: float = CALL_S_MAX, **arguments: Any) -> Any:
        """The answer to one request: a method of worker.Session.

        Raises:
            PeerFailedError: the library raised, cannot do it, ended, or took longer than `limit_s`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            raise PeerFailedError(f"{do}: the process has ended")
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailedError(f"{do}: {self._ending()}") from None
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        if not ready:
            self.kill()
            raise PeerFailedError(f"{do}: stopped after {limit_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailedError(f"{do}: {self._ending()}")
        answer = json.loads(line)
        if "unsupported" in answer:
            raise PeerFailedError(answer["unsupported"])
        if "error" in answer:
            raise PeerFailedError(f"{do}: {answer['error'][:SAID_CHARACTERS]}")
        return answer["answer"]

    @property
    def alive(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it did not read is lost with it
                    stream.close()

    def _ending(self) -> str:
        code = self._process.wait()
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"ended with {code}: {said[-1][:SAID_CHARACTERS] if said else 'no word'}"

    def build(self, case: Case, batch: int = INSERT_ROWS) -> dict[str, Any]:
        """Create, insert all of the case, finish. Seconds of each, memory and disk in bytes."""
        self.ask("create")
        before = self.ask("measure")
        inserted = self.ask(
            "insert", source="vectors", start=0, stop=case.rows, batch=batch, limit_s=BUILD_S_MAX
        )
        finished = self.ask("finish", limit_s=BUILD_S_MAX)
        after = self.ask("measure")
        return {
            "insert_s": inserted["seconds"],
            "finish_s": finished["seconds"],
            "build_s": inserted["seconds"] + finished["seconds"],
            "batch_ms": inserted["batch_ms"],
            "disk": after["disk"],
            "held": after["held"],
            "rss": after["rss"],
            "rss_grown": after["rss"] - before["rss"],
            "anon": after["anon"],
        }

    def find(
        self, setting: Setting, limit: int, below: int | None = None, count: int | None = None
    ) -> tuple[Int64, float]:
        """The rows [Q, limit] found for the case's queries, and queries a second."""
        out = self.folder.with_name(f"{self.folder.name}.found.npy")
        done = self.ask(
            "find", setting=setting, limit=limit, out=str(out), below=below, count=count
        )
        rows: Int64 = np.load(out)
        return rows, done["queries"] / done["seconds"]


def take_turns(
    asked: Sequence[tuple[Worker, dict[str, Any]]], rounds: int, pause_s: float = 0.02
) -> list[list[dict[str, Any]]]:
    """The answers of some workers to "time", round after round: each meets the same noise.

    Args:
        asked: workers and what they are asked: arguments of worker.Session.time.
        rounds: how often each is asked.
        pause_s: before each, for threads of the one before to fall asleep.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in asked]
    for _ in range(rounds):
        for (worker, arguments), answers in zip(asked, found, strict=True):
            time.sleep(pause_s)
            answers.append(worker.ask("time", **arguments))
    return found
