"""Which records a collection has: ids lead to seqs, rows have both, tombstones say what died.

Each of the three follows from the others:

    an entry of "ids"      the id of the row with that seq that was not deleted
    a tombstone            of every row that no id leads to
    a row of a segment     see identify.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.schema import Schema
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.format import unpack_arrays
from vecstore.segment.known import KnownIds, read_ids
from vecstore.segment.manifest import Manifest
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import Rows
from vecstore.segment.tombstones import CHUNK_BYTES, CHUNK_SEQS, add_seqs, dead_mask
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import Bool, Int64, Uint64


class Read(NamedTuple):
    """Rows whose seqs can be read.

    Attributes:
        seqs: uint64 [n], ascending.
        ids: gives the encoded ids of some of them, None where one cannot be read.
    """

    seqs: Uint64
    ids: Callable[[Int64], Sequence[bytes | None]]


@dataclass(slots=True, kw_only=True)
class Records:
    """What LMDB holds of a collection.

    Attributes:
        info: the collection.
        manifest: its manifest.
        known: the ids.
        tombstones: the bitmaps that can be read.
        damaged_chunks: the numbers of those that cannot.
        batches: the batches of the write buffer that can be read.
        damaged_batches: the keys of those that cannot, or whose codes no codec is left to read.
    """

    info: CollectionInfo
    manifest: Manifest
    known: KnownIds
    tombstones: dict[int, bytes] = field(default_factory=dict)
    damaged_chunks: list[int] = field(default_factory=list)
    batches: list[Rows] = field(default_factory=list)
    damaged_batches: list[bytes] = field(default_factory=list)

    def deleted(self, first: int, last: int) -> Uint64:
        """The seqs of a range that were deleted; none where that is not known of all."""
        chunks = range(first // CHUNK_SEQS, last // CHUNK_SEQS + 1)
        if any(chunk in chunks for chunk in self.damaged_chunks):
            return np.empty(0, dtype=np.uint64)
        near = {chunk: bits for chunk, bits in self.tombstones.items() if chunk in chunks}
        seqs = dead_seqs(near)
        return seqs[(seqs >= np.uint64(first)) & (seqs <= np.uint64(last))]


def read_records(txn: Txn, info: CollectionInfo, manifest: Manifest) -> Records:
    """Read what LMDB holds of a collection, as far as it can be read."""
    found = Records(info=info, manifest=manifest, known=read_ids(txn, info.id))
    codecs = {keys.parse_codec_key(key) for key in txn.keys(keys.CODECS)}
    start, stop = keys.collection_range(info.id)
    for key, value in txn.entries(keys.TOMBSTONES, start, stop):
        chunk = keys.parse_chunk_key(key)[1]
        if value is None or len(value) != CHUNK_BYTES:
            found.damaged_chunks.append(chunk)
        else:
            found.tombstones[chunk] = value
    for key, value in txn.entries(keys.BUFFER, start, stop):
        rows = None if value is None else _unpacked(value, info.schema)
        if rows is None or not rows.codecs <= codecs:
            found.damaged_batches.append(key)
        else:
            found.batches.append(rows)
    return found


def _unpacked(value: bytes, schema: Schema) -> Rows | None:
    try:
        return Rows.from_arrays(unpack_arrays(value), schema)
    except CorruptionError:
        return None


class Mended(NamedTuple):
    """What a collection has after its ids and tombstones were brought together.

    Attributes:
        records: the same, with ids and tombstones mended.
        added: ids that had no entry that could be read -> their seqs.
    """

    records: Records
    added: dict[bytes, int]


def mend(records: Records, sources: Sequence[Read]) -> Mended:
    """Bring ids and tombstones together with the rows that can be read."""
    known = records.known
    damaged = {keys.parse_id_key(key)[1] for key in known.damaged}
    added: dict[bytes, int] = {}
    for source in sources:
        places = np.flatnonzero(_unled(records, source.seqs))
        chunks = source.seqs[places] // np.uint64(CHUNK_SEQS)
        unclear = np.isin(chunks, records.damaged_chunks)
        found = source.ids(places) if len(places) else []
        for id_, seq, doubt in zip(found, source.seqs[places].tolist(), unclear, strict=True):
            # Where nobody knows what was deleted, a row lives that a damaged entry led to.
            if id_ is not None and (id_ in damaged or not doubt):
                added[id_] = max(seq, added.get(id_, seq))
    if added:
        for id_ in added.keys() & set(known.ids.to_list()):
            del added[id_]  # a row lives if its id leads to it, and to no other one
        known = _with(known, added)
    mended = replace(records, known=known)
    mended.tombstones = add_seqs_to(_without(records.tombstones, known), _dead(mended, sources))
    return Mended(mended, added)


def _without(tombstones: dict[int, bytes], known: KnownIds) -> dict[int, bytes]:
    """Tombstones without those of rows that an id leads to."""
    alive = known.seqs[dead_mask(tombstones, known.seqs)]
    chunks = set((alive // np.uint64(CHUNK_SEQS)).tolist())
    dead = dead_seqs({chunk: tombstones[chunk] for chunk in chunks})
    kept = {chunk: bits for chunk, bits in tombstones.items() if chunk not in chunks}
    return add_seqs_to(kept, np.setdiff1d(dead, alive))


def _unled(records: Records, seqs: Uint64) -> Bool:
    """The rows that no id leads to and that were not deleted, as far as one can tell."""
    return ~records.known.find(seqs)[1] & ~dead_mask(records.tombstones, seqs)


def _dead(records: Records, sources: Sequence[Read]) -> Uint64:
    """The seqs of rows that no id leads to and that have no tombstone."""
    found = [source.seqs[_unled(records, source.seqs)] for source in sources]
    return np.concatenate([np.empty(0, dtype=np.uint64), *found])


def add_seqs_to(tombstones: dict[int, bytes], seqs: Uint64) -> dict[int, bytes]:
    """Tombstones with some more seqs."""
    return {**tombstones, **add_seqs(tombstones, seqs)}


def dead_seqs(tombstones: Mapping[int, bytes]) -> Uint64:
    """The seqs of some bitmaps, uint64 [n], ascending."""
    found = [
        np.uint64(chunk * CHUNK_SEQS) + np.flatnonzero(unpacked(bits)).astype(np.uint64)
        for chunk, bits in sorted(tombstones.items())
    ]
    return np.concatenate([np.empty(0, dtype=np.uint64), *found])


def unpacked(bits: bytes) -> Bool:
    """A bitmap, bool [CHUNK_SEQS]."""
    array = np.frombuffer(bits, dtype=np.uint8)
    return np.unpackbits(array, bitorder="little").view(np.bool_)


def _with(known: KnownIds, added: dict[bytes, int]) -> KnownIds:
    seqs = np.concatenate([known.seqs, np.array(list(added.values()), dtype=np.uint64)])
    order = np.argsort(seqs, kind="stable")
    ids = Ragged.concat([known.ids, Ragged.from_list(list(added))])
    return KnownIds(seqs=seqs[order], ids=ids.take(order), damaged=known.damaged)


def batches_read(batches: Sequence[Rows]) -> Iterator[Read]:
    """The rows of the write buffer."""
    for rows in batches:
        yield Read(rows.seqs, rows.ids.pick)
