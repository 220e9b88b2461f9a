"""Any order of writes, deletes, flushes and restarts equals a dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vecstore as vs
from tests.reference.database import ModelCollection
from vecstore.database import Database
from vecstore.types import Float32, Id

DIM = 6
LADDER = ("bits1", "bits4", "float16")
IDS = st.one_of(st.integers(-3, 12), st.sampled_from(["a", "b", "ü", "7"]))
# Small integers: their inner products are exact in every representation that holds floats, so
# that scores and ties must agree to the last bit.
VECTORS = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM).map(
    lambda values: np.array(values, dtype=np.float32)
)
RECORDS = st.tuples(
    IDS,
    st.fixed_dictionaries({}, optional={"text": VECTORS, "image": VECTORS}),
    st.fixed_dictionaries({}, optional={"year": st.integers(2000, 2005), "note": st.text()}),
)
YEARS = st.one_of(st.none(), st.integers(1999, 2006))


def where(year_min: int | None) -> str | None:
    """The filter that `ModelCollection.matching` answers."""
    return None if year_min is None else f"year >= {year_min}"


class CollectionMachine(RuleBasedStateMachine):
    """Runs the same operations on a database and on the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = ModelCollection()

    @initialize(flush_bytes_max=st.sampled_from([200, 1 << 20]))
    def start(self, flush_bytes_max: int) -> None:
        """Make the collection; with 200 bytes nearly every write flushes."""
        self.options = vs.Options(flush_bytes_max=flush_bytes_max, threads=1)
        self.database: Database = vs.open(self.folder / "db", options=self.options)
        self.collection = self.database.create_collection(
            "items",
            vs.Schema(
                vectors=[
                    vs.Vector("text", DIM, "dot", LADDER),
                    vs.Vector("image", DIM, "dot", ("float32",)),
                ],
                columns=[vs.Column("year", "int")],
            ),
        )

    @rule(records=st.lists(RECORDS, max_size=8))
    def upsert(self, records: list[tuple[Id, dict[str, Float32], dict[str, Any]]]) -> None:
        """Write a batch, with ids that may repeat and fields that may be missing."""
        ids = [id_ for id_, _, _ in records]
        vectors = [found for _, found, _ in records]
        payloads = [payload for _, _, payload in records]
        fields = {
            name: [found.get(name) for found in vectors]
            for name in ("text", "image")
            if any(name in found for found in vectors)
        }
        assert self.collection.upsert(ids, fields, payloads) == self.model.upsert(
            ids, vectors, payloads
        )

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[Id]) -> None:
        """Delete by id, known or not, twice or not."""
        assert self.collection.delete(ids) == self.model.delete(ids)

    @rule(year_min=st.integers(2003, 2006))
    def delete_where(self, year_min: int) -> None:
        """Delete by filter."""
        found = self.collection.delete(where=where(year_min))
        assert found == self.model.delete(self.model.matching(year_min))

    @rule()
    def flush(self) -> None:
        """Move the buffer to a segment."""
        self.collection.flush()

    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self.database.close()
        self.database = vs.open(self.folder / "db", options=self.options)
        self.collection = self.database.collection("items")

    @rule(query=VECTORS, limit=st.integers(1, 30), year_min=YEARS, name=st.sampled_from(["text"]))
    def search(self, query: Float32, limit: int, year_min: int | None, name: str) -> None:
        """Exact search, the default plan and a whole cascade give the model's answer."""
        expected = self.model.search(name, query, limit, year_min)
        everything = max(1000, limit)
        plans: list[dict[str, Any]] = [
            {"exact": True},
            {},
            {"plan": vs.Cascade((vs.Scan("bits1", everything), vs.Rescore("float16", everything)))},
        ]
        for plan in plans:
            hits = self.collection.search({name: query}, limit=limit, where=where(year_min), **plan)
            found = [(hit.id, hit.score) for hit in hits]
            if plan.get("plan") is None:
                assert found == expected
            else:  # an early stop by error bounds may drop a row, but never misplace one
                assert [pair for pair in expected if pair in found] == found

    @invariant()
    def reads_agree(self) -> None:
        """count, get and scroll see what the model holds, in its order."""
        collection, model = self.collection, self.model
        assert collection.count() == len(model.entries)
        assert collection.count("year >= 2003") == len(model.matching(2003))
        records = list(collection.scroll(batch=3, with_vectors=True))
        assert [record.id for record in records] == model.matching(None)
        for record in [*records, *collection.get(list(model.entries), with_vectors=True)]:
            assert record is not None
            entry = model.entries[record.id]
            assert record.payload == entry.payload
            assert record.vectors.keys() == entry.vectors.keys()
            for name, vector in record.vectors.items():
                np.testing.assert_array_equal(vector, entry.vectors[name])

    def teardown(self) -> None:
        """What is on disk must be sound."""
        if hasattr(self, "database"):
            problems = self.database.check()
            self.database.close()
            shutil.rmtree(self.folder)
            assert problems == []


CollectionMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)


class TestCollection(CollectionMachine.TestCase):
    """Any order of operations equals a dict."""
