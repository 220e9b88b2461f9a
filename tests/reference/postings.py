"""Candidates by the centroids of their tokens: slow and obvious."""

from __future__ import annotations

from vecstore.types import Array, Uint8, Uint64


def candidates(
    offsets: Uint64, ids: Array, table: Uint8, vectors: int, nprobe: int
) -> tuple[list[int], int]:
    """The sum of each document, and how many postings are read."""
    size, count = len(table), len(offsets) - 1
    owned = [
        {min(int(id_), size - 1) for id_ in ids[int(offsets[d]) : int(offsets[d + 1])]}
        for d in range(count)
    ]
    sums, read = [0] * count, 0
    for vector in range(vectors):
        column = table[:, vector].astype(int).tolist()
        cut = max([each for each in column if sum(o >= each for o in column) > nprobe], default=0)
        opened = {k for k in range(size) if column[k] > cut}
        for document, own in enumerate(owned):
            found = own & opened
            read += len(found)
            sums[document] += max((column[k] - cut for k in found), default=0)
    return sums, read


def chosen(sums: list[int], allowed: list[bool], keep: int) -> set[int]:
    """The allowed documents of the largest sums above 0, of equal ones all or none."""
    rest = {d: total for d, total in enumerate(sums) if allowed[d] and total}
    for least in sorted(set(rest.values())):
        found = {d for d, total in rest.items() if total >= least}
        if len(found) <= keep:
            return found
    most = max(rest.values(), default=0)
    return {d for d, total in rest.items() if total == most}
