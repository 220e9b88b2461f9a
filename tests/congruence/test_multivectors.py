"""Multivector fields are written, read and searched alike, embedded and over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.congruence.blocking import Blocking
from tests.congruence.pair import Pair, paired
from vecstore import errors
from vecstore.types import Array

DIM = 16
SCHEMA = vs.Schema(
    vectors=[vs.MultiVector("pages", DIM), vs.Vector("text", DIM)],
    columns=[vs.Column("year", "int"), vs.Column("shelf", "keyword"), vs.Column("price", "float")],
)
Call = Callable[[Any], Any]


def sets(count: int, most: int, seed: int) -> list[Array]:
    """Arrays of 1 to `most` vectors."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, most + 1, size=count)
    return [rng.standard_normal((length, DIM), dtype=np.float32) for length in lengths]


PAGES, QUERIES = sets(40, 9, seed=1), sets(4, 40, seed=2)
TEXTS = np.stack([page.mean(axis=0) for page in PAGES])
TEXT = QUERIES[0][0]


@pytest.fixture(scope="module", params=["remote", "asyncio"])
def books(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """Records of which some lack pages, in a segment and in the write buffer."""
    connect = vs.connect if request.param == "remote" else Blocking.connect
    with paired(tmp_path_factory.mktemp("pair"), vs.Options(background=False), connect) as pair:
        made = pair.collection("create_collection", "books", SCHEMA)
        given: list[Array | None] = [*PAGES[:30], *[None] * 10]
        payloads = [{"year": 2000 + row, "shelf": f"é{row // 9}"} for row in range(40)]
        made("upsert", range(40), {"pages": given, "text": TEXTS}, payloads)
        made("flush")
        tokens = PAGES[25:35]
        made(
            "upsert",
            range(25, 35),
            {
                "pages": vs.Tokens(
                    np.concatenate(tokens),
                    np.cumsum([0, *map(len, tokens)]),
                    np.concatenate([np.linspace(0, 1, len(each)) for each in tokens]),
                )
            },
        )
        yield made
        assert pair("check") == []


def test_what_was_written_is_read_alike(books: Pair) -> None:
    """Get and scroll give the same vectors, in the order in which they were given."""
    books("get", range(41), with_vectors=True)
    books.run(lambda item: list(item.scroll(with_vectors=True)))
    books("stats")
    record = books.remote.get([27], with_vectors=True)[0]
    unit = PAGES[27] / np.linalg.norm(PAGES[27], axis=1, keepdims=True)
    assert np.abs(record.vectors["pages"] - unit).max() < 1e-3


SEARCHES: dict[str, Call] = {
    "one": lambda item: item.search({"pages": QUERIES[0]}),
    "exact": lambda item: item.search({"pages": QUERIES[1]}, exact=True, with_vectors=True),
    "budget": lambda item: item.search({"pages": QUERIES[1]}, token_budget=2),
    "filter": lambda item: item.search({"pages": QUERIES[1]}, where="year < 2010"),
    "batch": lambda item: item.search_batch({"pages": QUERIES}, limit=3, with_payload=False),
    "both": lambda item: item.search({"text": TEXT, "pages": QUERIES[0]}, limit=5),
    "both in a batch": lambda item: item.search_batch({"text": TEXTS[:4], "pages": QUERIES}),
    "matches of hits": lambda item: item.search_batch({"pages": QUERIES}, explain=True),
    "matches of no hits": lambda item: item.search(
        {"pages": QUERIES[0]}, where="year < 0", explain=True
    ),
    "matches after another field": lambda item: item.search(
        {"text": TEXT, "pages": QUERIES[0]},
        plan=vs.Cascade([vs.Scan("float16", 20), vs.MaxSim("pages", 5)]),
        explain=True,
    ),
    "matches of many hits": lambda item: item.search(
        {"pages": QUERIES[0]}, limit=40, token_budget=2, with_payload=False, explain=True
    ),
    "plan": lambda item: item.search(
        {"text": TEXT, "pages": QUERIES[0]},
        plan=vs.Cascade([vs.Scan("float16", 20), vs.MaxSim("pages", 5, token_budget=3)]),
    ),
    "groups": lambda item: item.search(
        {"text": TEXT}, limit=4, group_by="shelf", explain=True, with_vectors=True
    ),
    "groups of pages": lambda item: item.search(
        {"pages": QUERIES[0]}, limit=9, group_by="shelf", exact=True, where="year < 2030"
    ),
    "groups in a batch": lambda item: item.search_batch(
        {"pages": QUERIES, "text": TEXTS[:4]}, limit=5, group_by="shelf"
    ),
    "groups of a plan": lambda item: item.search(
        {"text": TEXT}, plan=vs.Cascade([vs.Scan("float16", 12)]), group_by="year"
    ),
    "one vector": lambda item: item.search({"pages": TEXT.tolist()}, agg="max"),
    "one vector in an array": lambda item: item.search({"pages": QUERIES[0][:1]}, agg="max"),
    "one vector each": lambda item: item.search_batch(
        {"pages": [TEXT, QUERIES[1][:1]]}, agg="max", group_by="shelf"
    ),
    "one vector each in an array": lambda item: item.search_batch({"pages": TEXTS[:5]}, agg="max"),
    "as always": lambda item: item.search({"pages": QUERIES[1]}, agg="maxsim"),
    "rerank": lambda item: item.rerank({"pages": QUERIES[2]}, [3, 99, 27, 39, 3]),
    "rerank by text": lambda item: item.rerank({"text": TEXT}, [3, 99, 27], limit=1),
    "recall": lambda item: item.measure_recall({"pages": QUERIES}, limit=3, where="year < 2030"),
    "recall of both": lambda item: item.measure_recall({"text": TEXTS[:4], "pages": QUERIES}),
    "matches": lambda item: item.matches({"pages": QUERIES[3]}, [3, 99, 27, 39]),
    "matches of one again": lambda item: item.matches({"pages": QUERIES[3]}, [3, 99, 3, 39, 3]),
    "matches of none": lambda item: item.matches({"pages": QUERIES[3]}, []),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_answer_alike(books: Pair, name: str) -> None:
    """Every way to ask for pages gives equal ids, scores, payloads and vectors on both."""
    found = books.run(SEARCHES[name])
    assert not (isinstance(found, tuple) and isinstance(found[0], type)), found


WRONG: dict[str, tuple[type[Exception], Call]] = {
    "unknown group": (
        errors.NotFoundError,
        lambda item: item.search({"text": TEXT}, group_by="parent"),
    ),
    "a group that is no text": (
        errors.NotFoundError,
        lambda item: item.search({"text": TEXT}, group_by="\ud800"),
    ),
    "a group and a filter": (
        errors.NotFoundError,
        lambda item: item.search({"text": TEXT}, group_by=5, where="parent = 3"),
    ),
    "a group of floats": (
        errors.RequestError,
        lambda item: item.search_batch({"text": [TEXT]}, group_by="price"),
    ),
    "a query of None": (errors.VectorError, lambda item: item.search({"pages": [None]})),
    "agg for text": (errors.RequestError, lambda item: item.search({"text": TEXT}, agg="max")),
    "unknown agg": (errors.RequestError, lambda item: item.search({"pages": [TEXT]}, agg="sum")),
    "agg that is no text": (
        errors.RequestError,
        lambda item: item.search({"pages": [TEXT]}, agg=["max"]),
    ),
    "more than one vector": (
        errors.DimensionError,
        lambda item: item.search({"pages": QUERIES[0][:2]}, agg="max"),
    ),
    "more than one vector in a batch": (
        errors.DimensionError,
        lambda item: item.search_batch({"pages": [TEXT, QUERIES[0][:2]]}, agg="max"),
    ),
    "vectors of three axes": (
        errors.DimensionError,
        lambda item: item.search_batch({"pages": [[[TEXT]]]}, agg="max"),
    ),
    "one of another dim": (
        errors.DimensionError,
        lambda item: item.search({"pages": TEXT[:3]}, agg="max"),
    ),
    "one axis": (errors.DimensionError, lambda item: item.search({"pages": TEXT})),
    "no vectors": (errors.DimensionError, lambda item: item.search({"pages": np.empty((0, DIM))})),
    "wrong dim": (errors.DimensionError, lambda item: item.search({"pages": np.ones((2, 3))})),
    "a query is None": (errors.VectorError, lambda item: item.search_batch({"pages": [None]})),
    "a string": (errors.DimensionError, lambda item: item.search_batch({"pages": "pages"})),
    "two axes for text": (errors.DimensionError, lambda item: item.search({"text": QUERIES[0]})),
    "nan": (errors.VectorError, lambda item: item.search({"pages": np.full((2, DIM), np.nan)})),
    "recall of no list": (
        errors.DimensionError,
        lambda item: item.measure_recall({"pages": "pages"}),
    ),
    "recall of large queries": (
        errors.RequestError,
        lambda item: item.measure_recall({"pages": [np.ones((2_000, DIM))] * 132}),
    ),
    "counts": (
        errors.RequestError,
        lambda item: item.search_batch({"pages": QUERIES, "text": TEXTS[:3]}),
    ),
    "budget of 0": (
        errors.RequestError,
        lambda item: item.search({"pages": QUERIES[0]}, token_budget=0),
    ),
    "budget for text": (
        errors.RequestError,
        lambda item: item.search({"text": TEXT}, token_budget=1),
    ),
    "unread field": (
        errors.RequestError,
        lambda item: item.search(
            {"pages": QUERIES[0], "text": TEXT}, plan=vs.Cascade([vs.MaxSim("pages", 5)])
        ),
    ),
    "unknown representation": (
        errors.NotFoundError,
        lambda item: item.search(
            {"pages": QUERIES[0]}, plan=vs.Cascade([vs.MaxSim("pages", 5, "res2")])
        ),
    ),
    "matches of text": (errors.RequestError, lambda item: item.matches({"text": TEXT}, [1])),
    "limit of 0": (
        errors.RequestError,
        lambda item: item.rerank({"pages": QUERIES[0]}, [1], limit=0),
    ),
    "no ids": (errors.IdError, lambda item: item.rerank({"pages": QUERIES[0]}, "3")),
    "too many ids": (
        errors.RequestError,
        lambda item: item.matches({"pages": QUERIES[0]}, range(10_001)),
    ),
    "sets of another dim": (
        errors.DimensionError,
        lambda item: item.upsert([1], {"pages": [np.ones((2, 3))]}),
    ),
    "an empty set": (
        errors.DimensionError,
        lambda item: item.upsert(["a"], {"pages": [np.empty((0, DIM))]}),
    ),
    "too few sets": (
        errors.DimensionError,
        lambda item: item.upsert([1, 2], {"pages": [np.ones((2, DIM))]}),
    ),
    "one array": (errors.DimensionError, lambda item: item.upsert([1], {"pages": TEXTS})),
    "offsets": (
        errors.DimensionError,
        lambda item: item.upsert([1], {"pages": vs.Tokens(TEXTS, np.array([0, 7]))}),
    ),
    "salience": (
        errors.DimensionError,
        lambda item: item.upsert([1], {"pages": vs.Tokens(TEXTS, [0, len(TEXTS)], np.ones(3))}),
    ),
    "nan in a set": (
        errors.VectorError,
        lambda item: item.upsert(["a"], {"pages": [np.full((2, DIM), np.nan)]}),
    ),
    "a policy that is no text": (
        errors.SchemaError,
        lambda item: item.alter("pages", pruning=7),
    ),
    "a policy that there is not": (
        errors.SchemaError,
        lambda item: item.alter("pages", pooling="ward"),
    ),
    "a policy with a surrogate": (
        errors.SchemaError,
        lambda item: item.alter("pages", pooling="ward\ud800"),
    ),
    "a policy of one vector": (
        errors.SchemaError,
        lambda item: item.alter("text", pruning="share0.5"),
    ),
    "no change": (errors.RequestError, lambda item: item.alter("pages")),
    "codes": (
        errors.CodecError,
        lambda item: item.upsert([1], {"pages": vs.Codes("res2", "0", np.zeros((1, 7), np.uint8))}),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused_alike(books: Pair, name: str) -> None:
    """The same error with the same text on both, and nothing is written."""
    kind, call = WRONG[name]
    before = books("count")
    found = books.run(call)
    assert found[0] is kind, found
    assert books("count") == before


@pytest.mark.parametrize(
    "field",
    [
        lambda: vs.MultiVector("pages", DIM, "l2"),
        lambda: vs.MultiVector("pages", DIM, representations=["bits2"]),
        lambda: vs.Vector("pages", DIM, representations=["res2"]),
    ],
)
def test_fields_that_cannot_be_are_refused_alike(
    tmp_path: Path, field: Callable[[], vs.Vector]
) -> None:
    """A metric or a representation of the other kind of field is a SchemaError."""
    with paired(tmp_path, vs.Options(background=False)) as pair:
        found = pair.run(lambda item: item.create_collection("c", vs.Schema([field()])))
        assert found[0] is errors.SchemaError


def test_a_large_batch_goes_in_parts(tmp_path: Path) -> None:
    """Sets of more than one message arrive whole."""
    pages = sets(40, 4_000, seed=3)
    with paired(tmp_path, vs.Options(background=False)) as pair:
        made = pair.collection("create_collection", "c", vs.Schema([vs.MultiVector("pages", DIM)]))
        made("upsert", range(40), pages)
        made("get", range(40), with_vectors=True)
        made("search_batch", pages[:5], limit=2)


def test_policies_are_run_again_alike(tmp_path: Path) -> None:
    """Both have the same tokens and schema after a policy, another ladder, and none."""
    with paired(tmp_path, vs.Options(background=False)) as pair:
        made = pair.collection("create_collection", "c", vs.Schema([vs.MultiVector("pages", DIM)]))
        made("upsert", range(30), PAGES[:30])
        made("flush")
        made("upsert", range(20, 40), PAGES[20:])
        for given in (
            {"pruning": "share0.7"},
            {"representations": ["int8", "float16"], "pooling": "fixed3"},
            {"pruning": "", "pooling": ""},
        ):
            made("alter", "pages", **given)
            made("get", range(40), with_vectors=True)
            made("search_batch", QUERIES, limit=5)
            made.run(lambda item: item.schema)


def test_plans_probe_alike(books: Pair) -> None:
    """A plan with nprobe reaches the server as it is, also where it cannot be."""
    for spec in ("ids", "res2", None):
        plan = vs.Cascade([vs.MaxSim("pages", 20, spec, nprobe=4), vs.MaxSim("pages", 5)])
        books("search", {"pages": QUERIES[0]}, limit=5, plan=plan)
