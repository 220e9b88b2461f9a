"""Results of benchmarks are kept, compared, drawn and summed up as they were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import charts, compare, plots, results
from bench.measure import Interval, Table
from bench.results import Result

PAGE = f"before\n\n{results.BEGIN}old\n{results.END}after\n"


def result(*tables: Table, suite: str = "ann", error: str = "") -> Result:
    """A result with some tables."""
    run = {"rows": results.ROWS, "calls": results.CALLS, "quick": False, "peers": "all"}
    return Result(suite=suite, machine={"cpu": "x"}, run=run, tables=[*tables], error=error)


def ann(speed: float, *, recall: Interval | None = None, error: str = "") -> Result:
    """What ann finds of two peers, at two sizes."""
    row: dict[str, Any] = {"peer": "vecstore", "setting": "plan default"}
    row |= {"recall": recall or Interval(0.96, 0.95, 0.97), "q/s 1 thread": speed}
    row |= {"p99 ms": 2.0, "disk B/vector": 870.0, "error": ""}
    other = row | {"peer": "faiss-flat", "setting": "-", "q/s 1 thread": 900.0}
    failed = dict.fromkeys(row) | {"peer": "svs-lvq", "setting": "-", "error": "CPU | too old"}
    small = Table("ann-100k-95", "small", [row | {"q/s 1 thread": 7.0}])
    large = Table("ann-1000k-95", "Recall@10 >= 0.95 over 1,000,000", [row, other, failed])
    return result(large, small, error=error)


def test_results_come_back_as_written(tmp_path: Path) -> None:
    """What is read is what was written: intervals, missing figures, errors, numpy's numbers."""
    rows = [
        {"a": "x|y", "b": Interval(1.0, 0.5, 1.5), "c": None, "d": True},
        {"a": "z", "b": np.float32(2), "c": np.int64(3), "d": float("nan")},
    ]
    results.write(tmp_path, result(Table("t", "Title", rows), error="Boom: it broke"))
    (found,) = results.read_all(tmp_path).values()
    assert (found.suite, found.error, found.machine) == ("ann", "Boom: it broke", {"cpu": "x"})
    assert found.tables[0].rows == [rows[0], {"a": "z", "b": 2.0, "c": 3, "d": None}]
    page = (tmp_path / "ann.md").read_text(encoding="utf-8")
    assert "| x\\|y | 1.0000 [0.500, 1.500] | - | yes |" in page
    assert "Boom: it broke" in page
    assert not list(tmp_path.glob("*.new"))


def test_results_refuse_what_cannot_come_back(tmp_path: Path) -> None:
    """Two tables of one name, a reserved name and a value that is no figure are refused."""
    table = Table("t", "Title", [{"a": 1}])
    with pytest.raises(ValueError, match="two tables"):
        results.write(tmp_path, result(table, table))
    with pytest.raises(ValueError, match="taken"):
        results.write(tmp_path, result(Table("run", "Title", [])))
    with pytest.raises(TypeError, match="no place"):
        results.write(tmp_path, result(Table("t", "Title", [{"a": object()}])))
    with pytest.raises(FileNotFoundError):
        results.read_all(tmp_path)


