"""The side that asks: one process for each peer, requests with a time limit, turns with ours."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bench.cases import Case
from bench.measure import BUILT, ROOT, versions
from bench.peers import Entry
from bench.peers.base import Setting
from bench.peers.envs import EnvironmentFailedError, python_of
from vecstore.types import Int64

SAID_CHARACTERS = 300
READ_BYTES = 1 << 16
BUILD_S_MAX = 3600  # of a million rows; more have more in proportion
CALL_S_MAX = 600
CALLS_LEAST = 200  # in all rounds, behind percentiles of one query a call
PAUSE_S = 0.02  # before calls are timed, for threads of the one before to fall asleep
ENDING_S_MAX = 10  # for a process that has closed its answers to end
INSERT_ROWS = 10_000
# What a library reads at import: threads that spin after a call would take the cores of the next.
QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class PeerFailedError(Exception):
    """A peer could not do what was asked; the text goes into the table.

    Attributes:
        peer: its name, as peers that take turns may fail for each other; "" where none ran.
    """

    def __init__(self, said: str, peer: str = "") -> None:
        super().__init__(said)
        self.peer = peer


class Worker:
    """A peer in a process of its own, which is killed at the end if it has not ended."""

    def __init__(self, entry: Entry, case: Case, folder: Path, threads: int) -> None:
        """Start the process and make the peer in `folder`, empty or left by the same peer.

        Raises:
            PeerFailedError: its library cannot be installed or loaded.
        """
        self.name = entry.known.name
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log")
        self._made = (entry, case, threads)
        self._launch()

    def _launch(self) -> None:
        entry, case, threads = self._made
        try:
            python = python_of(entry.environment)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._process = self._spawned(python, entry)
        except EnvironmentFailedError as error:
            raise PeerFailedError(f"not installed: {error}", self.name) from None
        except OSError as error:
            raise PeerFailedError(f"not started: {error}", self.name) from None
        try:
            self._start(entry, case, threads)
        except BaseException:
            self.kill()
            raise

    def _spawned(self, python: str, entry: Entry) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
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

    def _start(self, entry: Entry, case: Case, threads: int) -> None:
        found = self.ask(
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
            requirements=list(entry.environment.requirements),
        )
        versions.update(found)
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

    def restart(self) -> None:
        """End the process, and open what it stored in a new one.

        Raises:
            PeerFailedError: that failed, or the peer cannot be opened again.
        """
        self.kill()
        self._launch()
        self.ask("open")

    def ask(self, do: str, *, limit_s: float = CALL_S_MAX, **arguments: Any) -> Any:
        """The answer to one request: a method of worker.Session.

        Raises:
            PeerFailedError: the library raised, cannot do it, ended, or took longer than `limit_s`.
        """
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise self._failed(f"{do}: the process has ended")
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed(f"{do}: {self._ending()}") from None
        line = self._line(limit_s)
        if line is None:
            self.kill()
            raise self._failed(f"{do}: stopped after {limit_s:.0f} s")
        if not line.endswith(b"\n"):
            raise self._failed(f"{do}: {self._ending()}")
        try:
            answer = json.loads(line)
        except ValueError:
            self.kill()  # whose answer the next line would be is not known
            raise self._failed(f"{do}: no JSON: {line[:SAID_CHARACTERS]!r}") from None
        if "unsupported" in answer:
            raise self._failed(answer["unsupported"])
        if "error" in answer:
            raise self._failed(f"{do}: {answer['error'][:SAID_CHARACTERS]}")
        return answer["answer"]

    def _line(self, limit_s: float) -> bytes | None:
        """What the process says up to the end of a line, or up to its own; None: not in time."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        until = time.monotonic() + limit_s
        said = bytearray()
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([source], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            part = os.read(source, READ_BYTES)
            if not part:
                break
            said += part
        return bytes(said)

    def _failed(self, said: str) -> PeerFailedError:
        return PeerFailedError(said, self.name)

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
        try:
            code = self._process.wait(ENDING_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"silent, and ended by force after {ENDING_S_MAX} s"
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"ended with {code}: {said[-1][:SAID_CHARACTERS] if said else 'no word'}"

    def build(
        self, case: Case, batch: int = INSERT_ROWS, limit_s: float = BUILD_S_MAX
    ) -> dict[str, Any]:
        """Create, insert all of the case, finish. Seconds of each, memory and disk in bytes."""
        limit_s *= max(1.0, case.rows / 1e6)
        self.ask("create")
        span = {"source": "vectors", "start": 0, "stop": case.rows, "batch": batch}
        inserted = self.ask("insert", **span, new=True, limit_s=limit_s)
        finished = self.ask("finish", limit_s=limit_s)
        after = self.ask("measure")
        return {
            "insert_s": inserted["seconds"],
            "finish_s": finished["seconds"],
            "build_s": inserted["seconds"] + finished["seconds"],
            "batch_ms": inserted["batch_ms"],
            "disk": after["disk"],
            "rss": after["rss"],
            "anon": after["anon"],
        }

    def searched(self, built: Mapping[str, Any], of: str = BUILT) -> dict[str, Any]:
        """What was built, with memory as it is now, after searches: maps count once they are read.

        Args:
            built: what `build` answered.
            of: whether this process built it, or opened what another has built.
        """
        return {**built, "rss": self.ask("measure")["rss"], "RSS of": of}

    def find(
        self,
        setting: Setting,
        limit: int,
        below: int | None = None,
        count: int | None = None,
        *,
        warm: bool = True,
    ) -> tuple[Int64, float]:
        """The rows [Q, limit] found for the case's queries, and queries a second.

        These are of a pass after a first search; without `warm`, with it.
        """
        out = self.folder.with_name(f"{self.folder.name}.found.npy")
        span = {"below": below, "count": count, "warm": warm}
        done = self.ask("find", setting=setting, limit=limit, out=str(out), **span)
        rows: Int64 = np.load(out)
        return rows, done["queries"] / done["seconds"]


def beside(anchor: Worker, measure: Callable[[], None], undo: Callable[[], None]) -> None:
    """Measure a peer by turns with another that stays; again, where it was the other that failed.

    Args:
        anchor: the other; it is opened anew where it failed, so that the next peer has it.
        measure: starts the peer, measures and ends it.
        undo: forgets what `measure` found before it failed.

    Raises:
        PeerFailedError: the peer failed, or twice the anchor, which is said; `peer` is the name of
            the anchor only where that cannot be opened.
    """
    try:
        measure()
    except PeerFailedError as error:
        if error.peer != anchor.name:
            raise
        undo()
        anchor.restart()
        try:
            measure()
        except PeerFailedError as again:
            if again.peer != anchor.name:
                raise
            undo()
            anchor.restart()
            raise PeerFailedError(f"{anchor.name} beside it: {again}") from None


def take_turns(
    asked: Sequence[tuple[Worker, dict[str, Any]]],
    rounds: int,
    least: int = CALLS_LEAST,
) -> list[list[dict[str, Any]]]:
    """The answers of some workers to "time", round after round: each meets the same noise.

    Each round goes on with the queries where that before it ended.

    Args:
        asked: workers and what they are asked: arguments of worker.Session.time.
        rounds: how often each is asked.
        least: calls of one query in all rounds, where they are short.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in asked]
    for _ in range(rounds):
        for (worker, arguments), answers in zip(asked, found, strict=True):
            go_on(worker, arguments, answers, -(-least // rounds))
    return found


def go_on(
    worker: Worker, arguments: dict[str, Any], answers: list[dict[str, Any]], least: int
) -> None:
    """Append the answer to "time" of one more round, of so many calls at least."""
    time.sleep(PAUSE_S)
    offset = sum(answer["calls"] for answer in answers)
    answers.append(worker.ask("time", offset=offset, least=least, **arguments))
