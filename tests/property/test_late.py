"""Any order of writes, deletes, flushes and compactions leaves exact late interaction exact."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vecstore as vs
from tests.reference.groups import best_of_each
from tests.reference.late import ModelSets
from vecstore import options
from vecstore.types import Float32, Id

DIM = 4
IDS = st.integers(0, 9)
# Small integers: their inner products are exact in float16 and float32, so that scores and ties
# must agree to the last bit.
VECTOR = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM)
SETS = st.lists(VECTOR, min_size=1, max_size=4).map(lambda rows: np.array(rows, dtype=np.float32))
DENSE = VECTOR.map(lambda row: np.array(row, dtype=np.float32))
WEIGHTS = st.lists(st.sampled_from([0, 1, 2]), min_size=4, max_size=4)
RECORDS = st.tuples(
    IDS,
    st.integers(2000, 2003),
    st.fixed_dictionaries({}, optional={"pages": SETS, "views": SETS, "text": DENSE}),
    WEIGHTS,
)
BUDGETS = st.sampled_from([None, None, 1, 2, 3])
EVERYTHING = 1000


class LateMachine(RuleBasedStateMachine):
    """Runs the same operations on a database and on the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = ModelSets()
        # Every search is cut up for several threads.
        self.patch = mock.patch.object(options, "PARALLEL_BYTES_MIN", 1)
        self.patch.start()

    @initialize(ladder=st.sampled_from([("float32",), ("float16",), ("float16", "float32")]))
    def start(self, ladder: tuple[str, ...]) -> None:
        """Make the collection."""
        self.database = vs.open(self.folder / "db", options=vs.Options(threads=3, background=False))
        self.collection = self.database.create_collection(
            "items",
            vs.Schema(
                vectors=[
                    vs.MultiVector("pages", DIM, "dot", ladder),
                    vs.MultiVector("views", DIM, "dot", ["float16"]),
                    vs.Vector("text", DIM, "dot", ["float16"]),
                ],
                columns=[vs.Column("year", "int")],
            ),
        )

    @rule(batch=st.lists(RECORDS, min_size=1, max_size=6, unique_by=lambda each: each[0]))
    def upsert(self, batch: list[tuple[int, int, dict[str, Float32], list[int]]]) -> None:
        """Write a batch; the vectors of "pages" have salience."""
        vectors: dict[str, Any] = {}
        pages = [found.get("pages", np.empty((0, DIM))) for _, _, found, _ in batch]
        weights = [
            np.float32(weight[: len(each)]) for each, (*_, weight) in zip(pages, batch, strict=True)
        ]
        offsets = np.cumsum([0, *map(len, pages)])
        vectors["pages"] = vs.Tokens(np.concatenate(pages), offsets, np.concatenate(weights))
        for name in ("views", "text"):
            vectors[name] = [found.get(name) for _, _, found, _ in batch]
        payloads = [{"year": year} for _, year, _, _ in batch]
        self.collection.upsert([id_ for id_, *_ in batch], vectors, payloads)
        for (id_, year, found, _), weight in zip(batch, weights, strict=True):
            sets = {name: found[name] for name in ("pages", "views") if name in found}
            self.model.upsert(id_, year, sets, {"pages": weight}, found.get("text"))

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[int]) -> None:
        """Delete records, known or not."""
        self.collection.delete(ids)
        for id_ in ids:
            self.model.entries.pop(id_, None)

    @rule()
    def flush(self) -> None:
        """Move the buffer to a segment."""
        self.collection.flush()

    @rule()
    def compact(self) -> None:
        """Write all segments as one."""
        self.collection.compact()

    @rule(query=SETS, limit=st.integers(1, 12), year=st.integers(1999, 2004), budget=BUDGETS)
    def search(self, query: Float32, limit: int, year: int, budget: int | None) -> None:
        """Exact search, the default plan and plans of several stages give the model's answer."""
        expected = self.model.search("pages", query, year_min=year, budget=budget)[:limit]
        finest = self.collection.schema.vector("pages").representations
        late = [vs.MaxSim("pages", EVERYTHING, spec) for spec in finest]
        plans: list[dict[str, Any]] = [{}, {"exact": True}, {"plan": vs.Cascade([*late, late[-1]])}]
        for plan in plans:
            hits = self.collection.search(
                {"pages": query},
                limit=limit,
                where=f"year >= {year}",
                token_budget=budget,
                explain=True,
                **plan,
            )
            assert [(hit.id, hit.score) for hit in hits] == expected
            for (id_, score), found in zip(expected, hits.matches or (), strict=True):
                tokens = self.model.matches("pages", query, id_, budget)
                assert (found.tokens.tolist(), found.scores.sum()) == (tokens, score)

    @rule(query=DENSE, limit=st.integers(1, 5), budget=BUDGETS)
    def search_by_year(self, query: Float32, limit: int, budget: int | None) -> None:
        """The best vector of the best record of each year is the model's."""
        years = {id_: entry.year for id_, entry in self.model.entries.items()}
        found = self.model.search("pages", query[np.newaxis], budget=budget)
        hits = self.collection.search(
            {"pages": query}, limit=limit, token_budget=budget, agg="max", group_by="year"
        )
        assert [(hit.id, hit.score) for hit in hits] == best_of_each(found, years, limit)

    @rule(queries=st.lists(st.tuples(SETS, DENSE), max_size=9), budget=BUDGETS)
    def search_after_another_field(
        self, queries: list[tuple[Float32, Float32]], budget: int | None
    ) -> None:
        """Candidates of other fields are scored exactly; so are all where that costs no more."""
        dense = {id_ for id_, entry in self.model.entries.items() if entry.dense is not None}
        pages = [query for query, _ in queries]
        text = np.array([vector for _, vector in queries], dtype=np.float32).reshape(-1, DIM)
        default = self.collection.search_batch(
            {"pages": pages, "text": text}, limit=EVERYTHING, token_budget=budget
        )
        views = {id_ for id_, entry in self.model.entries.items() if "views" in entry.sets}
        plan = vs.Cascade(
            [
                vs.Scan("float16", EVERYTHING),
                vs.MaxSim("views", EVERYTHING, token_budget=1),
                vs.MaxSim("pages", EVERYTHING),
            ]
        )
        given = {"pages": pages, "text": text, "views": pages}
        planned = self.collection.search_batch(
            given, plan=plan, limit=EVERYTHING, token_budget=budget
        )
        for place, query in enumerate(pages):
            for among, hits in ((None, default[place]), (dense & views, planned[place])):
                expected = self.model.search("pages", query, budget=budget, among=among)
                assert [(hit.id, hit.score) for hit in hits] == expected

    @rule(query=SETS, ids=st.lists(st.integers(0, 11), max_size=6), budget=BUDGETS)
    def score_given(self, query: Float32, ids: list[Id], budget: int | None) -> None:
        """`rerank` scores what it is given, and `matches` says which vectors make the score."""
        hits = self.collection.rerank({"pages": query}, ids, token_budget=budget)
        expected = self.model.search("pages", query, budget=budget, among=ids)
        assert [(hit.id, hit.score) for hit in hits] == expected
        twice = [*ids, *ids]
        for id_, found in zip(twice, self.collection.matches({"pages": query}, twice), strict=True):
            tokens = self.model.matches("pages", query, id_)
            assert (None if found is None else found.tokens.tolist()) == tokens
            if found is not None:
                assert float(found.scores.sum()) == self.model.score("pages", query, id_)

    @rule(query=DENSE, ids=st.lists(st.integers(0, 11), max_size=6))
    def score_given_by_a_vector(self, query: Float32, ids: list[Id]) -> None:
        """`rerank` of a vector field gives inner products, those without the field left out."""
        hits = self.collection.rerank({"text": query}, ids, limit=3)
        found = [
            (-float(entry.dense @ query), entry.seq, id_)
            for id_ in dict.fromkeys(ids)
            for entry in [self.model.entries.get(id_)]
            if entry is not None and entry.dense is not None
        ]
        expected = [(id_, -score) for score, _, id_ in sorted(found)[:3]]
        assert [(hit.id, hit.score) for hit in hits] == expected

    @invariant()
    def vectors_come_back(self) -> None:
        """Vectors come back in the order in which they were given."""
        if not hasattr(self, "collection"):
            return
        for id_, entry in self.model.entries.items():
            [record] = self.collection.get([id_], with_vectors=True)
            assert record is not None
            assert record.vectors.keys() == {
                *entry.sets,
                *(["text"] if entry.dense is not None else []),
            }
            for name, vectors in entry.sets.items():
                np.testing.assert_array_equal(record.vectors[name], vectors)

    def teardown(self) -> None:
        """What is on disk must be sound."""
        self.patch.stop()
        if hasattr(self, "database"):
            problems = self.database.check()
            self.database.close()
            assert problems == []
        shutil.rmtree(self.folder)


LateMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


class TestLate(LateMachine.TestCase):
    """Any order of operations equals brute force."""
