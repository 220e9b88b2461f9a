"""Speeds are of many calls and rounds, and recall against them is told of each peer."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import curves, databases
from bench.measure import ROOT, Interval, Settings
from bench.peers import OURS, Entry, entries
from bench.peers.base import Environment, Known
from bench.peers.drive import CALLS_LEAST, PeerFailedError, Worker
from bench.peers.worker import CALLS_MIN, run_callers
from bench.suites import ann


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are chosen in no time."""
    monkeypatch.setattr(curves, "SECONDS", 0.005)


@pytest.fixture
def ours() -> Entry:
    return next(entry for entry in entries("dense", [OURS]) if entry.known.name == OURS)


def test_turns_go_on_where_the_last_round_ended() -> None:
    """Callers share the turns from the offset on, and short calls are as many as are wanted."""
    seen: list[int] = []

    def call(turn: int) -> int:
        seen.append(turn)
        return 1

    done, spent, _ = run_callers(call, callers=2, seconds=0, offset=7, least=41)
    assert done == len(spent) == len(seen) == 42
    assert sorted(seen) == list(range(7, 49))


def test_long_calls_are_few() -> None:
    """Calls that take longer than SHORT_MS are not gone on with for the sake of their number."""

    def call(turn: int) -> int:
        time.sleep(0.02)
        return 1

    _, spent, _ = run_callers(call, callers=1, seconds=0, least=20)
    assert CALLS_MIN <= len(spent) <= 6


def test_rounds_are_pooled() -> None:
    """Percentiles are of the calls of all rounds, their brackets of single ones."""
    answers = [
        {"qps": 10.0, "calls": 2, "ms": [1.0, 1.0]},
        {"qps": 30.0, "calls": 2, "ms": [5.0, 5.0]},
        {"qps": 20.0, "calls": 4, "ms": [5.0, 5.0, 5.0, 5.0]},
    ]
    times = databases.over_rounds(answers)
    assert times["qps"] == Interval(20, 10, 30)
    assert times["p50"] == Interval(5, 1, 5)
    assert times["calls"] == 8
    assert "p50" not in databases.over_rounds([{"qps": 1.0, "calls": 1}])


class Answering:
    """A worker whose answers to "time" are known by setting and mode."""

    name = "known"

    def __init__(self, rates: dict[tuple[str, bool], float]) -> None:
        self.rates = rates
        self.asked: set[tuple[str, bool]] = set()

    def ask(self, do: str, *, setting: dict[str, str], batch: bool, **_: object) -> object:
        assert do == "time"
        key = (setting["k"], batch)
        self.asked.add(key)
        answer = {"qps": self.rates[key], "calls": 1}
        return answer if batch else answer | {"ms": [1.0]}


def point(name: str, recall: float, qps: float) -> curves.Point:
    return curves.Point({"k": name}, np.zeros((10, 1), dtype=np.int64), recall, qps)


def test_one_query_and_batches_have_settings_of_their_own() -> None:
    """Of the fastest of one pass that reach the recall, what another round finds is chosen."""
    rates = {("a", False): 9.0, ("a", True): 50.0, ("b", False): 8.0, ("b", True): 70.0}
    rates |= {("c", False): 10.0, ("c", True): 60.0}
    worker = Answering(rates)
    points = [point("low", 0.8, 999), point("d", 1.0, 3), point("a", 0.96, 80)]
    points += [point("b", 0.97, 60), point("c", 0.99, 70)]
    chosen = curves.fastest(worker, points, (0.95,))  # type: ignore[arg-type]
    assert names(chosen[0.95]) == {"single": "c", "batch": "b"}
    assert {name for name, _ in worker.asked} == {"a", "b", "c"}
    assert curves.fastest(worker, points[:1], (0.95,)) == {0.95: {}}  # type: ignore[arg-type]


def names(chosen: dict[str, curves.Point]) -> dict[str, object]:
    """The names of the settings chosen."""
    return {way: each.setting["k"] for way, each in chosen.items()}


