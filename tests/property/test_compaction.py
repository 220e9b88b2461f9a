"""Any order of writes and compactions equals a dict, and compactions change no exact answer."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import rule

from tests.property.test_collection import VECTORS, CollectionMachine
from vecstore.ingest.compact import compact_all
from vecstore.types import Float32, Id


class CompactionMachine(CollectionMachine):
    """What the machine of collections does, with compactions in between."""

    @rule(query=VECTORS)
    def compact(self, query: Float32) -> None:
        """One segment is left at most, no dead row, and every exact answer as it was."""
        before = self.answers(query)
        self.collection.compact()
        assert self.answers(query) == before
        stats = self.collection.stats()
        assert (stats.deleted, stats.buffered) == (0, 0)
        assert stats.segments == bool(self.model.entries)

    @rule(query=VECTORS)
    def compact_what_is_due(self, query: Float32) -> None:
        """What the background does changes no answer, and leaves nothing more to do."""
        before = self.answers(query)
        compact_all(self.collection._store)
        assert self.answers(query) == before

    def answers(self, query: Float32) -> list[list[tuple[Id, float]]]:
        """Exact results, which must stay the same to the last bit."""
        return [
            [(hit.id, hit.score) for hit in self.collection.search({name: query}, exact=True)]
            for name in ("text", "image")
        ]


CompactionMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)


class TestCompaction(CompactionMachine.TestCase):
    """Any order of operations equals a dict."""
