"""A reader that goes on from any earlier state sees what one sees that reads everything."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vecstore as vs
from vecstore.ingest.compact import compact_all
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.ids import decode_id
from vecstore.segment.load import load_snapshot
from vecstore.segment.snapshot import Snapshot
from vecstore.segment.vectors import read_vectors

DIM = 4
READERS = 3
LADDERS = [("float16",), ("bits1", "float16")]
IDS = st.lists(st.integers(0, 6), max_size=4, unique=True)


def state(snapshot: Snapshot) -> dict[str, Any]:
    """All that a search may find, and what is told of the write buffer."""
    rows = [(live, np.flatnonzero(live.alive)) for live in snapshot.sources]
    return {
        "info": snapshot.info,
        "manifest": snapshot.manifest,
        "tombstones": snapshot.tombstones,
        "buffer": (snapshot.buffer_bytes, snapshot.buffer_batches, snapshot.buffer_key),
        "seqs": [seq for live, own in rows for seq in live.source.seqs[own].tolist()],
        "ids": [decode_id(id_) for live, own in rows for id_ in live.source.ids(own)],
        "vectors": [
            found["v"].tolist() for live, own in rows for found in read_vectors(live.source, own)
        ],
    }


class RefreshMachine(RuleBasedStateMachine):
    """One collection, and readers that look at it at any moment."""

    @initialize()
    def start(self) -> None:
        """A database with an empty collection, which all readers have seen."""
        self.folder = tempfile.TemporaryDirectory()
        self.database = vs.open(
            Path(self.folder.name), options=vs.Options(background=False, threads=1)
        )
        vector = vs.Vector("v", DIM, "dot", LADDERS[0])
        self.collection = self.database.create_collection("items", vs.Schema(vectors=[vector]))
        self.expected: dict[int, float] = {}
        self.written = 0
        self.known = [self.load(None) for _ in range(READERS)]

    def load(self, known: Snapshot | None) -> Snapshot:
        """The last commit, as a process reads it that has seen `known`."""
        environment = self.database._environment
        info = self.collection._store.info
        shelf = CodecShelf(
            kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
        )
        with environment.kv.read() as txn:
            return load_snapshot(environment, shelf, txn, known)

    @rule(ids=IDS)
    def upsert(self, ids: list[int]) -> None:
        """Write records with a value that none had before."""
        self.written += 1
        self.collection.upsert(ids, np.full((len(ids), DIM), self.written, dtype=np.float32))
        for id_ in ids:
            self.expected.pop(id_, None)
            self.expected[id_] = self.written

    @rule(ids=IDS)
    def delete(self, ids: list[int]) -> None:
        """Delete some of them."""
        self.collection.delete(ids)
        for id_ in ids:
            self.expected.pop(id_, None)

    @rule()
    def delete_all(self) -> None:
        """Delete every record, so that segments can go altogether."""
        self.delete(list(self.expected))

    @rule()
    def flush(self) -> None:
        """Empty the write buffer."""
        self.collection.flush()

    @rule(ids=IDS, gone=IDS, which=st.integers(0, READERS - 1))
    def flush_beside_writes(self, ids: list[int], gone: list[int], which: int) -> None:
        """Empty the part of the write buffer that is older than what is written meanwhile."""
        pending = [True]

        def pace(written: int) -> None:
            if pending:
                pending.clear()
                self.upsert(ids)
                self.delete(gone)
                self.refresh(which)

        self.collection._store.background_flush(pace)

    @rule()
    def compact(self) -> None:
        """Drop what is dead, and whole segments where all is."""
        compact_all(self.collection._store)

    @rule()
    def compact_everything(self) -> None:
        """Flush, and make one segment of all."""
        self.collection.compact()

    @rule(ladder=st.sampled_from(LADDERS))
    def alter(self, ladder: tuple[str, ...]) -> None:
        """Other representations, and perhaps those of before again."""
        self.collection.alter("v", ladder)

    @rule(which=st.integers(0, READERS - 1))
    def refresh(self, which: int) -> None:
        """A reader goes on from what it knew to what one sees that knew nothing."""
        found = self.load(self.known[which])
        fresh = state(self.load(None))
        assert state(found) == fresh
        assert fresh["ids"] == list(self.expected)
        assert fresh["vectors"] == [[value] * DIM for value in self.expected.values()]
        self.known[which] = found

    @invariant()
    def the_writer_agrees(self) -> None:
        """The writer's own snapshot, which is never loaded, holds the same records."""
        own, loaded = state(self.collection._store.snapshot()), state(self.load(None))
        for name in ("info", "manifest", "tombstones", "seqs", "ids", "vectors"):
            assert own[name] == loaded[name]
        assert own["buffer"][:2] == loaded["buffer"][:2]

    def teardown(self) -> None:
        """Every reader catches up at last."""
        if hasattr(self, "database"):
            for which in range(READERS):
                self.refresh(which)
            problems = self.database.check()
            self.database.close()
            self.folder.cleanup()
            assert problems == []


RefreshMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


class TestRefresh(RefreshMachine.TestCase):
    """Any order of writes, flushes, compactions and looks."""