def test_summary_is_of_the_largest_data_and_the_newest_full_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README gets the fastest first, failures with their reason, and nothing else changes."""
    page = tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(results, "PAGE", page)
    root = tmp_path / "results"
    root.mkdir()
    assert results.main(["README", "--results", str(root)]) == 1
    assert page.read_text(encoding="utf-8") == PAGE
    for name, speed in (("2026-01-02", 800.0), ("2026-01-01", 1.0), ("2026-01-03-quick", 2.0)):
        results.write(root / name, ann(speed))
    partial = {"rows": 1_000, "peers": "vecstore", "quick": True, "calls": 7}
    for day, (name, value) in enumerate(partial.items(), start=4):
        other = ann(3.0)
        other.run[name] = value
        results.write(root / f"2026-01-0{day}", other)
    results.write(root / "2026-01-09", ann(4.0, error="KeyboardInterrupt"))
    for _ in range(2):
        assert results.main(["README", "--results", str(root)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n\n{results.BEGIN}")
    assert text.endswith(f"{results.END}after\n")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == [
        "| peer",
        "| ---",
        "| faiss-flat",
        "| vecstore",
    ]
    assert "| 800 |" in lines[-1]
    assert "svs-lvq (CPU | too old)" in text
    assert "over 1,000,000" in text
    assert "old\n<!--" not in text


def test_figures_page_follows_the_newest_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each marked place gets the tables of its suite, and stays where there are none."""
    marks = "<!-- figures: python -m bench.run {} -->\n\nold {}\n\n<!-- end of figures -->\n"
    page = tmp_path / "page.md"
    page.write_text(marks.format("ann", "ann") + marks.format("serve", "serve"), encoding="utf-8")
    monkeypatch.setattr(results, "FIGURES_PAGE", page)
    curve = Table("ann-1000k-curve", "too long", [{"peer": "a"}])
    results.write(tmp_path / "2026-01-01", result(Table("t", "Now", [{"a": 1}]), curve))
    (tmp_path / "2026-01-01" / "ann-recall.png").touch()
    (tmp_path / "2026-01-01" / "serve.png").touch()
    assert results.main(["FIGURES", "--results", str(tmp_path)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Now\n  a\n  1\n" in text
    assert "too long" not in text
    assert text.count("![") == text.count("![ann-recall](2026-01-01/ann-recall.png)") == 1
    assert "old serve" in text
    assert "old ann" not in text


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
    [("run", "rows", 6), ("run", "quick", True), ("machine", "cpu", "y"), ("machine", "cores", 8)],
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


def test_frontier_keeps_what_no_other_beats() -> None:
    """Of settings, those stay that no other beats both in recall and in speed."""
    places = [(0.5, 10.0), (0.9, 5.0), (0.8, 4.0), (0.9, 6.0), (1.0, 1.0)]
    assert charts.frontier(places) == [(0.5, 10.0), (0.9, 6.0), (1.0, 1.0)]


def test_panels_have_the_points_of_the_tables() -> None:
    """Intervals stand at their mean, rows without figures are left out."""
    rows = [
        {"peer": "a", "recall": Interval(0.9, 0.8, 1.0), "disk B/vector": 10.0},
        {"peer": "a", "recall": Interval(0.8, 0.7, 0.9), "disk B/vector": 10.0},
        {"peer": "b", "recall": None, "disk B/vector": None},
    ]
    chart = next(chart for chart in charts.CHARTS if chart.file == "ann-recall-bytes.png")
    (panel,) = charts.panels_of(chart, result(Table("ann-1k-curve", "Title", rows)))
    assert panel.points == {"a": [(10.0, 0.9)]}
    chart = next(chart for chart in charts.CHARTS if chart.file == "updates.png")
    rows = [
        {"peer": "a", "state": state, "recall": 0.9, "p50 ms": None} for state in ("built", "fresh")
    ]
    (panel,) = charts.panels_of(chart, result(Table("updates", "T", rows), suite="updates"))
    assert (panel.y[0], panel.ticks) == ("recall", ["built", "fresh"])
    assert panel.points == {"a": [(0.0, 0.9), (1.0, 0.9)]}


def test_pictures_are_drawn_for_what_was_measured(tmp_path: Path) -> None:
    """Each chart with figures becomes a PNG; a suite without any draws nothing."""
    pytest.importorskip("matplotlib")
    names = ["vecstore", *(f"peer-{number}" for number in range(60))]
    rows = [
        {"peer": name, "recall": recall, "q/s": 100.0 / recall, "disk B/vector": 64.0 + place}
        for place, name in enumerate(names)
        for recall in (0.5, 0.99, 1.0)
    ]
    results.write(tmp_path, result(Table("ann-1k-curve", "Title", rows)))
    results.write(tmp_path, result(Table("t", "Title", rows), suite="kernels"))
    assert plots.main([str(tmp_path)]) == 0
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == ["ann-recall-bytes.png", "ann-recall-qps.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_styles_tell_every_series_apart() -> None:
    """No two series share colour, marker and stroke, and vecstore is thicker than any peer."""
    names = ["vecstore", "vecstore-bits1", *(f"peer-{number}" for number in range(60))]
    styles = plots._styles(names)
    looks = {(s["color"], s["marker"], str(s["linestyle"])) for s in styles.values()}
    assert len(looks) == len(names)
    without_colour = {(s["marker"], str(s["linestyle"])) for s in styles.values()}
    assert len(without_colour) >= 36
    assert styles["vecstore"]["linewidth"] > styles["peer-0"]["linewidth"]
