"""Searches of multivector fields: plans, reports, damage, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import flip, segment_file
from vecstore import options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import DimensionError, InvalidInputError, NotFoundError, RequestError
from vecstore.request import SearchRequest
from vecstore.search import matching
from vecstore.search.plan import make_late_plan, thinned
from vecstore.types import Float32

DIM = 8
ROWS = 60


def sets_of(seed: int, count: int = ROWS) -> list[Float32]:
    """Sets of 1 to 6 random vectors."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((1 + row % 6, DIM)).astype(np.float32) for row in range(count)]


def query_of(seed: int, count: int = 3) -> Float32:
    """Some random vectors."""
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def fill(items: Collection, batches: int = 1) -> None:
    """Write batches of ROWS records; all but the last are flushed."""
    for batch in range(batches):
        if batch:
            items.flush()
        first = batch * ROWS
        sets = sets_of(batch)
        text = np.concatenate([each[:1] for each in sets])
        items.upsert(range(first, first + ROWS), {"pages": sets, "text": text})


def schema(*ladder: str) -> vs.Schema:
    """A multivector field and a vector field."""
    pages = vs.MultiVector("pages", DIM, representations=ladder)
    return vs.Schema(
        [pages, vs.MultiVector("views", DIM, representations=["float16"]), vs.Vector("text", DIM)]
    )


@pytest.fixture
def items(foreground: Database) -> Iterator[Collection]:
    """A collection with two segments and a write buffer."""
    found = foreground.create_collection("items", schema("sign", "float16"))
    fill(found, 3)
    return found


def plan_of(made: vs.Schema, **asked: Any) -> list[tuple[str, int, int]]:
    """What the stages of the default plan read and keep, after how many candidates."""
    query = np.ones((1, DIM), dtype=np.float32)
    request = SearchRequest(
        field=asked.pop("field", ""),
        queries=np.empty((1, 0), dtype=np.float32),
        limit=asked.pop("limit", 10),
        token_queries={"pages": [query]},
        **asked,
    )
    stages, candidates, _ = make_late_plan(request, made)
    return [(stage.representation or "", stage.keep, candidates) for stage in stages]


def test_default_plan_goes_down_the_ladder() -> None:
    """The default plan keeps many by coarse codes, few by finer ones, and scores these."""
    each, least = options.MAXSIM_KEEP["sign"]
    ladder = schema("sign", "float16")
    assert plan_of(ladder) == [("sign", max(least, 10 * each), 0), ("float16", 10, 0)]
    assert plan_of(ladder, limit=least)[0] == ("sign", least * each, 0)
    assert plan_of(ladder, exact=True) == [("float16", 10, 0)]
    assert plan_of(schema("float16")) == [("float16", 10, 0)]


def test_a_vector_field_finds_candidates(foreground: Database) -> None:
    """A query of a vector field finds candidates where scoring all records would cost more."""
    items = foreground.create_collection("items", schema("sign", "float16"))
    fill(items, 2)
    items.flush()
    given = {"pages": query_of(1, 20), "text": query_of(1)[0]}
    few = mock.patch.object(options, "MAXSIM_KEEP_VECTORS", 1)
    with few, mock.patch.dict(options.MAXSIM_KEEP, {"sign": (1, 10)}):
        alone = items.search(given, limit=10, explain=True)
    assert [report.representation for report in alone.explain or ()] == ["sign", "float16"]
    with mock.patch.object(options, "DENSE_KEEP", (1, 20)):
        after = items.search(given, limit=10, explain=True)
    *dense, last = after.explain or ()
    assert {report.stage for report in dense} <= {"scan", "rescore"}
    assert (last.stage, last.representation, last.rows_in) == ("maxsim", "float16", 20)
    assert len(after) == len(alone) == 10
    exact = items.search(given, exact=True, explain=True)
    assert [report.rows_in for report in exact.explain or ()] == [2 * ROWS]


