"""A batch of any size takes bounded memory: it is answered in parts, with the same hits."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import vecstore as vs
from tests.property.test_codecs import built
from tests.unit.compaction import FOREGROUND, rows
from vecstore import options
from vecstore.codec import parse_spec
from vecstore.request import Cascade, Probe
from vecstore.search import answer
from vecstore.search.candidates import Answer, Queries
from vecstore.search.cascade import Route
from vecstore.search.parallel import Workers
from vecstore.types import Hits

DIM = 16


def pairs(found: list[Hits]) -> list[list[tuple[object, float]]]:
    return [[(hit.id, hit.score) for hit in hits] for hits in found]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cascade, int]]:
    """The plan and the number of queries of every cascade that is run."""
    seen: list[tuple[Cascade, int]] = []
    run = answer.run_cascade

    def watched(route: Route, queries: Queries, workers: Workers, *, explain: bool) -> list[Answer]:
        seen.append((route.plan, len(queries)))
        return run(route, queries, workers, explain=explain)

    monkeypatch.setattr(answer, "run_cascade", watched)
    return seen


@pytest.mark.parametrize(
    "spec",
    ["float32", "bits1", "bits4", "int8", "sign", "lvq4x8", "bebr4", "pca24/pq24", "pq12x4", "rq4"],
)
def test_a_query_takes_no_more_than_is_said(spec: str) -> None:
    """What is allocated to prepare queries is at most what the representation says."""
    dim, vectors = 48, rows(400, 48)
    codec = built(spec, dim, "l2", vectors)
    codec.prepare(vectors[:2])
    tracemalloc.start()
    codec.prepare(vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= len(vectors) * parse_spec(spec, dim).query_bytes(dim) + 10_000


def test_tables_of_a_batch_are_made_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand queries of a table codec take as much as a few, and find the same."""
    queries = rows(1000, DIM, seed=1)
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        items = db.create_collection(
            "items", vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["pq8", "float16"])])
        )
        items.upsert(range(400), rows(400, DIM))
        items.flush()
        whole = pairs(items.search_batch(queries, limit=2))
        monkeypatch.setattr(options, "PREPARED_BYTES_MAX", 1 << 20)
        tracemalloc.start()
        found = items.search_batch(queries, limit=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pairs(found) == whole
    assert peak < 4 << 20


def test_candidates_and_probes_of_a_batch_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[Cascade, int]]
) -> None:
    """No cascade keeps or probes more for all its queries, also where a scan is widened."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", 1000)
    monkeypatch.setattr(options, "CUT_SHARE", 1e3)  # every scan may have cut a row off
    queries = rows(60, DIM, seed=1)
    plan = vs.Cascade([vs.Probe("bits1", nprobe=900, keep=20), vs.Rescore("float16", keep=5)])
    few = vs.Cascade([vs.Probe("bits1", nprobe=9, keep=20), vs.Rescore("float16", keep=5)])
    asked = [(None, None), (plan, None), (few, "n < 1500")]
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        vector = vs.Vector("v", DIM, "cosine", ["bits1", "float16"])
        items = db.create_collection("items", vs.Schema([vector], columns=[vs.Column("n", "int")]))
        items.upsert(range(3000), rows(3000, DIM), [{"n": number} for number in range(3000)])
        items.flush()
        items.compact()
        codes = items._store.snapshot().segments[0].source.codes("v", "bits1")
        assert codes is not None
        assert codes.lists is not None
        lists = len(codes.lists)

        def found() -> list[list[list[tuple[object, float]]]]:
            return [
                pairs(items.search_batch(queries, limit=5, plan=plan, where=where))
                for plan, where in asked
            ]

        expected = found()
        monkeypatch.setattr(options, "CANDIDATES_MAX", 4000)
        runs.clear()
        assert found() == expected
    assert {run.stages[0].keep for run, _ in runs} > {20, 160}  # widened
    for run, count in runs:
        first = run.stages[0]
        assert isinstance(first, vs.Scan | Probe)
        kept = first.keep
        if isinstance(first, Probe):  # any query of a filtered search may rank them all
            kept += lists if first.nprobe == 9 else min(first.nprobe, lists)
        assert count == 1 or count * kept <= 4000
