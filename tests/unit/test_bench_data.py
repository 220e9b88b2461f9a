"""Sets, embeddings made of them, and what codecs and whole libraries find in them."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import data, embed
from bench.measure import Interval, Settings
from bench.peers.envs import EnvironmentFailedError
from bench.suites import codecs, quality
from vecstore.types import Float32

DIM = 8


def laid(folder: Path, name: str, documents: Sequence[str], queries: Sequence[str] = ()) -> Path:
    """A set in BEIR layout: query i belongs to document i."""
    place = folder / name
    place.mkdir(parents=True)
    for kind, letter, lines in (("corpus", "d", documents), ("queries", "q", queries)):
        with gzip.open(place / f"{kind}.jsonl.gz", "wt", encoding="utf-8") as file:
            for row, text in enumerate(lines):
                title = {"title": f"Title {row}"} if kind == "corpus" else {}
                file.write(json.dumps({"_id": f"{letter}{row}", "text": text} | title) + "\n")
    judged = [f"q{row}\td{row}\t1" for row in range(len(queries))]
    (place / "qrels.tsv").write_text("\n".join(["query\tcorpus\tscore", *judged]), encoding="utf-8")
    return place


def embedded(place: Path, vectors: Float32, queries: Float32) -> None:
    """Put embeddings where ready ones lie."""
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / data.VECTORS, vectors.astype(np.float16))
    np.save(place / data.QUERIES, queries.astype(np.float16))


def drawn(seed: int, rows: int) -> Float32:
    """Rows [rows, DIM]."""
    return np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)


class Encoder:
    """A model whose vectors say which text they are of, and that may stop after so many parts."""

    def __init__(self, parts: int | None = None) -> None:
        self.seen: list[str] = []
        self.parts = parts

    def __call__(self, lines: list[str]) -> Float32:
        if self.parts == 0:
            raise KeyboardInterrupt
        if self.parts is not None:
            self.parts -= 1
        self.seen += lines
        return np.array([self.vector(line) for line in lines])

    @staticmethod
    def vector(line: str) -> Float32:
        values = drawn(sum(line.encode()), 1)[0]
        unit: Float32 = values / np.linalg.norm(values)
        return unit


def test_kept_embeddings_stand_in_for_ready_ones(tmp_path: Path) -> None:
    """A set without embeddings is found where they are kept; ready ones come before those."""
    place = laid(tmp_path / "data", "some", ["a", "b", "c"], ["x", "y"])
    kept, ready = drawn(1, 3), drawn(2, 3)
    assert data.load(tmp_path / "data", "some", tmp_path / "keep") is None
    embedded(tmp_path / "keep" / "embeddings" / "some", kept, drawn(3, 2))
    assert data.load(tmp_path / "data", "some") is None
    for wanted in (kept, ready):
        found = data.load(tmp_path / "data", "some", tmp_path / "keep")
        assert found is not None
        unit = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        assert np.allclose(found.vectors, unit, atol=1e-2)
        assert found.relevant == ({0: 1.0}, {1: 1.0})
        embedded(place, ready, drawn(3, 2))


def test_embeddings_of_other_texts_are_refused(tmp_path: Path) -> None:
    """A set whose embeddings are not as many as its texts is not judged with wrong rows."""
    embedded(laid(tmp_path, "some", ["a", "b", "c"], ["x"]), drawn(1, 2), drawn(2, 1))
    with pytest.raises(ValueError, match="some: there are not as many embeddings"):
        data.load(tmp_path, "some")


def test_real_rows_are_distinct_and_queries_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row occurs twice, no query is a row, and the first queries follow the sizes of sets."""
    monkeypatch.setattr(data, "SETS", ("large", "small"))
    large, small = drawn(1, 300), drawn(2, 60)
    large[7] = large[3]
    small[5] = large[9]
    asked = {"large": drawn(3, 30), "small": drawn(4, 30)}
    asked["large"][2] = large[11]
    asked["small"][4] = asked["small"][6]
    for name, vectors in (("large", large), ("small", small)):
        lines = [f"text {row}" for row in range(len(vectors))]
        embedded(laid(tmp_path, name, lines, lines[:30]), vectors, asked[name])
    found = data.real(tmp_path)
    assert found is not None
    assert found.name == "MiniLM of large, small"
    assert (len(found.vectors), len(found.queries)) == (358, 58)
    every = {row.tobytes() for row in np.concatenate([found.vectors, found.queries])}
    assert len(every) == 358 + 58
    rounded = asked["large"].astype(np.float16).astype(np.float32)
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    of_large = {row.tobytes() for row in rounded}
    first = [row.tobytes() in of_large for row in found.queries[:24]]
    assert 18 <= sum(first) <= 21  # five of six rows are of the large set, and so are queries
    with pytest.raises(ValueError, match="read-only"):
        found.vectors[0] = 0
    data.real.cache_clear()
    again = data.real(tmp_path)
    assert again is not None
    assert (again.vectors == found.vectors).all()
    assert data.real(tmp_path / "none") is None