def test_few_records_skip_the_coarse_stage(items: Collection) -> None:
    """Where the coarse stage would keep every allowed record, the finer one scores them all."""
    hits = items.search({"pages": query_of(1)}, limit=20, explain=True)
    assert [report.representation for report in hits.explain or ()] == ["float16"]
    few = mock.patch.object(options, "MAXSIM_KEEP_VECTORS", 1)
    with few, mock.patch.dict(options.MAXSIM_KEEP, {"sign": (2, 20)}):
        hits = items.search({"pages": query_of(1)}, explain=True)
    assert [report.representation for report in hits.explain or ()] == ["sign", "float16"]
    plan = vs.Cascade([vs.MaxSim("pages", 1000, "sign"), vs.MaxSim("pages", 10)])
    hits = items.search({"pages": query_of(1)}, plan=plan, explain=True)
    assert len(hits.explain or ()) == 2


def test_thinned_keeps_the_last_stage() -> None:
    """A plan without its needless stages still has its last one."""
    request = SearchRequest(
        field="",
        queries=np.empty((1, 0), dtype=np.float32),
        limit=10,
        token_queries={"pages": [query_of(1)]},
    )
    plan = make_late_plan(request, schema("sign", "float16"))
    assert [stage.representation for stage in thinned(plan, 0).stages] == ["float16"]
    assert thinned(plan, 1_000_000) == plan


def test_reports_count_records_and_bytes(items: Collection) -> None:
    """Each MaxSim reports its records and the bytes of the tokens that it read."""
    plan = vs.Cascade(
        [vs.Scan("float16", 100), vs.MaxSim("pages", 50, "sign", 2), vs.MaxSim("pages", 5)]
    )
    given = {"pages": query_of(2), "text": query_of(2)[0]}
    hits = items.search(given, plan=plan, limit=5, explain=True)
    scan, coarse, fine = hits.explain or ()
    assert (scan.stage, coarse.stage, fine.stage) == ("scan", "maxsim", "maxsim")
    assert coarse.rows_in == 100
    assert 50 < coarse.rows_out <= 100  # 50 by bits, and by the floats of the write buffer
    assert (fine.rows_in, fine.rows_out, len(hits)) == (coarse.rows_out, 5, 5)
    assert fine.bytes_read % (2 * DIM) == 0
    assert 0 < coarse.bytes_read < fine.bytes_read
    assert (fine.representation, fine.threads) == ("float16", 1)


def test_threads_change_nothing(foreground: Database, tmp_path: Path) -> None:
    """One search and many give the same hits on one thread and on several."""
    queries = [query_of(seed, 1 + seed) for seed in range(9)]
    text = np.concatenate([query[:1] for query in queries])
    found = []
    for threads in (1, 3):
        opened = vs.Options(background=False, threads=threads)
        with (
            vs.open(tmp_path / str(threads), options=opened) as db,
            mock.patch.object(options, "PARALLEL_BYTES_MIN", 1),
        ):
            items = db.create_collection("items", schema("sign", "float16"))
            fill(items, 3)
            batch = items.search_batch({"pages": queries})
            both = items.search_batch({"pages": queries, "text": text})
            single = [items.search({"pages": query}) for query in queries]
            hits = [*batch, *both, *single]
            found.append([(each.ids.tolist(), each.scores.tolist()) for each in hits])
            assert found[-1][: len(batch)] == found[-1][-len(single) :]
    assert found[0] == found[1]


def test_kinds_are_not_compared_before_the_last_stage(items: Collection) -> None:
    """A stage that reads codes of segments and floats of the buffer keeps the best of each."""
    plan = vs.Cascade([vs.MaxSim("pages", 10, "sign"), vs.MaxSim("pages", 10)])
    hits = items.search({"pages": query_of(3)}, plan=plan, explain=True)
    coarse, fine = hits.explain or ()
    assert (coarse.rows_out, fine.rows_in, fine.rows_out) == (20, 20, 10)