def test_a_setting_for_a_high_recall_serves_a_lower_one() -> None:
    """Where it is the faster one when all take turns, it is chosen for both."""
    rates = {("a", False): 5.0, ("a", True): 90.0, ("b", False): 8.0, ("b", True): 70.0}
    points = [point("a", 0.92, 100), point("b", 0.99, 60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "CANDIDATES", 1)
        chosen = curves.fastest(Answering(rates), points, (0.9, 0.99))  # type: ignore[arg-type]
    assert names(chosen[0.9]) == {"single": "b", "batch": "a"}
    assert names(chosen[0.99]) == {"single": "b", "batch": "b"}


def test_rounds_go_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round every pair has its turn, the peer first; one that fails has it no more."""
    asked: list[tuple[str, str]] = []

    class Side:
        alive = True

        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, _: str, *, setting: dict[str, str], **__: object) -> dict[str, object]:
            asked.append((self.name, setting["k"]))
            if self.name == "peer" and asked.count(("peer", "b")) == 2 and setting["k"] == "b":
                raise PeerFailedError("broke", "peer")
            return {"qps": 1.0, "calls": 1}

    monkeypatch.setattr("bench.peers.drive.PAUSE_S", 0.0)
    own = point("own", 1.0, 99.0)
    slow = point("s", 1.0, 0.1)
    pairs = [curves.Pair("single", point(name, 1.0, 99.0), own) for name in ("a", "b")]
    pairs += [curves.Pair(mode, slow, own) for mode in ("batch", "batch2")]
    curves.take_pairs((Side("peer"), Side("ours")), pairs, 0.0, 3)  # type: ignore[arg-type]
    one, two, end = ("peer", "a"), ("peer", "b"), ("ours", "own")
    first = [one, end, two, end, end]
    assert asked == [*first, one, end, two, end, one, end, end]
    assert [(len(pair.theirs), len(pair.ours)) for pair in pairs] == [
        (3, 3),
        (1, 1),
        (0, 0),
        (0, 3),
    ]
    assert [pair.error for pair in pairs] == ["", "broke", "", ""]


def test_long_passes_are_not_timed_again_in_batches() -> None:
    """Where every pass was slow, batches go by the fastest of them."""
    worker = Answering({("a", False): 1.0, ("b", False): 2.0})
    points = [point("a", 1.0, 0.2), point("b", 1.0, 0.1)]
    assert points[0].slow
    chosen = curves.fastest(worker, points, (0.9,))  # type: ignore[arg-type]
    assert names(chosen[0.9]) == {"single": "b", "batch": "a"}


def test_equal_bytes_tell_speed() -> None:
    """Within each bound a peer has its best speed at each recall, and none where it has none."""

    def row(peer: str, cost: float, recall: float, rate: float) -> dict[str, object]:
        found = Interval(recall, recall, recall)
        return {"peer": peer, "disk B/vector": cost, "recall": found, "q/s": rate}

    curve = [row("a", 100, 0.96, 5), row("a", 100, 0.92, 9), row("b", 300, 0.995, 7)]
    rows = {
        (each["B/vector at most"], each["peer"]): each
        for each in curves.by_bytes(curve, (0.9, 0.95, 0.99))
    }
    assert set(rows) == {
        *(("128", "a"), ("256", "a"), ("512", "a"), ("1024", "a"), ("2048", "a")),
        *(("512", "b"), ("1024", "b"), ("2048", "b")),
    }
    one, other = rows["512", "a"], rows["512", "b"]
    assert [one[f"q/s at {at}"] for at in (0.9, 0.95, 0.99)] == [9, 5, None]
    assert [other[f"q/s at {at}"] for at in (0.9, 0.95, 0.99)] == [7, 7, 7]
    assert one["best recall"].mean == 0.96


def test_ann_measures_vecstore_alone(tmp_path: Path) -> None:
    """Without peers the suite tells vecstore's own curve, and a row at each recall."""
    settings = Settings(
        data=None, rows=600, calls=20, folder=tmp_path, peers=("vecstore",), quick=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ann, "SECONDS", 0.02)
        patch.setattr(ann, "ROUNDS", 2)
        patch.setattr(ann, "QUERIES", 20)
        found = {table.name: table for table in ann.tables(settings)}
    assert {"ann-0k-90", "ann-0k-95", "ann-0k-99", "ann-0k-curve", "ann-0k-bytes"} <= set(found)
    for target in (90, 95, 99):
        first = found[f"ann-0k-{target}"].rows[0]
        assert first["peer"] == OURS
        assert first["recall"].mean >= target / 100
        assert first["q/s 1 thread"].low <= first["q/s 1 thread"].mean
        assert 0 < first["p50 ms"].mean <= first["p99 ms"].mean
        assert first["calls"] >= CALLS_LEAST
        assert first["batch setting"]
        assert first["batch by"] == curves.TURNS
        assert first["rounds"] == 2 * 2
        assert first["batch recall"].mean >= target / 100
    others = {row["peer"] for row in found["ann-0k-95"].rows} - {OURS}
    assert others == {"vecstore-bits1", "vecstore-codes"}
    for row in found["ann-0k-95"].rows:
        assert (row["error"], row["RSS of"]) == ("", "opened")
        assert row["rounds"] == (4 if row["peer"] == OURS else 2)
        assert row["RSS B/vector"] > 0
    assert found["ann-bars"].rows == []  # these are configurations of vecstore, not rivals


def test_a_quick_run_has_the_peers_that_the_page_says() -> None:
    """Five configurations of FAISS beside vecstore."""
    found = [entry.known.name for entry in entries("dense", ann.QUICK_PEERS)]
    assert len([name for name in found if name.startswith("faiss-")]) == len(found) - 1 == 5
    assert "in `ann` five of FAISS" in (ROOT / "bench" / "README.md").read_text(encoding="utf-8")


def test_a_slow_peer_is_left_out_unless_it_is_named(ours: Entry, tmp_path: Path) -> None:
    """Its row says what it took at the size before and comes to; one that is named is built."""
    slow = dataclasses.replace(ours, known=dataclasses.replace(ours.known, name="slow", slow=True))
    settings = Settings(data=None, rows=600, calls=20, folder=tmp_path, quick=False)
    named = dataclasses.replace(settings, peers=("slow",), folder=tmp_path / "named")
    named.folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        values = {"SECONDS": 0.01, "ROUNDS": 1, "QUERIES": 20, "SIZES": (300, 600)}
        for name, value in {**values, "SLOW_ROWS_MAX": 300}.items():
            patch.setattr(ann, name, value)
        patch.setattr(ann, "asked", lambda *_: [ours, slow])
        *_, left_out = (each for each in ann.tables(settings) if each.name == "ann-0k-95")
        *_, built = (each for each in ann.tables(named) if each.name == "ann-0k-95")
    said = left_out.rows[-1]["error"]
    assert re.fullmatch(r"left out beyond 300 rows: .* s for 300 rows, in proportion .*", said)
    assert [row["error"] for row in built.rows] == ["", ""]


def test_a_failing_peer_has_its_row(ours: Entry, tmp_path: Path) -> None:
    """The error of a peer that cannot be measured stands in its row, and the others go on."""
    settings = Settings(
        data=None, rows=300, calls=20, folder=tmp_path, peers=("vecstore",), quick=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ann, "QUICK_SECONDS", 0.02)
        patch.setattr(ann, "QUICK_ROWS", 300)
        broken = Entry(Known("broken", "Nothing"), "vecstore_local", Environment("vecstore"))
        patch.setattr(ann, "asked", lambda *_: [broken, ours])
        found = {table.name: table for table in ann.tables(settings)}
    row = next(row for row in found["ann-0k-95"].rows if row["peer"] == "broken")
    assert "Nothing" in row["error"]
    assert row["recall"] is None
    bars = [row for row in found["ann-bars"].rows if "broken" in row["bar"]]
    assert [row["met"] for row in bars] == ["not measured"] * 2


def test_a_mode_that_fails_leaves_the_others(
    ours: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rival's row has what was measured and says what failed; slow batches go by one pass."""
    for name, value in {"QUICK_SECONDS": 0.02, "QUICK_ROWS": 300, "QUICK_ROUNDS": 2}.items():
        monkeypatch.setattr(ann, name, value)
    monkeypatch.setattr(curves, "PASS_S_MAX", 0.0)
    twin = dataclasses.replace(ours, known=dataclasses.replace(ours.known, name="twin"))
    monkeypatch.setattr(ann, "asked", lambda *_: [ours, twin])
    ask = Worker.ask

    def failing(self: Worker, do: str, **arguments: object) -> object:
        if self.name == "twin" and do == "time":
            assert not arguments["batch"]
            if arguments["threads"] == 2:
                raise PeerFailedError("broken", "twin")
        return ask(self, do, **arguments)

    monkeypatch.setattr(Worker, "ask", failing)
    settings = Settings(data=None, rows=300, calls=20, folder=tmp_path, quick=True)
    found = {table.name: table for table in ann.tables(settings)}
    row = next(row for row in found["ann-0k-95"].rows if row["peer"] == "twin")
    assert row["error"] == "single2: broken"
    assert row["q/s 1 thread"].mean > 0
    assert (row["q/s 2 threads"], row["batch q/s 1 thread"]) == (None, None)
    assert row["batch q/s 2 threads"] > 0
    assert row["batch by"] == curves.ONE_PASS
    assert row["vecstore x, batch2"].low <= row["vecstore x, batch2"].high
    one, batches = found["ann-bars"].rows
    assert one["met"] == "not measured"
    assert batches["met"] == ("yes" if row["vecstore x, batch2"].low > 1 else "NO")
