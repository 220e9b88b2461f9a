"""Any order of alterations and everything else equals a dict, also when they are cut off."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import invariant, rule

import vecstore as vs
from tests.property.test_collection import (
    BATCHES,
    LADDER,
    SOME_IDS,
    VECTORS,
    YEARS,
    Batch,
    CollectionMachine,
    where,
)
from vecstore.collection import Collection
from vecstore.storage import failpoints
from vecstore.types import Float32, Id, Metric, Uint8

# All end in float16, which holds the vectors of the model exactly: exact answers stay the same.
LADDERS = st.sampled_from(
    [
        LADDER,
        ("float16",),
        ("bits1", "float16"),
        ("prefix2/bits4", "bits8", "float16"),
        ("pca2/int8", "bits2", "float16"),
        ("int8", "float16"),
        ("lvq4x8", "float16"),
        ("sign", "bebr2", "lvq4", "float16"),
    ]
)
# No flush can run in the thread that is in the middle of the cut-over.
PLACES = st.sampled_from(["alter.begin", "alter.built"])


class Cut(BaseException):
    """Raised in the middle of an alteration."""


class AlterMachine(CollectionMachine):
    """The operations of a collection, with alterations among them and around them."""

    now: Sequence[str] = LADDER

    def alter(self, ladder: Sequence[str], place: str, action: Callable[[], Any]) -> None:
        """Alter the field, and do something when it first comes to a place."""
        left = [place]

        def hook(name: str) -> None:
            if name == left[0]:
                left[0] = ""
                action()

        failpoints.hook = hook
        try:
            self.collection.alter("text", ladder)
            self.now = ladder
        except Cut:
            pass
        finally:
            failpoints.hook = None

    @rule(ladder=LADDERS)
    def alter_alone(self, ladder: Sequence[str]) -> None:
        """From its beginning, or from where one was cut off, to its end."""
        self.alter(ladder, "", lambda: None)

    @rule(ladder=LADDERS, place=st.one_of(PLACES, st.just("alter.commit")))
    def alter_and_fail(self, ladder: Sequence[str], place: str) -> None:
        """It is cut off, and stays as it is until another alteration."""

        def fail() -> None:
            raise Cut

        self.alter(ladder, place, fail)

    @rule(ladder=LADDERS, place=PLACES, batch=BATCHES)
    def alter_beside_upsert(self, ladder: Sequence[str], place: str, batch: Batch) -> None:
        """Records come meanwhile, and are flushed or not."""
        self.alter(ladder, place, lambda: self.upsert(batch))

    @rule(ladder=LADDERS, place=PLACES)
    def alter_beside_flush(self, ladder: Sequence[str], place: str) -> None:
        """A segment comes meanwhile."""
        self.alter(ladder, place, self.collection.flush)

    @rule(ladder=LADDERS, place=st.one_of(PLACES, st.just("alter.commit")), ids=SOME_IDS)
    def alter_beside_delete(self, ladder: Sequence[str], place: str, ids: list[Id]) -> None:
        """Records go meanwhile."""
        self.alter(ladder, place, lambda: self.delete(ids))

    @rule(query=VECTORS, limit=st.integers(1, 30), year_min=YEARS)
    def search(self, query: Float32, limit: int, year_min: int | None) -> None:
        """As ever, with the representations that there are now."""
        expected = self.model.search("text", query, limit, year_min)
        stages = [vs.Scan(self.now[0], 1000), *(vs.Rescore(spec, 1000) for spec in self.now[1:])]
        plans: list[dict[str, Any]] = [{"exact": True}, {}, {"plan": vs.Cascade(stages)}]
        for plan in plans:
            hits = self.collection.search(
                {"text": query}, limit=limit, where=where(year_min), **plan
            )
            found = [(hit.id, hit.score) for hit in hits]
            if "plan" not in plan:
                assert found == expected
            else:  # an early stop by error bounds may drop a row, but never misplace one
                assert [pair for pair in expected if pair in found] == found

    @invariant()
    def ladders_agree(self) -> None:
        """The schema and every segment have the ladder that the last cut-over gave them."""
        assert self.collection.schema.vector("text").representations == self.now
        for live in self.collection._store.snapshot().segments:
            assert live.source.specs("text") in {(), tuple(self.now)}


AlterMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


class TestAlter(AlterMachine.TestCase):
    """Any order of operations and alterations equals a dict."""


SPECS = st.sampled_from(["bits1", "bits2", "bits4", "int8", "prefix3/bits8", "pca2/bits2"])


def codes_of(items: Collection, spec: str) -> Uint8:
    """The codes of the only segment."""
    [live] = items._store.snapshot().segments
    codes = live.source.codes("v", spec)
    assert codes is not None
    codes.touch()
    return codes.codec.unpack(codes.parts, np.arange(live.source.field_count("v")))


@settings(max_examples=30, deadline=None)
@given(
    vectors=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.just(5)), elements=st.floats(-9, 9, width=16)
    ),
    metric=st.sampled_from(["dot", "l2"]),
    finest=st.sampled_from(["float16", "float32"]),
    old=st.sets(SPECS, max_size=2),
    new=st.sets(SPECS, max_size=3),
)
def test_it_is_as_if_it_had_always_been_so(
    vectors: Float32, metric: Metric, finest: str, old: set[str], new: set[str]
) -> None:
    """Codes equal those of a collection that was made so, and exact answers those of before."""
    with (
        tempfile.TemporaryDirectory() as folder,
        vs.open(folder, options=vs.Options(background=False, threads=1)) as db,
    ):
        made = []
        for name, ladder in (("altered", old), ("fresh", new)):
            schema = vs.Schema([vs.Vector("v", 5, metric, [*ladder, finest])])
            made.append(db.create_collection(name, schema))
            made[-1].upsert(range(len(vectors)), vectors)
            made[-1].flush()
        items, fresh = made
        before = [hit.score for hit in items.search(vectors[0], limit=50, exact=True)]
        items.alter("v", [*new, finest])
        assert items.schema == fresh.schema
        for spec in items.schema.vectors[0].representations:
            np.testing.assert_array_equal(codes_of(items, spec), codes_of(fresh, spec))
        assert [hit.score for hit in items.search(vectors[0], limit=50, exact=True)] == before
        assert db.check() == []