@pytest.mark.parametrize("file", ["codes-0-0", "rows", "tokens-0"])
@pytest.mark.parametrize("method", ["search", "rerank", "matches"])
def test_a_damaged_segment_is_left_out(tmp_path: Path, file: str, method: str) -> None:
    """What reads pages goes on without a damaged segment, and says what it leaves out."""
    opened = vs.Options(background=False, threads=1)
    with vs.open(tmp_path, options=opened) as db:
        made = db.create_collection("items", schema("float16"))
        fill(made, 3)
        made.delete([ROWS + 1])
    flip(segment_file(tmp_path, 1, file), 320)
    rest = [*range(ROWS), *range(2 * ROWS, 3 * ROWS)]
    with vs.open(tmp_path, options=opened) as db:
        items = db.collection("items")
        ids = range(3 * ROWS)
        if method == "matches":
            for _ in range(2):
                found = items.matches({"pages": query_of(4)}, ids)
                assert [id_ for id_ in ids if found[id_] is not None] == rest
            return
        if method == "search":
            hits = items.search({"pages": query_of(4)}, limit=1000, explain=True)
            assert len(hits.matches or ()) == 2 * ROWS
        else:
            hits = items.rerank({"pages": query_of(4)}, ids)
            assert not items.rerank({"pages": query_of(4)}, rest).partial
            assert items.rerank({"text": query_of(4)[0]}, ids).partial
            assert not items.rerank({"views": query_of(4)}, ids).partial
            assert not items.rerank({"pages": query_of(4)}, [ROWS + 1]).partial
        assert hits.partial
        assert sorted(hits.ids.tolist()) == rest
        assert not items.search({"views": query_of(4)}).partial
        assert items.search({"text": query_of(4)[0], "pages": query_of(4)}).partial


def test_explained_searches_say_what_matched(items: Collection) -> None:
    """Each hit has the matches of the field that made its score, as `matches` gives them."""
    query = query_of(5)
    hits = items.search({"pages": query}, limit=20, explain=True)
    asked = items.matches({"pages": query}, hits.ids)
    for score, found, given in zip(hits.scores, hits.matches or (), asked, strict=True):
        assert given is not None
        assert found.tokens.tolist() == given.tokens.tolist()
        assert found.scores.tolist() == given.scores.tolist()
        assert found.scores.sum() == pytest.approx(score, abs=1e-3)
    assert items.search({"pages": query}).matches is None
    assert items.search({"text": query[0]}, explain=True).matches is None
    assert items.rerank({"pages": query}, [1]).matches is None
    assert items.search({"views": query}, explain=True).matches == ()


def test_each_record_is_matched_once(items: Collection) -> None:
    """`matches` reads a record once, however often its id is given."""
    with mock.patch.object(matching, "matches", wraps=matching.matches) as matched:
        found = items.matches({"pages": query_of(5)}, [3, 99, 3, 3, 1000, 99])
    assert matched.call_count == 2
    assert found[0] is found[2] is found[3]
    assert (found[1] is found[5], found[4]) == (True, None)


def test_a_small_filter_verifies_what_it_reads(tmp_path: Path) -> None:
    """A search of few records does not read, and does not find, damage in others."""
    opened = vs.Options(background=False, threads=1)
    with vs.open(tmp_path, options=opened) as db:
        made = db.create_collection(
            "items",
            vs.Schema(
                [vs.MultiVector("pages", 256, representations=["float16"])],
                [vs.Column("year", "int")],
            ),
        )
        sets = np.random.default_rng(0).standard_normal((6000, 1, 256))
        made.upsert(range(6000), {"pages": list(sets)}, [{"year": row} for row in range(6000)])
        made.flush()
    flip(segment_file(tmp_path, 0, "codes-0-0"), 40 << 16)
    with vs.open(tmp_path, options=opened) as db:
        items = db.collection("items")
        hits = items.search({"pages": sets[3]}, where="year < 5")
        assert (hits.ids[0], len(hits), hits.partial) == (3, 5, False)
        assert items.search({"pages": sets[3]}).partial


def test_a_field_that_was_added_or_is_empty(foreground: Database) -> None:
    """A field that no record has finds nothing, alone, after another and in `rerank`."""
    items = foreground.create_collection("items", schema("float16"))
    assert len(items.search({"pages": query_of(1)})) == 0
    fill(items)
    assert len(items.search({"views": query_of(1)})) == 0
    assert len(items.search({"views": query_of(1), "text": query_of(1)[0]})) == 0
    assert len(items.rerank({"views": query_of(1)}, [1, 2])) == 0
    assert items.matches({"views": query_of(1)}, [1, 99]) == [None, None]
    assert items.search_batch({"views": []}) == []


