"""The durable state of one collection, and the snapshot that searches see.

Every write is one LMDB transaction, synced before it is answered, and publishes a new snapshot
after its commit:

    upsert   batch -> "buffer", id -> seq, tombstones of what was replaced, manifest
    delete   id -> seq removed, tombstones, manifest
    flush    files first; then the commit that names them and empties "buffer" (see flush.py)

Writes take turns on the environment's lock; reads take the last snapshot, and the lock only where
a write was cut off or is being published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from vecstore.errors import CorruptionError, NotFoundError
from vecstore.ingest import registry
from vecstore.ingest.batch import Batch
from vecstore.ingest.flush import flush_blocks
from vecstore.options import BUFFER_BATCHES_MAX
from vecstore.segment.buffer import append_rows
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.environment import Environment
from vecstore.segment.format import pack_arrays
from vecstore.segment.load import load_snapshot
from vecstore.segment.manifest import ManifestEdit, apply, to_bytes
from vecstore.segment.snapshot import Live, Place, Snapshot
from vecstore.segment.tombstones import add_seqs
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import Int64


class CollectionStore:
    """One collection of an open database."""

    def __init__(self, environment: Environment, info: CollectionInfo) -> None:
        self.info = info
        self._environment = environment
        self._shelf = CodecShelf(
            kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
        )
        self._dropped = False
        self._behind = False
        with environment.kv.read() as txn:
            self._snapshot = load_snapshot(environment, self._shelf, txn)

    # Reads

    def snapshot(self) -> Snapshot:
        """The state after the last acknowledged write; a reader asks what the writer did."""
        environment = self._environment
        self._check_usable()
        if self._behind:
            with environment.lock:
                self._catch_up()
        if not environment.writable and environment.kv.last_txn() != self._snapshot.txn:
            with environment.kv.read() as txn:
                self._refresh(txn)
        return self._snapshot

    def find(self, ids: Sequence[bytes]) -> list[Place | None]:
        """Where the records of some encoded ids are, all as of one commit; None: no such id.

        Raises:
            CorruptionError: an id leads to a record that is nowhere.
        """
        self.snapshot()
        found = self._find(ids)
        if found is None:
            with self._environment.lock:  # a write was published while this looked
                found = self._find(ids)
        if found is None:
            raise CorruptionError(
                f"an id of collection {self.info.name!r} leads to a record that is nowhere; "
                "run check() to see what is damaged"
            )
        return found

    def _find(self, ids: Sequence[bytes]) -> list[Place | None] | None:
        with self._environment.kv.read() as txn:
            seqs = self._seqs(txn, ids)
            if not self._environment.writable:
                self._refresh(txn)
        snapshot = self._snapshot
        found = [None if seq is None else snapshot.locate(seq) for seq in seqs]
        moved = any(
            seq is not None and place is None for seq, place in zip(seqs, found, strict=True)
        )
        return None if moved else found

    def _refresh(self, txn: Txn) -> None:
        with self._environment.lock:
            if txn.id > self._snapshot.txn:
                self._snapshot = load_snapshot(self._environment, self._shelf, txn, self._snapshot)

    def _seqs(self, txn: Txn, ids: Sequence[bytes]) -> list[int | None]:
        found = txn.get_many(keys.IDS, (keys.id_key(self.info.id, id_) for id_ in ids))
        return [None if value is None else keys.parse_number(value) for value in found]

    # Writes

    def upsert(self, batch: Batch) -> int:
        """Write a batch whole; returns how many records it holds."""
        with self._environment.lock:
            # Before the write: a flush that fails must not make a batch fail that was applied.
            snapshot = self.snapshot()
            if (
                snapshot.buffer_bytes > self._environment.options.flush_bytes_max
                or snapshot.buffer_batches >= BUFFER_BATCHES_MAX
            ):
                self.flush()
            with self._writing() as change:
                if len(batch):
                    self._append(change, batch)
        return len(batch)

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete records by encoded id; returns how many there were."""
        with self._writing() as change:
            unique = list(dict.fromkeys(ids))
            seqs = self._seqs(change.txn, unique)
            pairs = [(id_, seq) for id_, seq in zip(unique, seqs, strict=True) if seq is not None]
            self._remove(change, pairs)
        return len(pairs)

    def delete_found(self, choose: Callable[[Live], Int64]) -> int:
        """Delete the rows that `choose` picks from each source; returns how many."""
        with self._writing() as change:
            pairs: list[tuple[bytes, int]] = []
            for live in change.after.sources:
                rows = choose(live)
                seqs = live.source.seqs[rows].tolist()
                pairs += zip(live.source.ids(rows), seqs, strict=True)
            self._remove(change, pairs)
        return len(pairs)

    def flush(self) -> None:
        """Move the write buffer into a segment."""
        environment = self._environment
        environment.check_writable()
        with environment.lock:
            self._check_usable()
            self._catch_up()
            if self._snapshot.buffer_batches:
                with self._published():
                    self._snapshot = flush_blocks(environment, self._shelf, self._snapshot)

    def drop(self) -> None:
        """Delete the collection; every later use of it fails."""
        with self._environment.lock:
            self._dropped = True
            registry.drop(self._environment, self.info)

    def _check_usable(self) -> None:
        self._environment.check_open()
        if self._dropped:
            raise NotFoundError(f"no collection {self.info.name!r}; it was dropped")

    def _append(self, change: Change, batch: Batch) -> None:
        txn, manifest = change.txn, change.after.manifest
        rows = batch.rows(manifest.next_seq)
        ids = rows.ids.to_list()
        replaced = [seq for seq in self._seqs(txn, ids) if seq is not None]
        packed = pack_arrays(rows.to_arrays())
        txn.put(keys.BUFFER, keys.buffer_key(self.info.id, manifest.next_seq), packed)
        txn.put_many(
            keys.IDS,
            sorted(
                (keys.id_key(self.info.id, id_), keys.pack_number(seq))
                for id_, seq in zip(ids, rows.seqs.tolist(), strict=True)
            ),
        )
        self._bury(change, replaced)
        self._edit(change, ManifestEdit(seqs=len(rows), live=len(rows) - len(replaced)))
        after = change.after
        blocks = append_rows(after.blocks, rows, self.info.schema, after.tombstones)
        change.after = replace(
            after,
            blocks=blocks,
            buffer_bytes=after.buffer_bytes + len(packed),
            buffer_batches=after.buffer_batches + 1,
        )

    def _remove(self, change: Change, pairs: Sequence[tuple[bytes, int]]) -> None:
        if pairs:
            for id_, _ in pairs:
                change.txn.delete(keys.IDS, keys.id_key(self.info.id, id_))
            self._bury(change, [seq for _, seq in pairs])
            self._edit(change, ManifestEdit(live=-len(pairs)))

    def _bury(self, change: Change, seqs: Sequence[int]) -> None:
        if not seqs:
            return
        dead = np.array(sorted(seqs), dtype=np.uint64)
        changed = add_seqs(change.after.tombstones, dead)
        for chunk, bits in changed.items():
            change.txn.put(keys.TOMBSTONES, keys.chunk_key(self.info.id, chunk), bits)
        tombstones = {**change.after.tombstones, **changed}
        change.after = replace(
            change.after,
            tombstones=tombstones,
            segments=tuple(live.without(dead, tombstones) for live in change.after.segments),
            blocks=tuple(live.without(dead, tombstones) for live in change.after.blocks),
        )

    def _edit(self, change: Change, edit: ManifestEdit) -> None:
        manifest = apply(change.after.manifest, edit)
        change.txn.put(keys.MANIFESTS, keys.collection_key(self.info.id), to_bytes(manifest))
        change.after = replace(change.after, manifest=manifest)

    @contextmanager
    def _writing(self) -> Iterator[Change]:
        environment = self._environment
        environment.check_writable()
        with environment.lock:
            self._check_usable()
            self._catch_up()
            with self._published():
                with environment.kv.write() as txn:
                    change = Change(txn, replace(self._snapshot, txn=txn.id))
                    yield change
                self._snapshot = change.after

    @contextmanager
    def _published(self) -> Iterator[None]:
        """Mark the snapshot as behind where the block ends before it was published.

        That is after an interrupt, a failure, or a commit whose outcome the disk left open.
        """
        try:
            yield
        except BaseException:
            self._behind = True
            raise

    def _catch_up(self) -> None:
        if self._behind:
            with self._environment.kv.read() as txn:
                self._snapshot = load_snapshot(self._environment, self._shelf, txn)
            self._behind = False


@dataclass(slots=True)
class Change:
    """A write under way: its transaction, and the snapshot to publish once it has committed."""

    txn: Txn
    after: Snapshot
