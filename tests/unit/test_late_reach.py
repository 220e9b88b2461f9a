"""What a search of a multivector field reaches: all records, as many as asked for, in bounds."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import vecstore as vs
from tests.unit.test_late import fill, query_of, schema, sets_of
from vecstore import options
from vecstore.codec import centroid_training
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.search import late
from vecstore.segment import base

FEW = mock.patch.object(options, "DENSE_KEEP", (1, 20))


def stages(hits: vs.Hits) -> list[str]:
    return [report.stage for report in hits.explain or ()]


@pytest.mark.parametrize("lacks", ["pages", "text"])
def test_records_with_one_of_the_fields_displace_none(foreground: Database, lacks: str) -> None:
    """A vector field finds the candidates only where the same records have both fields."""
    items = foreground.create_collection("items", schema("sign", "float16"))
    fill(items, 2)
    given = {"pages": query_of(1, 20), "text": query_of(1)[0]}
    with FEW:
        assert "scan" in stages(items.search(given, limit=10, explain=True))
        own: dict[str, Any] = {"pages": sets_of(9, 500), "text": np.tile(given["text"], (500, 1))}
        items.upsert(range(1_000, 1_500), {name: own[name] for name in own if name != lacks})
        found = items.search(given, limit=10, explain=True)
    assert set(stages(found)) == {"maxsim"}
    assert found.ids.tolist() == items.search({"pages": given["pages"]}, limit=10).ids.tolist()


def test_a_vector_field_finds_candidates_for_every_way_to_score(foreground: Database) -> None:
    """`agg="max"` after dense stages, of the default plan or a given one, which may keep many."""
    items = foreground.create_collection("items", schema("sign", "float16"))
    fill(items, 2)
    given = {"pages": query_of(1, 1), "text": query_of(1)[0]}
    plan = vs.Cascade([vs.Scan("float16", 20_000), vs.MaxSim("pages", 5)])
    with FEW:
        for plan_ in (None, plan):
            found = items.search(given, limit=5, plan=plan_, agg="max")
            again = items.search(given, limit=5, plan=plan_)
            assert found.ids.tolist() == again.ids.tolist()
            assert len(found) == 5


def test_no_more_is_kept_for_a_query_than_it_asked_for(foreground: Database) -> None:
    """While other queries of a batch are answered, whatever the last stage keeps."""
    items = foreground.create_collection("items", schema("float16"))
    fill(items)
    kept = []

    def made(*given: Any) -> vs.Hits:
        kept.append(len(given[2].candidates.row))
        return late_hits(*given)

    late_hits = late.make_hits
    plan = vs.Cascade([vs.MaxSim("pages", 1_000)])
    with mock.patch.object(late, "make_hits", made):
        items.search_batch({"pages": [query_of(1), query_of(2)]}, limit=3, plan=plan)
    assert kept == [3, 3]


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """Records of many tokens, with centroids."""
    monkeypatch.setattr(centroid_training, "_CENTROIDS_MIN", 16)
    monkeypatch.setattr(options, "MAXSIM_CANDIDATES_MIN", 1)
    rng = np.random.default_rng(3)
    database = vs.open(tmp_path / "db", options=vs.Options(background=False))
    field = vs.MultiVector("pages", 16, representations=["ids", "float16"])
    found = database.create_collection("c", vs.Schema([field]))
    found.upsert(range(400), list(rng.standard_normal((400, 12, 16)).astype(np.float32)))
    found.compact()
    return found


def probing(items: Collection, **asked: Any) -> int:
    """How many records a plan that probes scores first."""
    nprobe = asked.pop("nprobe", 2)
    plan = vs.Cascade([vs.MaxSim("pages", 10, "ids", nprobe=nprobe), vs.MaxSim("pages", 5)])
    query = np.random.default_rng(4).standard_normal((4, 16)).astype(np.float32)
    hits = items.search({"pages": query}, limit=5, plan=plan, explain=True, **asked)
    assert hits.explain is not None
    return hits.explain[0].rows_in


def test_candidates_are_not_those_of_tokens_that_a_budget_leaves_out(
    tokens: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Centroids are of all tokens, so that with a budget every record is scored."""
    assert probing(tokens) < 400
    assert probing(tokens, token_budget=2) == 400
    query = {"pages": np.random.default_rng(5).standard_normal((4, 16)).astype(np.float32)}
    monkeypatch.setattr(options, "MAXSIM_KEEP", {"ids": (1, 20)})
    for name, value in (("SCAN_MAX", 1), ("NPROBE", 2), ("CANDIDATES", 5), ("KEEP_VECTORS", 1)):
        monkeypatch.setattr(options, f"MAXSIM_{name}", value)
    for budget, everything in ((None, False), (3, True)):
        hits = tokens.search(query, token_budget=budget, explain=True)
        assert hits.explain is not None
        assert (hits.explain[0].rows_in == 400) is everything


def test_to_probe_nearly_all_is_to_scan(tokens: Collection) -> None:
    """What would read more than there are tokens reads these."""
    assert probing(tokens, nprobe=100_000) == 400


def test_centroids_of_records_are_worked_out_once(
    tokens: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one of the searches that come first, while the others wait."""
    made = []

    class Kernels:
        @staticmethod
        def Postings(*given: Any) -> Any:  # noqa: N802
            made.append(given)
            return kernels.Postings(*given)

    kernels = base._kernels
    monkeypatch.setattr(base, "_kernels", Kernels)
    threads = [threading.Thread(target=probing, args=(tokens,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
