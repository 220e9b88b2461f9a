"""Late interaction and the limits of vectors are measured as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import tokens
from bench.data import synthetic
from bench.measure import Settings
from bench.peers import OURS, Entry, entries
from bench.peers.base import Shape, UnsupportedError
from bench.peers.drive import PeerFailedError, Worker
from bench.peers.exact_maxsim import DenseThenMaxSim, ExactMaxSim, Tokens
from bench.suites import limits, multivector

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = ("exact-maxsim", "vecstore-float16")


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    return float(sum(max(float(one @ other) for other in document) for one in query))


def test_the_ranking_is_by_the_definition_of_maxsim() -> None:
    """Each query's rows are those of the highest sums of best products, best first."""
    found = tokens.synthetic(30, 5)
    ranked = tokens.ranking(found, 4)
    for query, rows in zip(found.queries, ranked, strict=True):
        scores = [maxsim(query, document) for document in found.documents]
        assert rows.tolist() == np.argsort(-np.array(scores), kind="stable")[:4].tolist()


def test_a_document_without_vectors_is_never_found(tmp_path: Path) -> None:
    """Neither the truth nor the exact peer ranks it, and what is missing is -1."""
    found = tokens.synthetic(4, 3)
    documents = [found.documents[0], found.documents[1][:0], found.documents[2]]
    fewer = tokens.TokenSet(
        name="few", documents=documents, queries=found.queries, dense=found.dense
    )
    ranked = tokens.ranking(fewer, 4)
    assert {1} & set(ranked.ravel().tolist()) == set()
    assert (ranked[:, 2:] == -1).all()
    Tokens.save(tmp_path, documents)
    held = Tokens(tmp_path)
    for query, rows in zip(found.queries, ranked.tolist(), strict=True):
        assert held.best(query, 4) == rows[:2]
        assert held.best_of(query, np.arange(3), 4) == rows[:2]
        assert held.best_of(query, np.array([1]), 4) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_exact_maxsim_finds_what_is_true(tmp_path: Path, threads: int) -> None:
    """Built or opened again, from one thread or two, and it refuses what it cannot do."""
    found = tokens.synthetic(40, 6)
    shape = Shape(40, tokens.DIM, "dot", threads)
    peer = ExactMaxSim(tmp_path, shape)
    peer.create()
    marks = np.zeros(40, dtype=np.int64)
    peer.insert(np.arange(40), found.documents, marks)
    peer.finish()
    again = ExactMaxSim(tmp_path, shape)
    again.open()
    truth = tokens.ranking(found, 10)
    for each in (peer, again):
        assert (each.search(found.queries, 10, {}) == truth).all()
    with pytest.raises(UnsupportedError, match="no filter"):
        peer.search(found.queries, 10, {}, below=5)
    with pytest.raises(UnsupportedError, match="no inserts"):
        peer.insert(np.arange(40), found.documents, marks)


def test_dense_candidates_of_all_documents_give_the_truth(tmp_path: Path) -> None:
    """With fewer candidates, what is found is the best of vecstore's."""
    found = tokens.synthetic(60, 5)
    head, documents, queries = tokens.with_dense(found)
    assert head == 1
    peer = DenseThenMaxSim(tmp_path, Shape(60, tokens.DIM, "dot", 1), head)
    peer.create()
    peer.insert(np.arange(60), documents, np.zeros(60, dtype=np.int64))
    peer.finish()
    settings = peer.settings()
    assert settings == [{"dense": count} for count in (10, 20, 50, 60)]
    truth = tokens.ranking(found, 5)
    assert (peer.search(queries, 5, settings[-1]) == truth).all()
    few = peer.search(queries, 5, settings[0])
    scores = found.dense.queries @ found.dense.vectors.T
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    assert all(np.isin(rows, near).all() for rows, near in zip(few, nearest, strict=True))
    peer.close()


@pytest.mark.skipif(not DATA.is_dir(), reason="no embeddings beside the clone")
def test_token_sets_are_read_with_their_judgments() -> None:
    """LIMIT-small is read whole, and MaxSim orders it as its README says."""
    found = tokens.load(DATA, "limit-small")
    assert found is not None
    assert (len(found.documents), len(found.queries)) == (46, 1_000)
    assert np.linalg.norm(found.documents[3], axis=1) == pytest.approx(1, abs=1e-5)
    figure = multivector.ndcg(tokens.ranking(found, 10), found.relevant).mean()
    assert figure == pytest.approx(0.9822, abs=1e-3)
    assert tokens.load(None, "limit-small") is None
    assert tokens.load(DATA, "code-mini") is None


