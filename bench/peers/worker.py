"""The process that holds one peer and measures it: the same loops for every library.

    ENVIRONMENT/bin/python -m bench.peers.worker

One request a line of JSON on standard input, one answer a line on what standard output was;
what libraries print goes to standard error. Arrays travel as .npy files. Imports nothing but the
standard library, numpy and the peer, as it runs in the peer's environment.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Peer, Setting, Shape, UnsupportedError, Vectors

BATCH_QUERIES = 256  # of one call in mode "batch", or all where there are fewer
CALLS_MIN = 3
SHORT_MS = 5.0  # calls that take less are gone on with, until there are enough for a p99
WARM_S_MAX = 2.0


class Session:
    """What the other side may ask; the names of these methods are the requests."""

    def __init__(self) -> None:
        self._peer: Peer | None = None
        self._case: Path | None = None
        self._queries: Vectors = []
        self._ring: Vectors = []
        self._batch = 0

    @property
    def peer(self) -> Peer:
        if self._peer is None:
            raise RuntimeError("start comes first")
        return self._peer

    def start(
        self,
        module: str,
        kind: str,
        options: Mapping[str, Any],
        folder: str,
        shape: Mapping[str, Any],
        requirements: Sequence[str] = (),
    ) -> dict[str, str]:
        """Make the peer; nothing is stored yet. The versions of what pip installed for it."""
        made = getattr(importlib.import_module(f"bench.peers.{module}"), kind)
        self._peer = made(Path(folder), Shape(**shape), **options)
        names = [requirement.partition("==")[0] for requirement in requirements]
        return {name: version(name) for name in names}

    def case(self, folder: str) -> None:
        """Say where the vectors and queries lie (see bench.cases)."""
        self._case = Path(folder)
        self._queries = load_vectors(self._case, "queries")
        self._batch = min(BATCH_QUERIES, len(self._queries))
        # The first again after the last, so that any batch is a slice.
        self._ring = joined(self._queries, self._queries[: self._batch - 1])

    def create(self) -> None:
        self.peer.create()

    def insert(
        self,
        source: str,
        start: int,
        stop: int,
        batch: int,
        first: int | None = None,
        *,
        new: bool = False,
    ) -> dict[str, Any]:
        """Insert rows [start, stop) of an array of the case as rows `first` and on.

        With `new`, none of them is there.
        """
        assert self._case is not None
        vectors = load_vectors(self._case, source)
        marks = np.load(self._case / "marks.npy")
        move = 0 if first is None else first - start
        spent = []
        for at in range(start, stop, batch):
            rows = np.arange(at, min(at + batch, stop))
            part = copied(vectors[rows[0] : rows[-1] + 1])
            begun = time.perf_counter()
            self.peer.insert(rows + move, part, marks[(rows + move) % len(marks)], new=new)
            spent.append((time.perf_counter() - begun) * 1e3)
        return {"seconds": sum(spent) / 1e3, "batch_ms": spent}

    def finish(self) -> dict[str, Any]:
        begun = time.perf_counter()
        self.peer.finish()
        return {"seconds": time.perf_counter() - begun}

    def open(self) -> dict[str, Any]:
        begun = time.perf_counter()
        self.peer.open()
        self.peer.cold = True
        return {"seconds": time.perf_counter() - begun}

    def delete(self, rows: list[int]) -> dict[str, Any]:
        begun = time.perf_counter()
        self.peer.delete(np.array(rows, dtype=np.int64))
        return {"seconds": time.perf_counter() - begun}

    def settings(self) -> list[Setting]:
        return [dict(setting) for setting in self.peer.settings()]

    def find(
        self,
        setting: Setting,
        limit: int,
        out: str,
        below: int | None = None,
        count: int | None = None,
        *,
        warm: bool = True,
    ) -> dict[str, Any]:
        """The rows found for the case's queries, saved to `out`: int64 [Q, limit].

        With `warm`, what is made at the first search of a setting is not in the seconds.
        """
        queries = self._queries[:count] if count else self._queries
        self.peer.prepare(setting, self.peer.shape.threads)
        if warm:
            self._warm(limit, setting, below)
            self._first(queries, limit, setting, below)
        begun = time.perf_counter()
        found = [
            self.peer.search(queries[at : at + BATCH_QUERIES], limit, setting, below)
            for at in range(0, len(queries), BATCH_QUERIES)
        ]
        seconds = time.perf_counter() - begun
        np.save(out, np.concatenate(found))
        return {"seconds": seconds, "queries": len(queries)}

    def _warm(self, limit: int, setting: Setting, below: int | None) -> None:
        """Search for every query, as long as it does not take long, where the peer is cold."""
        begun = time.perf_counter()
        for place in range(len(self._queries) if self.peer.cold else 0):
            self.peer.search(self._queries[place : place + 1], limit, setting, below)
            if time.perf_counter() - begun > WARM_S_MAX:
                break
        self.peer.cold = False

    def _first(self, queries: Vectors, limit: int, setting: Setting, below: int | None) -> None:
        """Search for one query, and for a batch too where that does not take long."""
        begun = time.perf_counter()
        self.peer.search(queries[:1], limit, setting, below)
        if (time.perf_counter() - begun) * BATCH_QUERIES < WARM_S_MAX:
            self.peer.search(queries[:BATCH_QUERIES], limit, setting, below)

    def time(  # noqa: PLR0917 - a request has as many parts
        self,
        setting: Setting,
        limit: int,
        batch: bool,
        threads: int,
        seconds: float,
        below: int | None = None,
        offset: int = 0,
        least: int = 0,
    ) -> dict[str, Any]:
        """Searches for some seconds: by `threads` threads, the process tied to as many cores.

        One query a call, from that many callers, each search with one thread; or with `batch`
        BATCH_QUERIES of them, from one caller, by the threads of the library. Begins with the
        queries of call `offset`; the first come again after the last. Of one query a call, there
        are at least `least` calls where each takes less than SHORT_MS. Returns queries a second,
        the number of calls, and of one query a call the ms of each.
        """
        tie(threads)
        self.peer.prepare(setting, threads if batch else 1)
        self._warm(limit, setting, below)
        step = self._batch if batch else 1

        def call(turn: int) -> int:
            at = turn * step % len(self._queries)
            self.peer.search(self._ring[at : at + step], limit, setting, below)
            return step

        # What is made at the first search of a setting is not its speed.
        call(offset - 1)
        callers = 1 if batch else threads
        done, spent, elapsed = run_callers(call, callers, seconds, offset, 0 if batch else least)
        tie(os.cpu_count() or 1)
        answer: dict[str, Any] = {"qps": done / elapsed, "calls": len(spent)}
        if not batch:
            answer["ms"] = spent
        return answer

    def measure(self) -> dict[str, Any]:
        """Memory of this process, and disk of the folder, in bytes."""
        return memory_of() | {"disk": allocated(self.peer.folder)}

    def close(self) -> None:
        self.peer.close()


def run_callers(
    call: Callable[[int], int], callers: int, seconds: float, offset: int = 0, least: int = 0
) -> tuple[int, list[float], float]:
    """Queries done, ms of each call, and the seconds they took.

    Args:
        call: is given the number of the turn, `offset` and on, and says how many queries it did.
        callers: threads, which share the turns.
        seconds: how long.
        offset: the first turn.
        least: calls to go on for, as long as they take less than SHORT_MS each.
    """
    spent: list[list[float]] = [[] for _ in range(callers)]
    done = [0] * callers
    failed: list[BaseException] = []
    own = -(-least // callers)
    now = time.perf_counter()
    stop, stop_short = now + seconds, now + own * SHORT_MS / 1e3

    def more(calls: int) -> bool:
        now = time.perf_counter()
        return now < stop or calls < CALLS_MIN or (calls < own and now < stop_short)

    def loop(caller: int) -> None:
        turn = offset + caller
        try:
            while more(len(spent[caller])):
                begun = time.perf_counter()
                done[caller] += call(turn)
                spent[caller].append((time.perf_counter() - begun) * 1e3)
                turn += callers
        except BaseException as error:  # given to the thread that asked
            failed.append(error)

    begun = time.perf_counter()
    threads = [threading.Thread(target=loop, args=(caller,)) for caller in range(1, callers)]
    for thread in threads:
        thread.start()
    loop(0)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(done), [each for part in spent for each in part], time.perf_counter() - begun


def tie(cores: int) -> None:
    """Tie every thread of this process to the first cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), range(cores))
        except OSError:
            continue  # a thread that has ended meanwhile


