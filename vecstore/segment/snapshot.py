"""What one search sees: sources, and which of their rows are live.

A snapshot is a frozen value. Writes publish a new one; whoever holds an old one keeps reading it,
as segments are never changed and blocks of the write buffer are never modified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vecstore.segment.base import Source
from vecstore.segment.bits import pack_mask
from vecstore.segment.manifest import Manifest
from vecstore.segment.tombstones import dead_mask
from vecstore.types import Bool, Int64, Uint64

Tombstones = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Rows that a scan may return, as packed bits; `bits` None means all `count` rows."""

    bits: Uint64 | None
    count: int


class Live:
    """A source and its live rows, worked out when first asked for."""

    __slots__ = ("_alive", "_by_field", "_tombstones", "source")

    def __init__(self, source: Source, tombstones: Tombstones, alive: Bool | None = None) -> None:
        self.source = source
        self._tombstones = tombstones
        self._alive = alive
        self._by_field: dict[str, Allowed] = {}

    @property
    def alive(self) -> Bool:
        """bool [N], True for rows that were neither deleted nor written again."""
        if self._alive is None:
            self._alive = ~dead_mask(self._tombstones, self.source.seqs)
        return self._alive

    def count(self) -> int:
        """Live rows."""
        return int(np.count_nonzero(self.alive))

    def allowed(self, name: str, mask: Bool | None = None) -> Allowed:
        """Live rows that have the vector field `name` and are in `mask` (bool [N], None = all).

        Bits number the rows of the field, as its codes do.
        """
        if mask is not None:
            return self._allowed(name, self.alive & mask)
        found = self._by_field.get(name)
        if found is None:
            found = self._by_field[name] = self._allowed(name, self.alive)
        return found

    def _allowed(self, name: str, mask: Bool) -> Allowed:
        if not self.source.field_count(name):
            return Allowed(None, 0)
        rows = self.source.field_rows(name)
        if rows is not None:
            mask = mask[rows]
        count = int(np.count_nonzero(mask))
        return Allowed(None if count == len(mask) else pack_mask(mask), count)

    def without(self, seqs: Uint64, tombstones: Tombstones) -> Live:
        """This source after `seqs` (ascending) died; itself where none of them is in it."""
        if seqs[-1] < self.source.seq_min or seqs[0] > self.source.seq_max:
            return self
        own = self.source.seqs
        places = np.searchsorted(own, seqs)
        places = places[places < len(own)]
        places = places[np.isin(own[places], seqs)]
        if not len(places):
            return self
        alive = self.alive.copy()
        alive[places] = False
        return Live(self.source, tombstones, alive)


class Place(NamedTuple):
    """A row of a source."""

    live: Live
    row: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one collection after one commit.

    Attributes:
        manifest: the segments and counters of that commit.
        segments: one for each segment of the manifest, in its order.
        blocks: the write buffer, oldest first.
        tombstones: chunk number -> bitmap of deleted seqs.
        txn: the commit that made it.
        buffer_bytes: bytes of the batches that LMDB holds for the write buffer.
        buffer_batches: how many they are.
    """

    manifest: Manifest
    segments: tuple[Live, ...] = ()
    blocks: tuple[Live, ...] = ()
    tombstones: Tombstones = field(default_factory=dict)
    txn: int = 0
    buffer_bytes: int = 0
    buffer_batches: int = 0

    @property
    def sources(self) -> tuple[Live, ...]:
        """Everything a search reads, oldest first."""
        return self.segments + self.blocks

    def locate(self, seq: int) -> Place | None:
        """Where a record is, or None where this snapshot has no such seq."""
        for live in reversed(self.sources):
            if not live.source.seq_min <= seq <= live.source.seq_max:
                continue
            seqs = live.source.seqs
            row = int(np.searchsorted(seqs, np.uint64(seq)))
            if seqs[row] == seq:
                return Place(live, row)
        return None


def live_rows(live: Live) -> Int64:
    """The live rows of a source, ascending."""
    return np.flatnonzero(live.alive)