def run(folder: Path) -> list[dict[str, object]]:
    settings = Settings(data=None, rows=500, calls=5, folder=folder, peers=NAMES, quick=True)
    *before, table = multivector.tables(settings)
    assert {each.name for each in before} == {table.name}
    assert table.name == "multivector-synthetic"
    return [dict(row) for row in table.rows]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multivector, "SYNTHETIC_DOCUMENTS", 60)
    monkeypatch.setattr(multivector, "QUICK_QUERIES", 10)
    monkeypatch.setattr(multivector, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(multivector, "QUICK_ROUNDS", 1)


@pytest.mark.usefixtures("small")
def test_multivector_tells_all_of_each_setting(tmp_path: Path) -> None:
    """Exact searches lose nothing, vecstore's own neither; every peer has its row."""
    rows = run(tmp_path)
    by_peer = {row["peer"]: row for row in rows}
    assert by_peer["vecstore-float16"]["recall"].mean > 0.99
    exact = by_peer["exact-maxsim"]
    assert (exact["recall"].mean, exact["flips"].mean, exact["error"]) == (1.0, 0.0, "")
    assert 0 < exact["p50 ms"].mean <= exact["p99 ms"].mean
    assert exact["calls"] >= 3
    ours = [row for row in rows if row["peer"] == "vecstore dense + MaxSim"]
    recalls = [row["recall"].mean for row in ours]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0
    assert by_peer["dense alone, exact"]["recall"].mean <= recalls[0]


@pytest.mark.usefixtures("small")
def test_multivector_tells_whether_its_bars_are_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a set that has them: recall, speed and bytes, and of each ladder what it loses."""
    monkeypatch.setattr(multivector, "SPEEDS", {"synthetic, around topics": 1})
    names = ("vecstore-tokens", "vecstore-float16")
    settings = Settings(data=None, rows=500, calls=5, folder=tmp_path, peers=names, quick=True)
    *_, table = multivector.tables(settings)
    assert table.name == "multivector-bars"
    recall, speed, size, loss = table.rows
    assert (recall["met"], speed["met"], loss["met"]) == ("yes", "yes", "yes")
    assert speed["figure"] > 1
    assert size["figure"] > 0
    assert abs(loss["figure"]) <= 0.001


@pytest.mark.usefixtures("small")
def test_a_peer_that_fails_keeps_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that cannot be made has a row; one that fails while timed says in which mode."""
    ask = Worker.ask

    def failing(self: Worker, do: str, **arguments: object) -> object:
        if self.name == "exact-maxsim" and do == "time" and arguments["threads"] == 2:
            raise PeerFailedError("broken")
        return ask(self, do, **arguments)

    lost = Entry(entries("late", NAMES)[0].known, "no_such_adapter", multivector.ENVIRONMENT)
    named = lost.known.__class__("lost", "Lost", ("late",))
    found = [*entries("late", NAMES), Entry(named, lost.module, lost.environment)]
    monkeypatch.setattr(multivector, "asked", lambda *_: found)
    monkeypatch.setattr(Worker, "ask", failing)
    by_peer = {row["peer"]: row for row in run(tmp_path)}
    assert "no_such_adapter" in by_peer["lost"]["error"]
    exact = by_peer["exact-maxsim"]
    assert exact["error"] == "single2: broken; batch2: broken"
    assert exact["q/s 1 thread"].mean > 0
    assert exact["q/s 2 threads"] is None


def point(qps: float, recall: float = 1.0, **setting: object) -> multivector.Point:
    found = np.zeros((10, 1), dtype=np.int64)
    return multivector.Point(setting=setting, found=found, qps=qps, recall=recall)


def test_slow_searches_are_timed_once() -> None:
    """A setting whose single searches took long has no second round; before, none is left out."""
    one = point(9.0)
    assert (one.done, one.slow) == (False, False)
    one.times["single"] = [{"ms": [900.0, 950.0, 9_000.0]}]
    assert not one.done
    one.times["single"] = [{"ms": [1_100.0, 1_200.0]}]
    assert one.done
    assert point(4.0).slow


def test_settings_that_nobody_would_choose_are_not_timed() -> None:
    """Another finds as much, and is clearly faster; the default plan and exact always are."""
    fast, worse, close = point(100, 0.9, n=1), point(80, 0.9, n=2), point(95, 0.9, n=3)
    finer, plan = point(50, 0.95, n=4), point(10, 0.5, plan="default")
    every = [fast, worse, close, finer, plan]
    assert [each.beaten(every) for each in every] == [False, True, False, False, False]


def test_a_corpus_keeps_its_known_items(tmp_path: Path) -> None:
    """However large, it begins with the same rows; a PCA of all dimensions changes no product."""
    source = synthetic(None)
    items = source.dataset(1_000, 5)
    rows = np.concatenate(list(limits.corpus(source, items, 2_500)))
    assert rows.shape == (2_500, 384)
    assert (rows[:1_000] == items.vectors).all()
    axes = limits.principal(source.base)
    moved = limits.projected(rows[:50], axes)
    assert moved @ moved.T == pytest.approx(rows[:50] @ rows[:50].T, abs=1e-5)
    kept = [float(np.square(source.base @ axes[:, :dim]).sum()) for dim in (32, 128, 384)]
    assert kept == sorted(kept)


def test_limits_says_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve has a row for each size, dimension and way; without data LIMIT is left out."""
    monkeypatch.setattr(limits, "QUICK_DIMS", (32, 384))
    monkeypatch.setattr(limits, "QUICK_SIZES", (1_000, 2_000))
    monkeypatch.setattr(limits, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "QUICK_QUERIES", 30)
    settings = Settings(data=None, rows=2_000, calls=5, folder=tmp_path, quick=True)
    *_, curve, bars = limits.tables(settings)
    places = [(row["dimensions"], row["rows"], row["peer"]) for row in curve.rows]
    assert sorted(places) == sorted(
        (dim, size, peer)
        for dim in (32, 384)
        for size in (1_000, 2_000)
        for peer in (limits.EXACT, OURS)
    )
    for row in curve.rows:
        assert row["error"] == ""
        assert row["recall"].mean >= 0.98
    assert [row["met"] for row in bars.rows] == ["yes"]
