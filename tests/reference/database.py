"""A collection as a dict: what a real one must equal after any order of operations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vecstore.types import Float32, Id


@dataclass
class Entry:
    """One record of the model."""

    seq: int
    payload: dict[str, Any]
    vectors: dict[str, Float32]
    expires: float


@dataclass
class ModelCollection:
    """Records by id; `seq` grows with every write, as results are ordered by it."""

    entries: dict[Id, Entry] = field(default_factory=dict)
    next_seq: int = 0
    now: float = 0.0

    def upsert(
        self,
        ids: list[Id],
        vectors: list[dict[str, Float32]],
        payloads: list[dict[str, Any]],
        lives: list[float | None],
    ) -> int:
        last = {id_: place for place, id_ in enumerate(ids)}
        for id_, place in sorted(last.items(), key=lambda item: item[1]):
            life = lives[place]
            expires = math.inf if life is None else self.now + life
            self.entries[id_] = Entry(self.next_seq, payloads[place], vectors[place], expires)
            self.next_seq += 1
        return len(last)

    def wait(self, seconds: float) -> None:
        """Let time pass: what has expired then is gone."""
        self.now += seconds
        self.entries = {
            id_: entry for id_, entry in self.entries.items() if entry.expires > self.now
        }

    def delete(self, ids: list[Id]) -> int:
        return sum(self.entries.pop(id_, None) is not None for id_ in dict.fromkeys(ids))

    def matching(self, year_min: int | None) -> list[Id]:
        """Ids of records with year >= year_min, oldest write first; all for None."""
        found = [
            (entry.seq, id_)
            for id_, entry in self.entries.items()
            if year_min is None or entry.payload.get("year", -1) >= year_min
        ]
        return [id_ for _, id_ in sorted(found, key=lambda item: item[0])]

    def search(
        self, name: str, query: Float32, limit: int, year_min: int | None
    ) -> list[tuple[Id, float]]:
        """The best inner products: score descending, then oldest write first."""
        scored = [
            (-float(np.dot(query, self.entries[id_].vectors[name])), self.entries[id_].seq, id_)
            for id_ in self.matching(year_min)
            if name in self.entries[id_].vectors
        ]
        return [(id_, -score) for score, _, id_ in sorted(scored, key=lambda item: item[:2])][
            :limit
        ]