def test_embedding_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that are done are not made again, and all rows end up in the order of the texts."""
    monkeypatch.setattr(embed, "PART_ROWS", 4)
    source = laid(tmp_path, "some", [f"text {row}" for row in range(10)], ["x", "y"])
    place = tmp_path / "keep" / "embeddings" / "some"
    stopped = Encoder(parts=2)
    with pytest.raises(KeyboardInterrupt):
        embed.embed(source, place, stopped)
    assert len(stopped.seen) == 8
    assert not embed.is_done(source, place)
    assert data.load(tmp_path, "some", tmp_path / "keep") is None
    rest = Encoder()
    embed.embed(source, place, rest)
    assert rest.seen == ["Title 8 text 8", "Title 9 text 9", "x", "y"]
    assert embed.is_done(source, place)
    found = data.load(tmp_path, "some", tmp_path / "keep")
    assert found is not None
    wanted = np.array([Encoder.vector(f"Title {row} text {row}") for row in range(10)])
    assert np.allclose(found.vectors, wanted, atol=1e-3)
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [embed.ABOUT, data.VECTORS, data.QUERIES]
    )


def test_a_trial_leaves_no_embeddings(tmp_path: Path) -> None:
    """What is made of a few texts is not taken for the embeddings of all."""
    source = laid(tmp_path, "some", ["a", "b", "c"], ["x"])
    place = tmp_path / "keep" / "embeddings" / "some"
    embed.embed(source, place, Encoder(), most=2)
    assert data.load(tmp_path, "some", tmp_path / "keep") is None
    whole = Encoder()
    embed.embed(source, place, whole)
    assert whole.seen[:3] == ["Title 0 a", "Title 1 b", "Title 2 c"]


def test_embeddings_of_changed_texts_are_made_again(tmp_path: Path) -> None:
    """Embeddings are done for the very texts that they were made of."""
    source = laid(tmp_path / "one", "some", ["a", "b"], ["x"])
    place = tmp_path / "keep"
    embed.embed(source, place, Encoder())
    assert embed.is_done(source, place)
    assert not embed.is_done(laid(tmp_path / "two", "some", ["a", "c"], ["x"]), place)


def test_embeddings_are_checked_against_ready_ones(tmp_path: Path) -> None:
    """The check of the model passes on the same vectors and fails on others."""
    lines = [f"text {row}" for row in range(20)]
    source = laid(tmp_path, "some", lines, ["x"])
    ready = np.array([Encoder.vector(line) for line in embed.texts(source, "corpus")])
    embedded(source, ready, ready[:1])
    assert embed.check(tmp_path, "some", Encoder())
    ready[13] = -ready[13]
    embedded(source, ready, ready[:1])
    assert not embed.check(tmp_path, "some", Encoder())


def test_sets_without_embeddings_are_embedded_least_text_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default every set without embeddings is made, once; without its library it is said."""
    rng = np.random.default_rng(0)
    long = [" ".join(map(str, rng.integers(1000, size=40))) for _ in range(50)]
    laid(tmp_path, "much", long, ["x"])
    laid(tmp_path, "little", ["a"], ["x"])
    embedded(laid(tmp_path, "ready", ["a"], ["x"]), drawn(1, 1), drawn(2, 1))
    assert embed.wanting(tmp_path) == ["little", "much"]
    monkeypatch.setattr(embed, "model", Encoder)
    asked = ["--data", str(tmp_path), "--keep", str(tmp_path / "keep")]
    assert embed.main(["--here", *asked]) == 0
    assert "CPU: little, much" in capsys.readouterr().out
    assert embed.main(["--here", *asked]) == 0
    assert "nothing left to embed" in capsys.readouterr().out

    def fail(_: object) -> str:
        raise EnvironmentFailedError("no such package")

    monkeypatch.setattr(embed, "python_of", fail)
    assert embed.main(asked) == 1
    assert "no model: no such package" in capsys.readouterr().err


