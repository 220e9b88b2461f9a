"""Hits of `group_by`: the best record of each value of a column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import vecstore as vs
from tests.reference.groups import best_of_each
from tests.unit.damaged import flip, segment_file
from tests.unit.fake_database import Starter
from vecstore import options
from vecstore.collection import Collection
from vecstore.errors import DimensionError, NotFoundError, RequestError, VecstoreError
from vecstore.search import groups
from vecstore_proto.convert import ids_to_wire
from vecstore_proto.tensors import field_vectors_to_wire
from vecstore_proto.v1 import collection_pb2, collection_pb2_grpc

DIM = 8
ROWS = 600
SCHEMA = vs.Schema(
    vectors=[
        vs.Vector("text", DIM, representations=["bits2", "float32"]),
        vs.MultiVector("views", DIM, representations=["float32"]),
    ],
    columns=[
        vs.Column("int", "int"),
        vs.Column("keyword", "keyword"),
        vs.Column("bool", "bool"),
        vs.Column("timestamp", "timestamp"),
        vs.Column("float", "float"),
        vs.Column("ints", "list[int]"),
    ],
)
RNG = np.random.default_rng(5)
TEXTS = RNG.standard_normal((ROWS, DIM), dtype=np.float32)
VIEWS = [RNG.standard_normal((1 + row % 3, DIM), dtype=np.float32) for row in range(ROWS)]
QUERIES = RNG.standard_normal((5, DIM), dtype=np.float32)


def payload_of(row: int) -> dict[str, Any] | None:
    """Values that many records share, some of them only in one source; none for each 40th."""
    parent = row // 90
    if row % 40 == 0:
        return None
    return {
        "int": parent - 2,
        "keyword": f"é {parent}",
        "bool": parent % 2 == 0,
        "timestamp": f"20{10 + parent}-01-01T00:00:00Z",
    }


def fill(path: Path) -> vs.Database:
    """Records in two segments and in the write buffer."""
    db = vs.open(path, options=vs.Options(background=False, threads=2))
    items = db.create_collection("items", SCHEMA)
    for first in range(0, ROWS, ROWS // 3):
        rows = range(first, first + ROWS // 3)
        given = {"text": TEXTS[rows.start : rows.stop], "views": [VIEWS[row] for row in rows]}
        items.upsert(rows, given, [payload_of(row) for row in rows])
        if rows.stop < ROWS:
            items.flush()
    return db


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The collection of `fill`."""
    with fill(tmp_path_factory.mktemp("groups") / "db") as db:
        yield db.collection("items")


def pairs(hits: vs.Hits) -> list[tuple[int | str, float]]:
    """Ids and scores."""
    return list(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))


@pytest.mark.parametrize("column", ["int", "keyword", "bool", "timestamp"])
@pytest.mark.parametrize("field", ["text", "views"])
@pytest.mark.parametrize("limit", [1, 6, 50])
def test_each_value_comes_once(items: Collection, column: str, field: str, limit: int) -> None:
    """The hits are what is left of all records, best first, and all those without a value."""
    query = {field: QUERIES[0] if field == "text" else QUERIES[:2]}
    values = {row: (payload_of(row) or {}).get(column) for row in range(ROWS)}
    everything = pairs(items.search(query, limit=ROWS, exact=True))
    assert len(everything) == ROWS
    hits = items.search(query, limit=limit, exact=True, group_by=column)
    assert pairs(hits) == best_of_each(everything, values, limit)
    assert [hit.payload for hit in hits] == [payload_of(row) or {} for row in hits.ids.tolist()]


