"""Any order of writes, deletes, flushes, compactions, crashes and restores equals a dict."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vecstore as vs
from tests.reference.database import ModelCollection
from tests.reference.groups import best_of_each
from vecstore.database import Database
from vecstore.errors import DatabaseFullError
from vecstore.ingest.compact import compact_all
from vecstore.types import Durability, Float32, Id

DIM = 6
LADDER = ("bits1", "bits4", "float16")
IDS = st.one_of(st.integers(-3, 12), st.sampled_from(["a", "b", "ü", "7"]))
# Small integers: their inner products are exact in every representation that holds floats, so
# that scores and ties must agree to the last bit.
VECTORS = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM).map(
    lambda values: np.array(values, dtype=np.float32)
)
SETS = st.lists(VECTORS, min_size=1, max_size=20).map(np.array)
# Ladders of "pages", whose finest representation holds the integers.
PAGES = [
    ("float32",),
    ("float16", "float32"),
    ("int8", "float32"),
    ("float16",),
    ("int8", "float16"),
]
GIVEN = st.sampled_from(["arrays", "tokens", "salience"])  # how sets of vectors are
LIVES = st.sampled_from([None, None, 1, 10])  # seconds until a record expires
RECORDS = st.tuples(
    IDS,
    st.fixed_dictionaries({}, optional={"text": VECTORS, "image": VECTORS, "pages": SETS}),
    st.fixed_dictionaries({}, optional={"year": st.integers(2000, 2005), "note": st.text()}),
    LIVES,
)
BATCHES = st.lists(RECORDS, max_size=8)
CODED = st.lists(st.tuples(IDS, VECTORS, LIVES), max_size=8)
CODED_FIELDS = ("image", "made", "text")
SOME_IDS = st.lists(IDS, max_size=4)
YEARS = st.one_of(st.none(), st.integers(1999, 2006))


def where(year_min: int | None) -> str | None:
    """The filter that `ModelCollection.matching` answers."""
    return None if year_min is None else f"year >= {year_min}"


def tokens_of(sets: list[Float32 | None], *, salience: bool) -> vs.Tokens:
    """Sets of vectors end to end, of which some are as important as others."""
    lengths = [0 if found is None else len(found) for found in sets]
    vectors = np.concatenate([np.empty((0, DIM)), *(found for found in sets if found is not None)])
    offsets = np.cumsum([0, *lengths])
    return vs.Tokens(vectors, offsets, np.arange(len(vectors)) * 7 % 5 if salience else None)


Batch: TypeAlias = list[tuple[Id, dict[str, Float32], dict[str, Any], float | None]]


class CollectionMachine(RuleBasedStateMachine):
    """Runs the same operations on a database and on the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = ModelCollection()

    @initialize(
        flush_bytes_max=st.sampled_from([200, 1 << 20]),
        durability=st.sampled_from(["fsync", "group"]),
    )
    def start(self, flush_bytes_max: int, durability: Durability) -> None:
        """Make the collection; with 200 bytes nearly every write flushes."""
        self.options = vs.Options(
            flush_bytes_max=flush_bytes_max, threads=1, background=False, durability=durability
        )
        self.open()
        self.collection = self.database.create_collection(
            "items",
            vs.Schema(
                vectors=[
                    vs.Vector("text", DIM, "dot", LADDER),
                    vs.Vector("image", DIM, "dot", ("float32",)),
                    vs.Vector("made", DIM, "dot", ("bits1", "bits8")),
                    vs.MultiVector("pages", DIM, "dot", PAGES[0]),
                ],
                columns=[vs.Column("year", "int")],
            ),
        )

    def open(self) -> None:
        """Open the database, with a clock that the rules set."""
        self.database: Database = vs.open(self.folder / "db", options=self.options)
        self.database._environment.clock = lambda: self.model.now

    @rule(batch=BATCHES, given=GIVEN)
    def upsert(self, batch: Batch, given: str = "arrays") -> None:
        """Write a batch, with ids that may repeat and fields that may be missing."""
        ids = [item[0] for item in batch]
        vectors = [item[1] for item in batch]
        payloads = [item[2] for item in batch]
        lives = [item[3] for item in batch]
        fields: dict[str, Any] = {
            name: [found.get(name) for found in vectors]
            for name in ("text", "image", "pages")
            if any(name in found for found in vectors)
        }
        if "pages" in fields and given != "arrays":
            fields["pages"] = tokens_of(fields["pages"], salience=given == "salience")
        written = self.collection.upsert(ids, fields, payloads, ttl_s=lives)
        assert written == self.model.upsert(ids, vectors, payloads, lives)

    @rule(batch=CODED, fields=st.sets(st.sampled_from(CODED_FIELDS), min_size=1))
    def upsert_codes(self, batch: list[tuple[Id, Float32, float | None]], fields: set[str]) -> None:
        """Write a batch with codes in place of vectors: what they stand for is what it holds."""
        ids = [item[0] for item in batch]
        lives = [item[2] for item in batch]
        given = np.array([item[1] for item in batch], dtype=np.float32).reshape(-1, DIM)
        codes, vectors = {}, [{} for _ in batch]
        for name in sorted(fields):
            codec = self.collection.codec(name)
            codes[name] = codec.encode(given)
            for row, vector in enumerate(codec.decode(codes[name])):
                vectors[row][name] = vector
        written = self.collection.upsert(ids, codes, ttl_s=lives)
        assert written == self.model.upsert(ids, vectors, [{} for _ in ids], lives)

    @rule(ids=SOME_IDS)
    def delete(self, ids: list[Id]) -> None:
        """Delete by id, known or not, twice or not."""
        assert self.collection.delete(ids) == self.model.delete(ids)

    @rule(year_min=st.integers(2003, 2006))
    def delete_where(self, year_min: int) -> None:
        """Delete by filter."""
        found = self.collection.delete(where=where(year_min))
        assert found == self.model.delete(self.model.matching(year_min))

    @rule(ladder=st.sampled_from(PAGES))
    def alter(self, ladder: tuple[str, ...]) -> None:
        """Change the representations of the sets of vectors, where their floats are left."""
        (pages,) = (item for item in self.collection.schema.vectors if item.name == "pages")
        if pages.representations[-1] == ladder[-1] or ladder[-1] == "float16":
            self.collection.alter("pages", ladder)

    @rule()
    def flush(self) -> None:
        """Move the buffer to a segment."""
        self.collection.flush()

    @rule(batch=BATCHES, ids=SOME_IDS, fails=st.booleans())
    def flush_beside_writes(self, batch: Batch, ids: list[Id], fails: bool) -> None:
        """Write, delete and fail to write while a flush writes its files."""
        self.collection._store.background_flush(self.meanwhile(batch, ids, fails))

    @rule(batch=BATCHES, ids=SOME_IDS, fails=st.booleans(), flushes=st.booleans())
    def swap_beside_writes(self, batch: Batch, ids: list[Id], fails: bool, flushes: bool) -> None:
        """Write, delete, fail to write and flush while all segments are written as one."""
        pace = self.meanwhile(batch, ids, fails, flushes=flushes)
        compact_all(self.collection._store, pace, everything=True)

    def meanwhile(
        self, batch: Batch, ids: list[Id], fails: bool, *, flushes: bool = False
    ) -> Callable[[int], None]:
        """A pace that does all this when it is first called."""
        pending = [True]

        def pace(written: int) -> None:
            filled = self.collection._store.snapshot().buffer_bytes
            if pending and filled <= self.options.flush_bytes_max:  # else a write would flush
                pending.clear()
                self.delete(ids)
                if fails:
                    self.fail()
                self.upsert(batch)
                if flushes:
                    self.flush()

        return pace

    @rule()
    def fail(self) -> None:
        """A write that fails before its commit changes nothing."""
        failing = mock.patch("vecstore.ingest.store.apply", side_effect=DatabaseFullError("full"))
        with failing, pytest.raises(DatabaseFullError):
            self.collection.upsert([1, "new"], {})

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds: float) -> None:
        """Let time pass, so that records may expire."""
        self.model.wait(seconds)

    @rule()
    def expire(self) -> None:
        """Delete what has expired, which nobody sees."""
        self.collection._store.expire(int(self.model.now * 1_000_000))

    @rule()
    def check(self) -> None:
        """What is on disk is sound."""
        assert self.database.check() == []

    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self.database.close()
        self.open()
        self.collection = self.database.collection("items")

    @rule()
    def crash(self) -> None:
        """Go on from the files as a process leaves them that is killed."""
        there, copy = self.folder / "db", self.folder / "copy"
        shutil.copytree(there, copy, ignore=shutil.ignore_patterns("lock.mdb"))
        self.go_on(copy)

    @rule()
    def restore(self) -> None:
        """Go on from a snapshot of a snapshot."""
        self.database.snapshot(self.folder / "snapshot")
        vs.restore(self.folder / "snapshot", self.folder / "restored")
        shutil.rmtree(self.folder / "snapshot")
        self.go_on(self.folder / "restored")

    def go_on(self, path: Path) -> None:
        """Put another database in the place of this one."""
        self.database.close()
        shutil.rmtree(self.folder / "db")
        path.rename(self.folder / "db")
        self.open()
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

    @rule(query=VECTORS, limit=st.integers(1, 8), year_min=YEARS)
    def search_by_year(self, query: Float32, limit: int, year_min: int | None) -> None:
        """The best of each year, and all without one, are what is left of the model's answer."""
        years = {id_: entry.payload.get("year") for id_, entry in self.model.entries.items()}
        found = self.model.search("text", query, len(years), year_min)
        expected = best_of_each(found, years, limit)
        for exact in (True, False):
            hits = self.collection.search(
                {"text": query}, limit=limit, where=where(year_min), exact=exact, group_by="year"
            )
            assert [(hit.id, hit.score) for hit in hits] == expected

    @invariant()
    def reads_agree(self) -> None:
        """count, get and scroll see what the model holds, in its order."""
        collection, model = self.collection, self.model
        assert collection.count() == collection.stats().records == len(model.entries)
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
