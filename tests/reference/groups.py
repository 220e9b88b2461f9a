"""The best of each value: what searches with `group_by` must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vecstore.types import Id


def best_of_each(
    found: Sequence[tuple[Id, float]], values: Mapping[Id, object], limit: int
) -> list[tuple[Id, float]]:
    """The first `limit` of hits, best first, without those whose value a better one has, too.

    Args:
        found: id and score.
        values: of each id; None where it has none, and stands alone.
        limit: hits wanted.
    """
    kept: list[tuple[Id, float]] = []
    seen = set()
    for id_, score in found:
        if values[id_] is None or values[id_] not in seen:
            kept.append((id_, score))
            seen.add(values[id_])
    return kept[:limit]
