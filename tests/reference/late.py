"""Late interaction over a dict of records: what searches of multivector fields must equal.

Shapes  n vectors of a query, t vectors of a record, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vecstore.types import Float32, Id, Int64


@dataclass
class SetRecord:
    """One record: its vectors as given, the order of their importance, and what else it has."""

    seq: int
    year: int
    sets: dict[str, Float32]  # field -> [t, D]
    order: dict[str, Int64]  # field -> the most important first
    dense: Float32 | None = None


@dataclass
class ModelSets:
    """Records by id; `seq` grows with every write."""

    entries: dict[Id, SetRecord] = field(default_factory=dict)
    next_seq: int = 0

    def upsert(
        self,
        id_: Id,
        year: int,
        sets: dict[str, Float32],
        salience: dict[str, Float32],
        dense: Float32 | None,
    ) -> None:
        """Write one record."""
        order = {
            name: np.argsort(-salience[name], kind="stable")
            if name in salience
            else np.arange(len(vectors))
            for name, vectors in sets.items()
        }
        self.entries[id_] = SetRecord(self.next_seq, year, sets, order, dense)
        self.next_seq += 1

    def score(self, name: str, query: Float32, id_: Id, budget: int | None = None) -> float | None:
        """MaxSim of a record; None where there is none, or it lacks the field."""
        entry = self.entries.get(id_)
        if entry is None or name not in entry.sets:
            return None
        read = entry.sets[name][entry.order[name][:budget]]
        return sum(max(float(vector @ token) for token in read) for vector in query)

    def search(
        self,
        name: str,
        query: Float32,
        *,
        year_min: int = 0,
        budget: int | None = None,
        among: Iterable[Id] | None = None,
    ) -> list[tuple[Id, float]]:
        """All records with the field: score descending, then oldest write first."""
        found = [
            (-score, entry.seq, id_)
            for id_, entry in self.entries.items()
            if entry.year >= year_min and (among is None or id_ in among)
            for score in [self.score(name, query, id_, budget)]
            if score is not None
        ]
        return [(id_, -score) for score, _, id_ in sorted(found, key=lambda item: item[:2])]

    def matches(
        self, name: str, query: Float32, id_: Id, budget: int | None = None
    ) -> list[int] | None:
        """For each vector of a query the first of the record's, as given, that scores best."""
        entry = self.entries.get(id_)
        if entry is None or name not in entry.sets:
            return None
        read = np.sort(entry.order[name][:budget])
        return [int(read[np.argmax(entry.sets[name][read] @ vector)]) for vector in query]