def test_codecs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every representation has its row in every table, and without faiss its codecs say so."""
    monkeypatch.setattr(quality, "SYNTHETIC_QUERIES", 5)
    monkeypatch.setattr(codecs, "SECONDS", 0.0)
    monkeypatch.setattr(codecs, "SPEED_QUERIES", 20)
    monkeypatch.setitem(sys.modules, "faiss", None)
    settings = Settings(data=None, rows=600, calls=2, folder=tmp_path, keep=tmp_path / "keep")
    found = {table.name: table.rows for table in codecs.tables(settings)}
    assert list(found) == ["codecs", "codecs-speed", "ladder", "ladder-study"]
    ours = [f"vecstore {text}" for text in codecs.REPRESENTATIONS]
    rivals = [f"faiss {factory}" for factory in codecs.FACTORIES]
    assert [row["codec"] for row in found["codecs"]] == ["exact (NumPy)", *ours, *rivals]
    assert [row["codec"] for row in found["codecs-speed"]] == [*ours, *rivals]
    for name in ("codecs", "codecs-speed"):
        for row in found[name]:
            assert bool(row["error"]) == row["codec"].startswith("faiss"), row
    rows = {row["codec"]: row for row in found["codecs"]}
    assert rows["vecstore float32"]["overlap@10"] == Interval(1.0, 1.0, 1.0)
    assert rows["vecstore bits1"]["overlap@10"].mean < rows["vecstore bits4"]["overlap@10"].mean
    speeds = {row["codec"]: row for row in found["codecs-speed"]}
    assert speeds["vecstore float32"]["recall"].mean == 1
    assert speeds["vecstore float32"]["disk B/vector"] == 4 * data.DIM
    assert speeds["vecstore bits2"]["q/s 2 threads"].mean > 0
    cases = len(codecs.COARSE) * len(codecs.LIMITS) * len(codecs.KEEP_PER_TEN)
    assert len(found["ladder-study"]) == cases
    for row in found["ladder-study"]:
        assert row["rescored"] <= row["rescored, all"] == min(row["keep"], 600)


def test_codecs_of_faiss_run() -> None:
    """Where faiss is installed, codecs of as many bytes are built and find what they should."""
    pytest.importorskip("faiss")
    vectors = data.synthetic(None).rows(0, 600)
    for factory, least in (("SQ8", 0.95), ("RR,RaBitQ", 0.4)):
        coded = codecs.coded_by_faiss(factory, vectors)
        found = coded.search(vectors[:50], 1)
        assert (found[:, 0] == np.arange(50)).mean() >= least
        assert coded.disk >= coded.code_bytes * len(vectors)
    assert codecs.coded_by_faiss("SQ8", vectors).code_bytes == data.DIM


def test_quality_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quality has exact search, single representations and the peers; bars are worked out."""
    monkeypatch.setattr(quality, "SYNTHETIC_QUERIES", 30)
    settings = Settings(
        data=None,
        rows=600,
        calls=2,
        folder=tmp_path,
        quick=True,
        peers=(),
        keep=tmp_path / "keep",
    )
    found = {table.name: table.rows for table in quality.tables(settings)}
    assert list(found) == ["quality", "quality-plan", "quality-bars"]
    names = [row["peer"] for row in found["quality"]]
    alone = [f"vecstore, {text} alone" for text in quality.ALONE]
    assert names == [quality.EXACT, *alone, "vecstore"]
    exact, *_, ours = found["quality"]
    assert exact["overlap@10"] == Interval(1.0, 1.0, 1.0)
    assert exact["recall@100"].mean >= exact["recall@10"].mean
    assert ours["error"] == ""
    assert ours["overlap@10"].mean >= quality.ENOUGH
    assert ours["p99 ms"].mean > 0
    assert found["quality-plan"][0]["overlap@10"].mean == ours["overlap@10"].mean
    assert len(found["quality-bars"]) == 2 + len(quality.BARRED) + len(quality.VIEWED)


def test_a_peer_that_fails_has_its_error_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cannot be started is in the table with what it said."""
    monkeypatch.setattr(quality, "SYNTHETIC_QUERIES", 5)

    def broken(*_: object) -> None:
        raise quality.PeerFailedError("not installed: no wheel")

    monkeypatch.setattr(quality, "Worker", broken)
    settings = Settings(data=None, rows=600, calls=2, folder=tmp_path, quick=True, peers=())
    table = next(quality.tables(settings))
    assert table.rows[-1]["peer"] == "vecstore"
    assert table.rows[-1]["error"] == "not installed: no wheel"
    assert table.rows[-1]["p50 ms"] is None


def test_judged_figures() -> None:
    """Recall and nDCG are those of a case worked out by hand."""
    found = np.array([[4, 7, 9]])
    assert quality.recall(found, [{9: 1.0, 5: 1.0}]).tolist() == [0.5]
    # Grade 2 at rank 2, of grades 2 and 1 at best at ranks 1 and 2.
    expected = (2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert quality.ndcg(found, [{7: 2.0, 5: 1.0}]).tolist() == pytest.approx([expected])
