"""Results of benchmarks are kept, drawn and summed up as they were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import charts, gaps, plots, results
from bench.measure import Interval, Table
from tests.unit.bench_runs import ann, result

PAGE = f"before\n\n{results.BEGIN}old\n{results.END}after\n"


def test_results_come_back_as_written(tmp_path: Path) -> None:
    """What is read is what was written: intervals, missing figures, errors, numpy's numbers."""
    rows = [
        {"a": "x|y", "b": Interval(1.0, 0.5, 1.5), "c": None, "d": True},
        {"a": "z", "b": np.float32(2), "c": np.int64(3), "d": float("nan")},
    ]
    written = result(Table("t", "Title", rows), error="Boom: it broke")
    written.versions = {"faiss-cpu": "1.15.1"}
    results.write(tmp_path, written)
    (found,) = results.read_all(tmp_path).values()
    assert (found.suite, found.error, found.machine) == ("ann", "Boom: it broke", {"cpu": "x"})
    assert found.versions == {"faiss-cpu": "1.15.1"}
    assert found.tables[0].rows == [rows[0], {"a": "z", "b": 2.0, "c": 3, "d": None}]
    page = (tmp_path / "ann.md").read_text(encoding="utf-8")
    assert "| x\\|y | 1.0000 [0.500, 1.500] | - | yes |" in page
    assert "Boom: it broke" in page
    assert "faiss-cpu 1.15.1" in page
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
    partial = {"rows": 1_000, "peers": "vecstore", "quick": True, "calls": 7, "sets": "scifact"}
    partial[results.CHANGED] = "another"
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
    assert "behind by a tenth or more: faiss-flat (q/s 1 thread 1.12)." in text
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


def test_gaps_are_where_a_peer_is_faster() -> None:
    """A tenth or more at a fair recall, by turns where there are ratios, else by rates of a set."""
    turns = [
        {"peer": "a", "vecstore x, single": Interval(0.5, 0.4, 0.6), "vecstore x, batch": None},
        {"peer": "b", "vecstore x, single": Interval(0.95, 0.9, 1.0), "q/s": 99.0},
        {"peer": "c", "vecstore x, single": Interval(0.1, 0.1, 0.1), "recall": 0.8},
        {"peer": "vecstore-bits1", "vecstore x, single": Interval(0.1, 0.1, 0.1)},
    ]
    rates = [
        {"set": "s", "peer": "vecstore", "rows/s": 10.0, "q/s": None},
        {"set": "s", "peer": "a", "rows/s": 20.0, "q/s": 5.0},
        {"set": "other", "peer": "a", "rows/s": 99.0},
    ]
    tables = [Table("ann-1k-95", "", turns), Table("t", "", rates), Table("t-curve", "", rates)]
    found = gaps.gaps("ann", tables)
    assert [tuple(row.values()) for row in found] == [
        ("ann", "ann-1k-95", "a", "-", "single", 2.0),
        ("ann", "t", "a", "set s", "rows/s", 2.0),
    ]
    assert gaps.shown(found) == "a (single 2.00, rows/s 2.00)"


def test_gaps_are_printed_and_put_in_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the newest full runs stands between its marks, and all else stays."""
    page = tmp_path / "page.md"
    mark = "<!-- figures: python -m bench.run ann -->\n"
    page.write_text(f"{mark}{results.GAPS_BEGIN}old\n{results.GAPS_END}after", encoding="utf-8")
    monkeypatch.setattr(results, "FIGURES_PAGE", page)
    results.write(tmp_path / "2026-01-01", ann(800.0))
    assert results.main(["GAPS", "--results", str(tmp_path)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"{mark}{results.GAPS_BEGIN}")
    assert text.endswith(f"{results.GAPS_END}after")
    assert "| ann | ann-1000k-95 | faiss-flat | - | q/s 1 thread | 1.125 |" in text
    assert "faiss-flat" in capsys.readouterr().out
    assert results.GAPS_BEGIN in results.ROOT.joinpath("bench/README.md").read_text("utf-8")


def test_a_run_in_which_every_peer_failed_is_lonely() -> None:
    """Where peers have rows and none has figures, the run says so; not where none was asked."""
    own = {"peer": "vecstore", "recall": 0.9, "error": ""}
    lost = {"peer": "faiss-flat", "recall": None, "error": "not installed"}
    partly = {"peer": "hnswlib", "recall": 0.9, "error": "single2: broken"}
    unknown = {"peer": "exact (NumPy)", "recall": 1.0, "error": ""}
    assert results.lonely(result(Table("t", "", [own, lost, unknown])))
    assert not results.lonely(result(Table("t", "", [own, lost, partly])))
    assert not results.lonely(result(Table("t", "", [own, unknown])))


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
