"""Two runs of benchmarks are compared by what their rows and columns mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import compare, results
from bench.measure import Interval, Table
from bench.results import Result
from tests.unit.bench_runs import ann, result


def compared(
    old: Result, new: Result, tolerance: float = 0.1, *, force: bool = False
) -> compare.Comparison:
    """What compare says of two runs of one suite."""
    return compare.compared({old.suite: old}, {new.suite: new}, tolerance, force=force)


@pytest.mark.parametrize(
    ("column", "old", "new", "worse"),
    [
        ("q/s 1 thread", 100.0, 89.0, True),
        ("q/s 1 thread", 100.0, 91.0, False),
        ("q/s 1 thread", 100.0, 500.0, False),
        ("p50 ms", 10.0, 12.0, True),
        ("p99 ms", 10.0, 12.0, False),
        ("p99 ms", 10.0, 12.1, True),
        ("p95 ms", 10.0, 11.9, False),
        ("p99 ms", Interval(10.0, 9.9, 10.1), Interval(12.0, 11.9, 12.1), True),
        ("p99 ms", Interval(10.0, 9.0, 12.0), Interval(11.9, 11.0, 13.0), False),
        ("p99 ms", 10.0, 5.0, False),
        ("disk B/vector", 100.0, 111.0, True),
        ("build rows/s", 100.0, 80.0, True),
        ("build s", 10.0, 12.0, True),
        ("gone", 0, 1, True),
        ("flips", 0.0, 0.005, False),
        ("flips", 0.0, 0.02, True),
        ("worst tenth", 0.9, 0.88, True),
        ("recall", Interval(0.97, 0.96, 0.98), Interval(0.94, 0.93, 0.95), True),
        ("recall", Interval(0.97, 0.93, 0.98), Interval(0.955, 0.92, 0.96), False),
        ("recall", Interval(0.97, 0.93, 0.98), Interval(0.94, 0.92, 0.95), True),
        ("recall", Interval(0.97, 0.965, 0.98), Interval(0.955, 0.95, 0.96), True),
        ("q/s 1 thread", Interval(100.0, 10.0, 200.0), Interval(81.0, 9.0, 90.0), False),
        ("q/s 1 thread", Interval(100.0, 10.0, 200.0), Interval(79.0, 9.0, 190.0), True),
        ("q/s 1 thread", Interval(100.0, 10.0, 200.0), 85.0, True),
        ("same hits", True, False, True),
        ("same hits", False, True, False),
        ("torn", False, True, True),
        ("torn", True, False, False),
        ("vecstore x, batch2", Interval(2.0, 1.9, 2.1), Interval(1.0, 0.9, 1.1), True),
        ("nDCG@10", 0.64, 0.66, False),
        ("x fresh", 1.0, 2.0, False),
        ("faiss ms", 1.0, 2.0, False),
        ("rounds", 10, 5, False),
    ],
)
def test_compare_knows_what_is_worse(column: str, old: Any, new: Any, *, worse: bool) -> None:
    """By the name of a column, past the tolerance, and outside the intervals."""
    tables = [Table("t", "Title", [{"peer": "a", column: value}]) for value in (old, new)]
    found = compared(result(tables[0]), result(tables[1]))
    assert bool(found.worse) == worse
    assert not found.unjudged


def test_compare_matches_rows_by_texts_and_sizes() -> None:
    """Rows may be in another order and of another setting; what tells them apart must agree."""
    rows = [
        {"peer": "a", "setting": "n 1", "rows": 10, "p50 ms": 1.0, "error": ""},
        {"peer": "a", "setting": "n 1", "rows": 20, "p50 ms": 2.0, "error": ""},
    ]
    again = [row | {"setting": "n 2"} for row in reversed(rows)]
    found = compared(result(Table("t", "Title", rows)), result(Table("t", "Title", again)))
    assert (found.worse, found.missing, found.compared) == ([], [], 2)
    slower = [again[0], again[1] | {"p50 ms": 1.5}]
    found = compared(result(Table("t", "Title", rows)), result(Table("t", "Title", slower)))
    assert found.worse == ["ann, t, a rows 10: p50 ms 1 -> 1.5"]


def test_compare_keeps_settings_apart_where_a_peer_has_several() -> None:
    """In a table of every setting, a row is compared with that of the same setting."""
    rows = [
        {"peer": "a", "setting": setting, "recall": recall, "q/s": 9.0}
        for setting, recall in (("n 1", 0.5), ("n 2", 0.9))
    ]
    found = compared(
        result(Table("ann-1k-curve", "", rows)), result(Table("ann-1k-curve", "", rows[1:]))
    )
    assert found.missing == ["ann, ann-1k-curve, a n 1: no such row"]
    assert not found.worse
    slower = [row | {"q/s": 1.0} for row in rows]
    found = compared(
        result(Table("ann-1k-curve", "", rows)), result(Table("ann-1k-curve", "", slower))
    )
    assert (found.worse, found.compared) == ([], 2)


def test_compare_lists_errors_bars_and_what_is_missing() -> None:
    """A new error and a bar that is met no longer are worse; what is not there is missing."""
    bars = [{"bar": "fast", "figure": 2.0, "wanted": "> 1", "met": "yes"}]
    old = result(
        Table("t", "Title", [{"peer": "a", "q/s": 1.0, "error": ""}, {"peer": "b", "q/s": 1.0}]),
        Table("ann-bars", "Bars", bars),
        Table("u", "Title", []),
    )
    new = result(
        Table("t", "Title", [{"peer": "a", "q/s": None, "error": "broke"}, {"peer": "b"}]),
        Table("ann-bars", "Bars", [bars[0] | {"met": "NO"}]),
        error="ValueError: no",
    )
    found = compared(old, new)
    assert found.worse == [
        "ann: ended early: ValueError: no",
        "ann, t, a: broke",
        "ann, ann-bars, fast: met no longer",
    ]
    assert found.missing == ["ann, t, b: q/s is not there", "ann, u: no such table"]


def test_compare_takes_figures_beside_an_error() -> None:
    """A row of which one mode failed is compared in the others, and what it lacks is missing."""
    row = {"peer": "a", "recall": 0.9, "q/s 1 thread": 9.0, "q/s 2 threads": 9.0, "error": ""}
    partly = row | {"q/s 1 thread": 1.0, "q/s 2 threads": None, "error": "single2: broken"}
    old, new = result(Table("t", "", [row])), result(Table("t", "", [partly]))
    found = compared(old, new)
    assert found.worse == ["ann, t, a: q/s 1 thread 9 -> 1"]
    assert found.missing == ["ann, t, a: q/s 2 threads is not there"]
    back = compared(new, old)
    assert (back.worse, back.missing, back.compared) == ([], [], 2)


def test_within_lists_intervals_that_do_not_overlap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of the same code agree where all intervals have a part in common, and ends so."""

    def speed(low: float, high: float) -> Result:
        row = {"peer": "a", "setting": f"n {low}", "recall": Interval(0.9, 0.8, 1.0)}
        return result(Table("ann-1k-95", "", [row | {"q/s 1 thread": Interval(low, low, high)}]))

    for name, found in (("old", speed(1, 3)), ("same", speed(2, 4)), ("off", speed(4, 5))):
        results.write(tmp_path / name, found)
    paths = {path.name: str(path) for path in tmp_path.iterdir()}
    assert compare.main(["--within", paths["old"], paths["same"]]) == 0
    assert compare.main(["--within", paths["old"], paths["off"]]) == 1
    said = capsys.readouterr().out
    assert "2 figures compared, 1 lie outside" in said
    assert "outside: ann, ann-1k-95, a: q/s 1 thread 1.0000 [1.000, 3.000] and 4.0000" in said