def test_what_goes_with_groups(items: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters, vectors, and the default plan with its reports of each search that it took."""
    monkeypatch.setattr(groups, "GROWTH", 2)
    query = {"text": QUERIES[0]}
    hits = items.search(query, limit=5, group_by="int", where="int > 1", with_vectors=True)
    assert sorted(hit.payload["int"] for hit in hits) == [2, 3, 4]
    np.testing.assert_allclose(
        [hit.vectors["text"] @ QUERIES[0] / np.linalg.norm(QUERIES[0]) for hit in hits],
        hits.scores,
        rtol=1e-5,
    )
    hits = items.search(query, limit=2, group_by="bool", where="int >= -2", explain=True)
    assert [hit.payload["bool"] for hit in hits] in ([True, False], [False, True])
    hits = items.search(query, limit=7, group_by="int", where="int >= -2", explain=True)
    assert hits.explain is not None
    assert len(hits) == 7
    assert not hits.partial
    once = items.search(query, explain=True).explain
    assert once is not None
    assert len(hits.explain) >= 2 * len(once)
    assert len(items.search(query, group_by="int", where="int > 100")) == 0


def test_many_queries(items: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query of a batch is answered as if alone, however many hits may be asked for at once."""
    given = {"text": QUERIES, "views": [QUERIES[place:] for place in range(5)]}
    for names in (["text"], ["views"], ["text", "views"]):
        asked = {name: given[name] for name in names}
        alone = [
            items.search({name: asked[name][place] for name in names}, limit=6, group_by="int")
            for place in range(5)
        ]
        for most in (options.RESULTS_MAX, 100):
            monkeypatch.setattr(options, "RESULTS_MAX", most)
            found = items.search_batch(asked, limit=6, group_by="int")
            assert list(map(pairs, found)) == list(map(pairs, alone))
            monkeypatch.undo()
    assert items.search_batch({"text": np.empty((0, DIM))}, group_by="int") == []


def test_what_bounds_groups(items: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are found than are among what a plan keeps last, or among LIMIT_MAX records."""
    query = {"text": QUERIES[0]}
    values = {row: (payload_of(row) or {}).get("int") for row in range(ROWS)}
    plan = vs.Cascade([vs.Scan("float32", 9)])
    hits = items.search(query, limit=8, plan=plan, group_by="int")
    assert pairs(hits) == best_of_each(pairs(items.search(query, limit=9, exact=True)), values, 8)
    assert len(hits) < 8
    monkeypatch.setattr(options, "LIMIT_MAX", 12)
    hits = items.search(query, limit=11, exact=True, group_by="int")
    assert pairs(hits) == best_of_each(pairs(items.search(query, limit=12, exact=True)), values, 11)


def test_best_of_the_vectors_of_a_record(items: Collection) -> None:
    """With "max" a query is one vector, alone or in an array, and scores its best match."""
    query = QUERIES[3] / np.linalg.norm(QUERIES[3])
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in VIEWS]
    best = sorted(((-float((each @ query).max()), row) for row, each in enumerate(units)))[:10]
    for given in (QUERIES[3], QUERIES[3:4], QUERIES[3].tolist()):
        hits = items.search({"views": given}, agg="max")
        assert hits.ids.tolist() == [row for _, row in best]
        np.testing.assert_allclose(hits.scores, [-score for score, _ in best], rtol=1e-5)
    found = items.search_batch({"views": QUERIES}, agg="max", group_by="int")
    assert pairs(found[3]) == pairs(items.search({"views": query}, agg="max", group_by="int"))


WRONG: list[tuple[dict[str, Any], type[VecstoreError], str]] = [
    ({"group_by": "parent"}, NotFoundError, "no column 'parent' to group by; .* has 'int', 'key"),
    ({"group_by": 3}, NotFoundError, "no column 3"),
    ({"group_by": "float"}, RequestError, "type 'float', expected one of type 'int', 'keyword'"),
    ({"group_by": "ints"}, RequestError, r"type 'list\[int\]', expected one"),
    ({"agg": "sum"}, RequestError, "agg is 'sum', expected 'maxsim' or 'max'"),
    ({"agg": "max"}, DimensionError, r"shape \(5, 8\) .* expected \(8,\) or \(1, 8\): with agg="),
]


@pytest.mark.parametrize(("asked", "error", "words"), WRONG)
def test_wrong_groups(
    items: Collection, asked: dict[str, Any], error: type[VecstoreError], words: str
) -> None:
    """What cannot be grouped by, or is not one vector, is refused in words that say why."""
    with pytest.raises(error, match=words):
        items.search({"views": QUERIES}, **asked)


def test_a_vector_field_has_nothing_to_add_up(items: Collection) -> None:
    """`agg` without a multivector field is refused."""
    with pytest.raises(RequestError, match="agg is 'max', but no multivector field"):
        items.search({"text": QUERIES[0]}, agg="max")


def test_damage_leaves_a_segment_out(tmp_path: Path) -> None:
    """A segment whose column cannot be read is left out, and the hits say that they are partial."""
    with fill(tmp_path / "db"):
        pass
    flip(segment_file(tmp_path / "db", 1, "column-1"), 320)
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as db:
        hits = db.collection("items").search({"text": QUERIES[0]}, limit=50, group_by="keyword")
        assert hits.partial
        assert not set(hits.ids.tolist()) & set(range(ROWS // 3, 2 * ROWS // 3))
        assert len(hits) > 6


@pytest.mark.parametrize("asked", [{"group_by": "int"}, {"agg": "max"}])
def test_given_records_are_not_grouped(start: Starter, asked: dict[str, str]) -> None:
    """A request to score given records that asks for groups, too, is refused by the server."""
    _, server = start()
    request = collection_pb2.SearchRequest(collection="fake", among=ids_to_wire([1]), **asked)  # type: ignore[arg-type]
    field_vectors_to_wire("text", QUERIES[0], request.vectors.add())
    with grpc.insecure_channel(server.address) as plain:
        stub: Any = collection_pb2_grpc.CollectionServiceStub(plain)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Search(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "`group_by` or `agg`" in caught.value.details()
