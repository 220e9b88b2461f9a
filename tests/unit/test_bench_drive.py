"""Processes that hold peers end in many ways, none of which ends the run or hangs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import cases, curves
from bench.cases import Case, dense_case
from bench.data import synthetic
from bench.measure import Settings
from bench.peers import OURS, Entry, drive, entries, envs
from bench.peers.base import Environment
from bench.peers.drive import PeerFailedError, Worker
from bench.peers.worker import copied
from bench.suites import ann

ROWS = 600


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    source = synthetic(None)
    folder = tmp_path_factory.mktemp("case")
    return dense_case(folder, "few", [source.rows(0, ROWS)], ROWS, source.queries(20))


@pytest.fixture
def ours() -> Entry:
    return next(entry for entry in entries("dense", [OURS]) if entry.known.name == OURS)


@pytest.fixture
def worker(ours: Entry, case: Case, tmp_path: Path) -> Iterator[Worker]:
    with Worker(ours, case, tmp_path / "peer", 2) as made:
        yield made


def test_half_an_answer_is_an_error(worker: Worker) -> None:
    """A process that ends within a line, or says what is no JSON, has failed."""
    worker.kill()
    for said, told in (("printf '{\"ans'", "ended with 0"), ("echo '{\"ans'", "no JSON")):
        worker._process = subprocess.Popen(
            ["sh", "-c", f"read line; {said}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with pytest.raises(PeerFailedError, match=f"settings: {told}") as caught:
            worker.ask("settings")
        assert caught.value.peer == OURS
        worker.kill()


def test_a_process_that_hangs_is_not_waited_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line is not waited for past the limit, nor an end that does not come."""
    monkeypatch.setattr(drive, "ENDING_S_MAX", 0.1)
    for said, told in (("printf '{'", "stopped after 0 s"), ("exec >&-", "ended by force")):
        worker.kill()
        worker._process = subprocess.Popen(
            ["sh", "-c", f"read line; {said}; exec sleep 60"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        begun = time.monotonic()
        with pytest.raises(PeerFailedError, match=told):
            worker.ask("settings", limit_s=0.4)
        assert time.monotonic() - begun < 10
        assert not worker.alive


def test_a_peer_is_opened_again(worker: Worker, case: Case) -> None:
    """After its process was killed, a new one finds what was stored."""
    worker.build(case)
    worker._process.kill()
    worker.restart()
    found, _ = worker.find({"plan": "exact"}, 10)
    np.testing.assert_array_equal(found, case.truth[:, :10])


def test_the_anchor_fails_for_itself() -> None:
    """An error of the anchor is not the other's: once it is begun again, twice it is said so."""
    done: list[str] = []
    anchor = SimpleNamespace(name="anchor", restart=lambda: done.append("restart"))

    def failing(times: int, peer: str) -> Callable[[], None]:
        left = iter(range(times))

        def measure() -> None:
            done.append("measure")
            if next(left, None) is not None:
                raise PeerFailedError("died", peer)

        return measure

    def undo() -> None:
        done.append("undo")

    drive.beside(anchor, failing(1, "anchor"), undo)  # type: ignore[arg-type]
    assert done == ["measure", "undo", "restart", "measure"]
    done.clear()
    with pytest.raises(PeerFailedError, match="anchor beside it: died") as caught:
        drive.beside(anchor, failing(2, "anchor"), undo)  # type: ignore[arg-type]
    assert caught.value.peer == ""
    assert done == ["measure", "undo", "restart"] * 2
    done.clear()
    with pytest.raises(PeerFailedError, match=r"^died$"):
        drive.beside(anchor, failing(1, "other"), undo)  # type: ignore[arg-type]
    assert done == ["measure"]


def test_ann_outlives_the_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vecstore's process dies beside a peer, neither has an error, and each row once."""
    for name, value in {"QUICK_SECONDS": 0.02, "QUICK_ROWS": ROWS, "QUICK_ROUNDS": 1}.items():
        monkeypatch.setattr(ann, name, value)
    own = next(entry for entry in entries("dense", [OURS]) if entry.known.name == OURS)
    twin = replace(own, known=replace(own.known, name="twin"))
    monkeypatch.setattr(ann, "asked", lambda *_: [own, twin])
    go_on, left = curves.go_on, [1]

    def dying(worker: Worker, *turn: Any) -> None:
        if worker.name == OURS and left:
            left.clear()
            worker._process.kill()
        go_on(worker, *turn)

    monkeypatch.setattr(curves, "go_on", dying)
    settings = Settings(data=None, rows=ROWS, calls=20, folder=tmp_path, quick=True)
    found = {table.name: table for table in ann.tables(settings)}
    assert not left
    for target in (90, 95, 99):
        rows = found[f"ann-0k-{target}"].rows
        assert [(row["peer"], row["error"]) for row in rows] == [(OURS, ""), ("twin", "")]
    tried = [(row["peer"], row["setting"]) for row in found["ann-0k-curve"].rows]
    assert len(tried) == len(set(tried))


def test_an_environment_that_failed_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip refused, or the system, is said at once the next time."""
    monkeypatch.setenv("VECSTORE_BENCH_CACHE", str(tmp_path))
    tried: list[Path] = []
    wrongs = iter([envs.EnvironmentFailedError("it clashes"), PermissionError(13, "denied")])

    def fails(place: Path, *_: object) -> None:
        tried.append(place)
        raise next(wrongs)

    monkeypatch.setattr(envs, "_failed", {})
    monkeypatch.setattr(envs, "_make", fails)
    for name, said in (("one", "it clashes"), ("two", "denied")):
        for _ in range(2):
            with pytest.raises(envs.EnvironmentFailedError, match=said):
                envs.python_of(Environment(name, ("a==1",)))
    assert len(tried) == 2


def test_pip_is_quoted_with_what_clashes() -> None:
    """Of versions that clash the sides are said; of other failures, the last error."""
    clash = (
        "Collecting a\n\nThe conflict is caused by:\n    a needs b<2\n    You asked for b==3\n\n"
    )
    errors = "ERROR: Cannot install a\nERROR: ResolutionImpossible: for help visit https://b\n"
    found = envs.wrong(f"{clash}To fix this you could try to:\n1. loosen", errors)
    assert found == "versions clash: a needs b<2; You asked for b==3"
    errors = (
        "ERROR: Could not find a version\nERROR: No matching distribution found for a==1\nbye\n"
    )
    assert envs.wrong("", errors) == "ERROR: No matching distribution found for a==1"
    assert envs.wrong("", "") == "no word"


def test_cases_take_their_bytes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a case has no holes that a full disk could not fill; no room is an OSError."""
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("the system cannot reserve bytes")
    path = tmp_path / "vectors.npy"
    kept = cases._room(path, (1_000, 64))
    assert path.stat().st_blocks * 512 >= kept.nbytes

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        cases._room(tmp_path / "more.npy", (1_000, 64))
    assert not (tmp_path / "more.npy").exists()


def test_inserted_rows_are_read_before_the_clock(tmp_path: Path) -> None:
    """What a peer is given is in memory, not a map of the file."""
    np.save(tmp_path / "v.npy", np.ones((4, 3), dtype=np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    part = copied(mapped[1:3])
    assert type(part) is np.ndarray
    assert part.flags.owndata
    (one,) = copied([mapped[0]])
    assert type(one) is np.ndarray