def failed(peer: str, **others: Any) -> dict[str, Any]:
    """A row of an error as suites give it: nothing else is known."""
    nothing = {"state": None, "setting": "-", "q/s": None}
    return {"peer": peer} | nothing | others | {"error": "Killed"}


def test_compare_finds_errors_by_peer_and_sizes() -> None:
    """The row of an error lacks the texts of the rows it stands for, and is found all the same."""
    rows = [
        {"peer": peer, "state": state, "setting": "n 1", "rows": rows, "q/s": 9.0, "error": ""}
        for peer in ("a", "b")
        for rows in (10, 20)
        for state in ("built", "fresh")
    ]
    left = [row for row in rows if (row["peer"], row["rows"]) != ("a", 20)]
    new = [*left, failed("a", rows=20)]
    found = compared(result(Table("t", "", rows)), result(Table("t", "", new)))
    assert found.worse == [f"ann, t, a {state} rows 20: Killed" for state in ("built", "fresh")]
    assert (found.missing, found.compared) == ([], 6)
    without_sizes = [row for row in rows if row["peer"] == "b"] + [failed("a")]
    found = compared(result(Table("t", "", rows)), result(Table("t", "", without_sizes)))
    assert len(found.worse) == 4
    back = compared(result(Table("t", "", new)), result(Table("t", "", rows)))
    assert (back.worse, back.missing) == ([], [])