def load_vectors(folder: Path, name: str) -> Vectors:
    """Vectors of a case: float32 [N, D], mapped; or a list where there are lengths."""
    values = np.load(folder / f"{name}.npy", mmap_mode="r")
    lengths = folder / f"{name}.lengths.npy"
    if not lengths.exists():
        return np.asarray(values)
    return np.split(np.asarray(values), np.cumsum(np.load(lengths))[:-1])


def joined(first: Vectors, second: Vectors) -> Vectors:
    """The vectors of both, in the same form."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, np.asarray(second)])
    return [*first, *second]


def copied(vectors: Vectors) -> Vectors:
    """The same vectors, read: what maps a file would be read while something else is timed."""
    if isinstance(vectors, np.ndarray):
        return np.array(vectors)
    return [np.array(each) for each in vectors]


def memory_of(process: int | str = "self") -> dict[str, int]:
    """Resident bytes of a process, of this one by default, and those not of mapped files."""
    names = {"VmRSS": "rss", "RssAnon": "anon"}
    found = {}
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in names:
            found[names[name]] = int(value.split()[0]) << 10
    return found


def allocated(folder: Path) -> int:
    """Bytes that the files of a folder take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    session = Session()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            method = getattr(session, request.pop("do"))
            answer: dict[str, Any] = {"answer": method(**request)}
        except UnsupportedError as error:
            answer = {"unsupported": str(error)}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also what a library in Rust raises when it panics
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
