"""The demo, on a small source tree with an embedder that counts words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import vecstore
from vecstore.demo.embed import load_embedder
from vecstore.demo.functions import (
    Function,
    distinct,
    read_functions,
    source_files,
    standard_library,
)
from vecstore.demo.labels import place_labels
from vecstore.demo.measure import Way, alone, measure_latency, measure_quality
from vecstore.demo.run import run_demo
from vecstore.demo.store import SPECS, specs_of, ways_to_search
from vecstore.errors import RequestError
from vecstore.types import Float32

SHAPES = '''"""A module."""

if True:
    def area(width, height):
        """The area of a rectangle.

        Of its sides.
        """
        return width * height  # no more


class Circle:
    """A circle."""

    async def grow(self, by):
        """Make the circle larger by some length."""
        def inner():
            """Not a function of the module."""
        self.radius += by

    def only_documented(self):
        """This has no code of its own."""

    def passes(self):
        """This has no code of its own either."""
        pass

    def terse(self):
        """Too short."""
        return 1

    def silent(self):
        return 2
'''


class WordCounts:
    """Embeds a text as the counts of its words, hashed."""

    name = "counts"
    dim = 72

    def embed(self, texts: Sequence[str]) -> Float32:
        vectors = np.full((len(texts), self.dim), 0.01, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall("[a-z]+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1
        return vectors


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources with some functions, and files that are not read."""
    root = tmp_path / "lib"
    for folder in ("pack", "test", "site-packages", "pack/tests"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").write_text(SHAPES, encoding="utf-8")
    names = ("red", "green", "blue", "round", "flat", "tall", "thin", "wide", "deep", "late")
    (root / "things.py").write_text(
        "\n\n".join(
            f'def make_{first}_{second}():\n    """Make a {first} thing that is {second} too."""\n'
            f"    return {first} + {second}"
            for first in names
            for second in names
            if first != second
        ),
        encoding="utf-8",
    )
    (root / "broken.py").write_text("def (:", encoding="utf-8")
    (root / "old.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    return root


def test_functions_are_read_with_their_places(tree: Path) -> None:
    """Functions and methods with a docstring and code of their own are read, no others."""
    found = list(read_functions(tree, tree / "pack" / "__init__.py"))
    assert [(item.name, item.id, item.lines) for item in found] == [
        ("pack.area", "pack/__init__.py:4", 6),
        ("pack.Circle.grow", "pack/__init__.py:15", 5),
    ]
    assert found[0] == Function(
        name="pack.area",
        module="pack",
        file="pack/__init__.py",
        line=4,
        lines=6,
        code="def area(width, height):\n    return width * height  # no more",
        query="The area of a rectangle.",
        summary="The area of a rectangle.",
    )


def test_source_files_are_sorted_and_without_tests(tree: Path) -> None:
    """Tests and folders that hold no modules are left out; files that do not parse give nothing."""
    names = [path.relative_to(tree).as_posix() for path in source_files(tree)]
    assert names == ["broken.py", "old.py", "pack/__init__.py", "things.py"]
    assert list(read_functions(tree, tree / "broken.py")) == []
    assert list(read_functions(tree, tree / "old.py")) == []


def test_distinct_keeps_the_first_of_equals(tree: Path) -> None:
    """Of functions with the same code or the same query, the first is kept."""
    found = list(read_functions(tree, tree / "pack" / "__init__.py"))
    assert distinct(found + found) == found


def test_standard_library_has_thousands() -> None:
    """The standard library of this interpreter is found: `json` has functions with docstrings."""
    root = standard_library()
    names = [item.name for item in read_functions(root, root / "json" / "__init__.py")]
    assert "json.dumps" in names


def test_representations_fit_the_dimensions() -> None:
    """Representations that keep more dimensions than a vector has are not compared."""
    assert specs_of(256) == SPECS
    assert specs_of(128) == tuple(spec for spec in SPECS if "128/" not in spec)
    assert all("/" not in spec for spec in specs_of(64))
    assert [way.label for way in ways_to_search(64)[-2:]] == ["default plan", "exact"]


def test_unknown_dimensions_are_refused() -> None:
    """wordllama has vectors of 64, 128 and 256 dimensions only."""
    with pytest.raises(RequestError, match="64, 128, 256"):
        load_embedder(dim=100)


def test_wordllama_leaves_logging_alone() -> None:
    """Loading the model sets up no logging, and its shorter vectors begin the longer ones."""
    pytest.importorskip("wordllama")
    import logging

    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    long, short = (load_embedder(dim=dim).embed(["a text"])[0] for dim in (256, 64))
    assert (list(root.handlers), root.level) == before
    np.testing.assert_allclose(long[:64], short, rtol=1e-5)


def test_latency_is_ordered(tmp_path: Path) -> None:
    """The 99th percentile is no less than the median."""
    with vecstore.open(tmp_path / "db") as db:
        schema = vecstore.Schema(vectors=(vecstore.Vector("text", 4),))
        collection = db.create_collection("c", schema)
        queries = np.eye(4, dtype=np.float32)
        collection.upsert(range(4), queries)
        found = measure_latency(collection, Way(label="default plan", field="text"), queries)
    assert 0 < found.p50_ms <= found.p99_ms


def test_bytes_are_means_over_the_queries(tmp_path: Path) -> None:
    """Bytes, rows and passes of a stage are means of what each query alone reports."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((4_000, 64)).astype(np.float32)
    queries = random.standard_normal((5, 64)).astype(np.float32)
    with vecstore.open(tmp_path / "db") as db:
        schema = vecstore.Schema(vectors=(vecstore.Vector("text", 64),))
        collection = db.create_collection("c", schema)
        collection.upsert(range(4_000), vectors)
        collection.flush()
        found = measure_quality(
            collection,
            Way(label="default plan", field="text"),
            queries,
            exact=[[0]] * len(queries),
            right=[0] * len(queries),
        )
        reports = [
            report
            for query in queries
            for report in collection.search(query, explain=True).explain or ()
        ]
    assert [stage.name for stage in found.stages] == ["scan", "rescore"]
    for stage in found.stages:
        own = [report for report in reports if report.stage == stage.name]
        bytes_read = sum(report.bytes_read for report in own)
        assert stage.bytes_per_vector == pytest.approx(bytes_read / len(queries) / 4_000)
        assert stage.rows == np.mean([report.rows_in for report in own])
        assert stage.passes == len(own) / len(queries)
    assert len({report.bytes_read for report in reports if report.stage == "rescore"}) > 1
    assert found.bytes_per_vector == sum(stage.bytes_per_vector for stage in found.stages)


def test_labels_do_not_overlap() -> None:
    """Labels of points that lie close together do not cover each other."""
    points = np.array([[200.0, 200.0], [205.0, 203.0], [200.0, 215.0]])
    frame = np.array([0.0, 0.0, 400.0, 400.0])
    offsets = np.array(place_labels(points, [(60, 12)] * 3, [], frame=frame))
    low = points + offsets
    boxes = sorted(np.concatenate([low, low + np.array([60, 12])], axis=1).tolist())
    for first, second in [*pairwise(boxes), (boxes[0], boxes[2])]:
        apart = first[2] <= second[0] or first[3] <= second[1] or second[3] <= first[1]
        assert apart, (first, second)


def test_demo_from_beginning_to_end(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo measures each way embedded and over gRPC, asks, draws, and is repeatable."""
    pytest.importorskip("grpc")
    pytest.importorskip("matplotlib")
    steps: dict[str, tuple[int, int]] = {}

    def progress(step: str, done: int, total: int) -> None:
        steps[step] = (done, total)

    report = run_demo(tmp_path / "out", embedder=WordCounts(), root=tree, progress=progress)
    assert report.functions == 92
    assert report.database is None
    assert len(steps) == 7
    assert all(done == total for done, total in steps.values())
    rows = {row.way.label: row for row in report.rows}
    assert [row.way for row in report.rows[-2:]] == ways_to_search(72)[-2:]
    assert rows["float32"].way == alone("float32", "compared")
    assert rows["float32"].quality.bytes_per_vector == 4 * 72
    assert rows["exact"].quality.overlap == 1.0
    assert rows["exact"].quality.recall > 0.5
    assert rows["default plan"].quality.overlap > rows["bits1"].quality.overlap
    assert all(row.remote.p50_ms > 0 and row.embedded.p50_ms > 0 for row in report.rows)

    output = _demo_command(tree, tmp_path / "again", monkeypatch)
    for label, row in rows.items():
        quality = row.quality
        figures = rf"{quality.overlap:.4f} +{quality.recall:.4f}"
        assert re.search(rf"^{label} .* {figures} ", output, re.MULTILINE), (label, output)
    for stage in rows["default plan"].quality.stages:
        share = 4 * 72 * stage.passes / stage.bytes_per_vector
        read = stage.bytes_per_vector / stage.passes
        figures = rf"{read:.1f} bytes/vector, 1/{share:.1f} of float32"
        name = f"{stage.name} {stage.representation}"
        assert re.search(rf" {name} of [0-9]+ rows: {figures}$", output, re.MULTILINE), output
    for question, hits in report.questions:
        assert question in output
        assert all(f"{hit.payload['name']} ({hit.id})" in output for hit in hits)
    picture = report.plot.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (tmp_path / "again" / report.plot.name).read_bytes()
    with vecstore.open(tmp_path / "again" / "database") as db:
        assert db.collection("functions").count("module = 'pack'") == 2
        assert db.check() == []


def _demo_command(tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `vecstore demo` prints for another tree and model."""
    pytest.importorskip("typer", exc_type=ImportError)
    from typer.testing import CliRunner

    from vecstore.cli import app

    monkeypatch.setattr("vecstore.demo.run.standard_library", lambda: tree)
    monkeypatch.setattr("vecstore.demo.embed.load_embedder", lambda _: WordCounts())
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--keep"])
    assert result.exit_code == 0, result.output
    return result.output


def test_demo_refuses_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A place where no folder can be made is an error before any work is done."""
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="expected a folder for the picture"):
        run_demo(tmp_path / "file" / "out", embedder=WordCounts(), root=tmp_path)


def test_demo_refuses_a_tree_without_functions(tmp_path: Path) -> None:
    """A source tree that has no functions with docstrings is an error."""
    with pytest.raises(RequestError, match="no functions"):
        run_demo(tmp_path / "out", embedder=WordCounts(), root=tmp_path)