MAXSIM = vs.MaxSim("pages", 10)
TEXT = [1.0] * DIM
PAGES = [TEXT, TEXT]


@pytest.mark.parametrize(
    ("vectors", "asked", "error", "words"),
    [
        (
            {"pages": TEXT},
            {},
            DimensionError,
            r"query of shape \(8,\) .*'pages', expected \(n, 8\)",
        ),
        ({"pages": [[1, 2]]}, {}, DimensionError, r"shape \(1, 2\)"),
        ({"pages": np.ones((0, DIM))}, {}, DimensionError, "n from 1 to 2,048"),
        ({"pages": [[np.nan] * DIM]}, {}, InvalidInputError, "nan"),
        ({"text": PAGES}, {}, DimensionError, r"query of shape \(2, 8\) .*'text'"),
        ({"pagse": PAGES}, {}, NotFoundError, "no vector field 'pagse'"),
        (PAGES, {}, RequestError, "expected a dict"),
        ({}, {}, RequestError, "queries for 0 vector fields"),
        ({"pages": PAGES, "views": PAGES}, {}, RequestError, "'pages', 'views'; say with plan="),
        ({"text": TEXT}, {"token_budget": 2}, RequestError, "no multivector field"),
        ({"pages": PAGES}, {"token_budget": 0}, RequestError, "token_budget is 0, expected"),
        ({"text": TEXT}, {"plan": [MAXSIM]}, RequestError, "no query for multivector field 'page"),
        ({"views": PAGES}, {"plan": [MAXSIM]}, RequestError, "'views', which no stage"),
        ({"pages": PAGES, "text": TEXT}, {"plan": [MAXSIM]}, RequestError, "'text', which no st"),
        ({"pages": PAGES}, {"plan": [vs.Scan("float16", 9)]}, RequestError, "no query for a vect"),
        (
            {"pages": PAGES},
            {"plan": [vs.MaxSim("pages", 9, "bits4")]},
            NotFoundError,
            "plan reads 'bits4', but vector field 'pages' has 'sign', 'float16'",
        ),
    ],
)
def test_wrong_searches(
    items: Collection, vectors: Any, asked: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A query or a plan that does not fit the fields is refused in words that say why."""
    if "plan" in asked:
        asked = {"plan": vs.Cascade(asked["plan"])}
    with pytest.raises(error, match=words):
        items.search(vectors, **asked)


def test_wrong_batches_and_lists(items: Collection) -> None:
    """Batches of unequal numbers, and lists that are too long or of no field, are refused."""
    with pytest.raises(RequestError, match="1 queries for field 'pages' and 2 for another"):
        items.search_batch({"pages": [PAGES], "text": [TEXT, TEXT]})
    with pytest.raises(DimensionError, match=r"query 1 of shape \(8,\)"):
        items.search_batch({"pages": [PAGES, TEXT]})
    with pytest.raises(DimensionError, match="are a int, expected a list"):
        items.search_batch({"pages": 3})
    with pytest.raises(RequestError, match="fields 'text', 'pages', expected one field"):
        items.rerank({"pages": PAGES, "text": TEXT}, [1])
    with pytest.raises(RequestError, match="query for vector field 'text'"):
        items.matches({"text": TEXT}, [1])
    for method in (items.rerank, items.matches):
        with pytest.raises(RequestError, match="has 10,001 ids, expected at most 10,000"):
            method({"pages": PAGES}, range(10_001))


@pytest.mark.parametrize(
    "stages",
    [
        [vs.Rescore("float16", 10)],
        [MAXSIM, vs.Rescore("float16", 5)],
        [MAXSIM, vs.Scan("float16", 5)],
        [MAXSIM, vs.MaxSim("pages", 11)],
        [vs.Scan("float16", 9), MAXSIM],
    ],
)
def test_wrong_cascades(stages: list[Any]) -> None:
    """A MaxSim comes first or last, and keeps no more than it gets."""
    with pytest.raises(RequestError, match="plan "):
        vs.Cascade(stages)