@pytest.mark.parametrize("subject", ["peer", "codec", "bar"])
def test_compare_counts_what_vecstore_has_no_more(subject: str) -> None:
    """A row, figure or bar of vecstore that is gone is worse; that of a peer is missing."""
    own: dict[str, Any] = {subject: "vecstore bits2", "state": "built", "q/s": 9.0}
    if subject == "bar":
        own |= {"met": "yes"}
    other = {"peer": "faiss", "state": "built", "q/s": 9.0}
    old = result(Table("t", "", [own, other]))
    found = compared(old, result(Table("t", "", [other])))
    assert found.worse == ["ann, t, vecstore bits2 built: no such row"]
    found = compared(old, result(Table("t", "", [own])))
    assert (found.worse, found.missing) == ([], ["ann, t, faiss built: no such row"])
    found = compared(old, result(Table("t", "", [own | {"q/s": None}, other])))
    assert found.worse == ["ann, t, vecstore bits2 built: q/s is not there"]
    found = compared(old, result(Table("v", "", [own, other])))
    assert found.worse == ["ann, t: no such table"]
    if subject == "bar":
        unmeasured = [own | {"met": "not measured"}, other]
        found = compared(old, result(Table("t", "", unmeasured)))
        assert found.worse == ["ann, t, vecstore bits2 built: measured no longer"]
        fewer = result(Table("t", "", [other]))
        fewer.run["peers"] = "vecstore"
        assert compared(old, fewer).missing == ["ann, t, vecstore bits2 built: no such row"]


def test_compare_with_ours_leaves_out_peers() -> None:
    """Peers and codecs of others may get slower, or go; vecstore may not."""
    rows = [
        {name: f"{of} x", "q/s": 9.0} for name in ("peer", "codec") for of in ("faiss", "vecstore")
    ]
    old = {"ann": result(Table("t", "", rows))}
    slow = {"ann": result(Table("t", "", [row | {"q/s": 1.0} for row in rows]))}
    assert len(compare.compared(old, slow).worse) == 4
    assert [line.split(":")[0] for line in compare.compared(old, slow, ours=True).worse] == [
        "ann, t, vecstore x",
        "ann, t, vecstore x",
    ]


@pytest.mark.parametrize(
    ("about", "name", "value"),
    [
        *(("run", "rows", 6), ("run", "quick", True), ("run", "sets", "scifact")),
        *(("machine", "cpu", "y"), ("machine", "cores", 8)),
    ],
)
def test_compare_refuses_runs_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], about: str, name: str, value: object
) -> None:
    """Other rows, another kind of run or another machine are not compared without --force."""
    old, new = ann(800.0), ann(1.0)
    setattr(new, about, {**getattr(new, about), name: value})
    results.write(tmp_path / "old", old)
    results.write(tmp_path / "new", new)
    paths = [str(tmp_path / "old"), str(tmp_path / "new")]
    assert compare.main(paths) == 1
    said = capsys.readouterr().out
    assert f"NOT COMPARED: ann: {name} " in said
    assert "0 figures compared, 0 got worse" in said
    assert compare.main([*paths, "--force"]) == 1
    assert "q/s 1 thread 800 -> 1" in capsys.readouterr().out
    results.write(tmp_path / "new", ann(800.0))
    assert compare.main(paths) == 0


def test_compare_reads_folders_and_tells_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal runs end with 0 and worse ones with 1; with --ours a peer may be worse."""
    for name, speed in (("old", 800.0), ("same", 790.0), ("slow", 500.0)):
        results.write(tmp_path / name, ann(speed))
    results.write(tmp_path / "other", result(Table("t", "", [{"a": 1}]), suite="serve"))
    paths = {path.name: str(path) for path in tmp_path.iterdir()}
    assert compare.main([paths["old"], paths["same"]]) == 0
    assert compare.main([paths["old"], paths["slow"]]) == 1
    assert "worse: ann, ann-1000k-95, vecstore: q/s 1 thread 800 -> 500" in capsys.readouterr().out
    assert compare.main([paths["old"], paths["slow"], "--tolerance", "0.5"]) == 0
    assert compare.main([paths["old"], paths["other"]]) == 1
    assert "no figures in common" in capsys.readouterr().out
    content = json.loads((tmp_path / "old" / "ann.json").read_text(encoding="utf-8"))
    content["ann-1000k-95"]["rows"][1]["q/s 1 thread"] = 1.0
    (tmp_path / "peer.json").write_text(json.dumps(content), encoding="utf-8")
    assert compare.main([paths["old"], str(tmp_path / "peer.json")]) == 1
    assert compare.main([paths["old"], str(tmp_path / "peer.json"), "--ours"]) == 0
