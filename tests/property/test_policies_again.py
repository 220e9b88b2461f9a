"""Policies that are run again leave of stored records what they would have left of given ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vecstore as vs
from vecstore.multivector.policy import parse
from vecstore.multivector.reduce import apply
from vecstore.multivector.sets import TokenSets, offsets_of
from vecstore.storage import failpoints
from vecstore.types import Array, Float32

DIM = 4
ALONE = vs.Options(background=False)
PRUNING = st.sampled_from([None, "", "first3", "share0.5", "coverage0.6", "fixed2", "salience0.7"])
POOLING = st.sampled_from([None, "", "ward2", "kmeans2", "fixed3"])
PLACES = st.sampled_from(["alter.begin", "alter.built"])
BATCHES = st.tuples(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 2**32))


class Cut(BaseException):
    """Raised in the middle of an alteration."""


def reduced(sets: TokenSets, texts: dict[str, str]) -> TokenSets:
    """What policies leave of the tokens of one record, in the order in which they were given."""
    sets = sets.take([np.argsort(sets.all_places(), kind="stable")])
    for work in ("pruning", "pooling"):
        sets = apply(parse(texts.get(work, ""), work), sets, "dot")  # type: ignore[arg-type]
    return sets


def stored(vectors: Array, salience: Array, texts: dict[str, str]) -> TokenSets:
    """What is stored of tokens as they are given: the most important first."""
    sets = TokenSets(vectors=vectors, offsets=offsets_of([len(vectors)]), salience=salience)
    if any(texts.values()):
        return reduced(sets, texts)
    return sets.take([np.argsort(-salience.astype(np.float64), kind="stable")])


class PoliciesMachine(RuleBasedStateMachine):
    """Writes, flushes, compactions and policies, and a dict of what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[int, TokenSets] = {}
        self.now = {"pruning": "", "pooling": ""}

    @initialize(ladder=st.sampled_from([("float16",), ("int8", "float16"), ("sign", "float16")]))
    def begin(self, ladder: tuple[str, ...]) -> None:
        """An empty collection; all ladders hold the vectors of the model exactly."""
        self.db = vs.open(self.folder.name, options=ALONE)
        field = vs.MultiVector("pages", DIM, "dot", ladder)
        self.collection = self.db.create_collection("c", vs.Schema([field]))

    @rule(batch=BATCHES)
    def upsert(self, batch: tuple[list[int], int]) -> None:
        """Records of 1 to 9 tokens with salience; pruned and pooled as the field says now."""
        ids, rng = list(dict.fromkeys(batch[0])), np.random.default_rng(batch[1])
        given = [
            (
                rng.standard_normal((count, DIM)).astype(np.float16),
                (rng.permutation(9)[:count] + 1).astype(np.float16),
            )
            for count in rng.integers(1, 10, len(ids))
        ]
        tokens = vs.Tokens.of_lengths(
            np.concatenate([vectors for vectors, _ in given]),
            [len(vectors) for vectors, _ in given],
            salience=np.concatenate([salience for _, salience in given]),
        )
        self.collection.upsert(ids, {"pages": tokens})
        self.model |= {id_: stored(*each, self.now) for id_, each in zip(ids, given, strict=True)}

    @rule(id_=st.integers(0, 12))
    def delete(self, id_: int) -> None:
        """A record goes."""
        self.collection.delete([id_])
        self.model.pop(id_, None)

    @rule()
    def flush(self) -> None:
        """What waits becomes a segment."""
        self.collection.flush()

    @rule()
    def compact(self) -> None:
        """All segments become one."""
        self.collection.compact()

    @rule()
    def reopen(self) -> None:
        """All is there again."""
        self.db.close()
        self.db = vs.open(self.folder.name, options=ALONE)
        self.collection = self.db.collection("c")

    def alter(self, wanted: dict[str, str | None], place: str, act: Callable[[], Any]) -> None:
        """Run policies, and do something when a place is first reached."""
        left = [place]

        def hook(name: str) -> None:
            if name == left[0]:
                left[0] = ""
                act()

        told = {work: text for work, text in wanted.items() if text is not None}
        if not told:
            return
        failpoints.hook = hook
        try:
            self.collection.alter("pages", **told)  # type: ignore[arg-type]
        except Cut:
            return
        finally:
            failpoints.hook = None
        new = {work: text for work, text in told.items() if text != self.now[work]}
        self.model = {id_: reduced(each, new) for id_, each in self.model.items()}
        self.now |= told

    @rule(pruning=PRUNING, pooling=POOLING)
    def alter_alone(self, pruning: str | None, pooling: str | None) -> None:
        """From the beginning, or from where it was cut off."""
        self.alter({"pruning": pruning, "pooling": pooling}, "", lambda: None)

    @rule(pruning=PRUNING, pooling=POOLING, place=st.one_of(PLACES, st.just("alter.commit")))
    def alter_and_fail(self, pruning: str | None, pooling: str | None, place: str) -> None:
        """It is cut off, and all is as it was."""

        def fail() -> None:
            raise Cut

        self.alter({"pruning": pruning, "pooling": pooling}, place, fail)

    @rule(pruning=PRUNING, pooling=POOLING, place=PLACES, batch=BATCHES)
    def alter_beside_upsert(
        self, pruning: str | None, pooling: str | None, place: str, batch: tuple[list[int], int]
    ) -> None:
        """Records that come meanwhile are reduced as well, flushed or not."""
        wanted = {"pruning": pruning, "pooling": pooling}
        self.alter(wanted, place, lambda: self.upsert(batch))

    @rule(seed=st.integers(0, 2**32))
    def search(self, seed: int) -> None:
        """Exact scores are those of what must be there."""
        query = np.random.default_rng(seed).standard_normal((3, DIM)).astype(np.float32)
        hits = self.collection.search({"pages": query}, limit=20, exact=True)
        expected = {id_: maxsim(query, each.vectors) for id_, each in self.model.items()}
        assert set(hits.ids.tolist()) == set(expected)
        for hit in hits:
            assert abs(hit.score - expected[hit.id]) < 1e-2

    @invariant()
    def records_agree(self) -> None:
        """Each record has the tokens that it must have, in the order in which they were given."""
        if not hasattr(self, "collection"):
            return
        found = self.collection.get(range(13), with_vectors=True)
        for id_, record in enumerate(found):
            assert (record is None) == (id_ not in self.model)
            if record is not None:
                sets = self.model[id_]
                order = np.argsort(sets.all_places(), kind="stable")
                own = sets.vectors[order].astype(np.float32)
                np.testing.assert_array_equal(record.vectors["pages"], own)
        field = self.collection.schema.vector("pages")
        assert isinstance(field, vs.MultiVector)
        assert (field.pruning, field.pooling) == (self.now["pruning"], self.now["pooling"])

    def teardown(self) -> None:
        """What is on disk must be sound."""
        if hasattr(self, "db"):
            assert self.db.check() == []
            self.db.close()
        self.folder.cleanup()


def maxsim(query: Float32, tokens: Array) -> float:
    """The sum of the best products."""
    return float((query @ tokens.astype(np.float32).T).max(axis=1).sum())


PoliciesMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestPolicies = PoliciesMachine.TestCase
