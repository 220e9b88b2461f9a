"""Repair one collection: new segments beside the damaged ones, then one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vecstore.check import Meter
from vecstore.errors import VecstoreError
from vecstore.ingest.store import CollectionStore
from vecstore.repair.identify import identify
from vecstore.repair.rebuild import Rebuilder
from vecstore.repair.records import Read, Records, add_seqs_to, batches_read, mend, read_records
from vecstore.repair.remains import SegmentRemains, examine
from vecstore.repair.report import Findings
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.codecs import CodecShelf, put_info
from vecstore.segment.environment import Environment
from vecstore.segment.load import segment_of
from vecstore.segment.manifest import (
    Manifest,
    ManifestEdit,
    SegmentInfo,
    apply,
    from_bytes,
    to_bytes,
)
from vecstore.segment.reader import Segment
from vecstore.storage import keys
from vecstore.types import Bool, Int64, Progress


@dataclass(slots=True)
class _Outcome:
    """What the commit of a repair changes.

    Attributes:
        removed: the ids of segments that are read no more.
        added: new ones in place of them.
        found: bool [n], which of the known records still have a row.
        told: int64, the places of those that are lost, and told to be.
    """

    found: Bool
    told: Int64
    removed: set[int] = field(default_factory=set)
    added: list[SegmentInfo] = field(default_factory=list)


class CollectionRepair:
    """The repair of one collection. The caller holds all locks of it and of the environment."""

    def __init__(
        self,
        environment: Environment,
        info: CollectionInfo,
        manifest: Manifest,
        progress: Progress,
    ) -> None:
        self._environment = environment
        self._info = info
        self._manifest = manifest
        self._progress = progress
        self.findings = Findings(f"collection {info.name!r}: ")
        self._shelf = CodecShelf(
            kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
        )

    def run(self, opened: CollectionStore | None) -> None:
        """Examine everything, write what is to be written again, and commit.

        Args:
            opened: the collection, where this process has it open.
        """
        sound, damaged = self._examine()
        with self._environment.kv.read() as txn:
            before = read_records(txn, self._info, self._manifest)
        sources = [*self._read(sound, damaged), *batches_read(before.batches)]
        records, added = mend(before, sources)
        outcome = _Outcome(np.zeros(len(records.known), np.bool_), np.empty(0, np.int64))
        for seqs, _ in [*self._read(sound, []), *batches_read(before.batches)]:
            places, there = records.known.find(seqs)
            outcome.found[places[there]] = True
        size = sum(remains.info.bytes for remains in damaged)
        meter = Meter(self._progress, f"writing {self._info.name!r}", size)
        rebuilder = Rebuilder(
            environment=self._environment,
            shelf=self._shelf,
            schema=self._info.schema,
            findings=self.findings,
            pace=meter.add,
        )
        try:
            for remains in damaged:
                self._rebuild(rebuilder, remains, records, outcome)
            meter.add(size)
            self._tell(before, records, added, outcome)
            changed = self._commit(before, records, added, outcome, rebuilder)
        except BaseException:
            self._remove_unnamed(rebuilder.made)
            raise
        finally:
            self._environment.reclaimer.finish(rebuilder.made)
        if changed is not None:
            self._retire(outcome, opened, changed)

    def _remove_unnamed(self, made: Sequence[Path]) -> None:
        """Remove what was made, unless the commit was made after all."""
        environment = self._environment
        with suppress(VecstoreError):  # what cannot be removed now, the next open removes
            with environment.kv.read() as txn:
                stored = txn.get(keys.MANIFESTS, keys.collection_key(self._info.id))
            segments = from_bytes(Manifest, stored or b"").segments
            if {environment.paths.segment(item.id) for item in segments}.isdisjoint(made):
                for path in made:
                    environment.files.remove(path)

    def _examine(self) -> tuple[list[Segment], list[SegmentRemains]]:
        """Read every byte of every segment; those without damage, and those with."""
        segments = self._manifest.segments
        size = sum(segment.bytes for segment in segments)
        meter = Meter(self._progress, f"examining {self._info.name!r}", size)
        sound, damaged = [], []
        for info in segments:
            remains = examine(self._environment, self._shelf, info, meter.add)
            count = sum(len(owner.representations) for owner in info.fields)
            if remains.problems or len(remains.codecs) < count:
                damaged.append(remains)
            else:
                sound.append(segment_of(self._environment, self._shelf, info))
        meter.add(size)
        return sound, damaged

    def _read(self, sound: Sequence[Segment], damaged: Sequence[SegmentRemains]) -> Iterator[Read]:
        """The rows of segments whose seqs can be read."""
        for segment in sound:
            yield Read(segment.seqs, segment.ids)
        for remains in damaged:
            seqs, readable = remains.seqs
            yield Read(seqs[readable], _ids_of(remains, np.flatnonzero(readable)))

    def _rebuild(
        self, rebuilder: Rebuilder, remains: SegmentRemains, records: Records, outcome: _Outcome
    ) -> None:
        places = identify(remains, records.known, records.deleted)
        source = rebuilder.salvaged(remains, records.known, places)
        made = rebuilder.rebuild(source)
        outcome.removed.add(remains.info.id)
        if made is not None:
            outcome.added.append(made)
        outcome.found[places[source.kept]] = True
        lost = places[(places >= 0) & ~source.kept]
        text = f": its payload in segment {remains.info.id} cannot be read"
        self.findings.gone_of(records.known.ids.pick(lost), text)
        outcome.told = np.union1d(outcome.told, lost)

    def _tell(
        self, before: Records, records: Records, added: dict[bytes, int], outcome: _Outcome
    ) -> None:
        """Say what of ids and tombstones was made again, and which records are lost."""
        findings = self.findings
        if added:
            findings.made(f"the entries of {len(added)} ids")
        for chunk in before.damaged_chunks:
            findings.made(f"chunk {chunk} of the tombstones")
        unknown = len(before.known.damaged) - len(added)
        if unknown > 0:
            findings.gone(f"{unknown} records whose ids cannot be read")
        lost = np.setdiff1d(np.flatnonzero(~outcome.found), outcome.told)
        for place in lost.tolist():
            seq = int(records.known.seqs[place])
            where = next(
                (
                    f"segment {item.id}"
                    for item in self._manifest.segments
                    if item.seq_min <= seq <= item.seq_max
                ),
                "the write buffer",
            )
            findings.gone_of([records.known.ids.get(place)], f": its row in {where} is gone")

    def _commit(
        self,
        before: Records,
        records: Records,
        added: dict[bytes, int],
        outcome: _Outcome,
        rebuilder: Rebuilder,
    ) -> int | None:
        """Write everything in one transaction; its number, or None where nothing changes."""
        known, gone = records.known, np.flatnonzero(~outcome.found)
        edit = ManifestEdit(added=tuple(outcome.added), removed=frozenset(outcome.removed))
        segments = apply(self._manifest, edit).segments
        manifest = Manifest(segments, self._manifest.next_seq, len(known) - len(gone))
        chunks = _changed_chunks(before, add_seqs_to(records.tombstones, known.seqs[gone]))
        unneeded = (before.known.damaged, before.damaged_batches)
        if manifest == self._manifest and not any((chunks, added, *unneeded)):
            return None
        collection = self._info.id
        with self._environment.writing() as txn:
            for key in [
                *before.known.damaged,
                *(keys.id_key(collection, id_) for id_ in known.ids.pick(gone)),
            ]:
                txn.delete(keys.IDS, key)
            for id_ in added.keys() - set(known.ids.pick(gone)):
                txn.put(keys.IDS, keys.id_key(collection, id_), keys.pack_number(added[id_]))
            for chunk, bits in chunks.items():
                key = keys.chunk_key(collection, chunk)
                if bits is None:
                    txn.delete(keys.TOMBSTONES, key)
                else:
                    txn.put(keys.TOMBSTONES, key, bits)
            for key in before.damaged_batches:
                txn.delete(keys.BUFFER, key)
            for codec in rebuilder.trained:
                put_info(txn, codec)
            txn.put(keys.MANIFESTS, keys.collection_key(collection), to_bytes(manifest))
            return txn.id

    def _retire(self, outcome: _Outcome, opened: CollectionStore | None, commit: int) -> None:
        """Let the damaged segments be removed when no one reads them any more."""
        environment = self._environment
        sources = [] if opened is None else [live.source for live in opened.snapshot().segments]
        read = [
            item
            for item in sources
            if isinstance(item, Segment) and item.info.id in outcome.removed
        ]
        environment.reclaimer.retire(read, (), commit)
        closed = outcome.removed - {item.info.id for item in read}
        environment.reclaimer.retire_paths(map(environment.paths.segment, closed), commit)
        for number in outcome.removed:
            environment.quarantined.pop(number, None)


def _ids_of(remains: SegmentRemains, rows: Int64) -> Callable[[Int64], list[bytes | None]]:
    """Gives the ids of some of `rows`, None for those that cannot be read."""

    def pick(places: Int64) -> list[bytes | None]:
        ids, readable = remains.ids
        found: list[bytes | None] = [None] * len(places)
        sound = np.flatnonzero(readable[rows[places]])
        for place, id_ in zip(sound.tolist(), ids.pick(rows[places][sound]), strict=True):
            found[place] = id_
        return found

    return pick


def _changed_chunks(before: Records, tombstones: dict[int, bytes]) -> dict[int, bytes | None]:
    """The bitmaps to be written; None for those that are not needed any more."""
    stored = before.tombstones
    chunks = {*stored, *tombstones, *before.damaged_chunks}
    return {
        chunk: tombstones.get(chunk)
        for chunk in sorted(chunks)
        if chunk in before.damaged_chunks or tombstones.get(chunk) != stored.get(chunk)
    }
