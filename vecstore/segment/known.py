"""Which record each id leads to: the entries of one collection in "ids", ordered by seq."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from vecstore.segment.ragged import Ragged
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import Bool, Int64, Uint64

_CHUNK_IDS = 100_000
_SEQ_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownIds:
    """The n ids that have a record.

    Attributes:
        seqs: uint64 [n], ascending.
        ids: the encoded id of each.
        damaged: keys in "ids" whose value, or which themselves, changed after they were written.
    """

    seqs: Uint64
    ids: Ragged
    damaged: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.seqs)

    def find(self, seqs: Uint64) -> tuple[Int64, Bool]:
        """Where some seqs are in `seqs`, int64 [m], and whether they are there at all."""
        if not len(self):
            return np.zeros(len(seqs), dtype=np.int64), np.zeros(len(seqs), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.seqs, seqs), len(self) - 1)
        return places, self.seqs[places] == seqs

    def between(self, first: int, last: int) -> slice:
        """Those whose seqs are from `first` to `last`."""
        bounds = np.array([first, last], dtype=np.uint64)
        return slice(
            int(np.searchsorted(self.seqs, bounds[0])),
            int(np.searchsorted(self.seqs, bounds[1], side="right")),
        )


def read_ids(
    txn: Txn, collection: int, told: Callable[[int], None] = lambda count: None
) -> KnownIds:
    """Read the ids of a collection.

    Args:
        txn: what to read.
        collection: its id.
        told: called with the number of entries just read.
    """
    damaged: list[bytes] = []
    parts = [Ragged.from_list([])]
    numbers = [np.empty(0, dtype=np.uint64)]
    entries = _entries(txn, collection, damaged)
    while chunk := list(islice(entries, _CHUNK_IDS)):
        parts.append(Ragged.from_list([id_ for id_, _ in chunk]))
        numbers.append(np.frombuffer(b"".join([seq for _, seq in chunk]), dtype="<u8"))
        told(len(chunk))
    seqs = np.concatenate(numbers).astype(np.uint64)
    order = np.argsort(seqs, kind="stable")
    ids = Ragged.concat(parts).take(order)
    return KnownIds(seqs=seqs[order], ids=ids, damaged=tuple(damaged))


def _entries(txn: Txn, collection: int, damaged: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for key, value in txn.entries(keys.IDS, *keys.collection_range(collection)):
        if value is None or len(value) != _SEQ_BYTES:
            damaged.append(key)
        else:
            yield keys.parse_id_key(key)[1], value
