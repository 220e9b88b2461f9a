"""Walk every invariant on disk. Run by users who wonder, and by the tests after each test.

What must hold, for each collection:

    every page of LMDB is in its place, and its keys are in order
    every value in LMDB and every block of every file matches its checksum
    seqs ascend in every segment and batch, and no seq is given out twice or beyond next_seq
    an id leads to one row that was not deleted and has that id, and every such row is led to
    the manifest counts those rows
    the codecs that segments name exist; no file is left that nothing names

Where a part is damaged, what depends on it is passed over: each problem is told once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from vecstore.errors import CorruptionError, StorageError, VecstoreError
from vecstore.segment.catalog import CodecInfo, CollectionInfo, alter_jobs
from vecstore.segment.codecs import KIND, CodecShelf
from vecstore.segment.environment import Environment
from vecstore.segment.format import Component
from vecstore.segment.known import KnownIds, read_ids
from vecstore.segment.load import load_snapshot, segment_of
from vecstore.segment.manifest import Manifest, codecs_in_use, from_bytes
from vecstore.segment.snapshot import Live, Snapshot, written_rows
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.storage.paths import is_temporary
from vecstore.storage.pins import ReaderPin
from vecstore.types import Bool, Progress

_ROWS = 100_000


def check_database(environment: Environment, progress: Progress | None = None) -> list[str]:
    """The problems found in an open database; empty when it is sound.

    Looks at the last commit. Writes go on beside it.

    Args:
        environment: the database.
        progress: told how many bytes, or ids, of each part were checked.
    """
    with ExitStack() as held:
        held.enter_context(environment.reclaimer.hold())
        if not environment.writable:
            held.callback(ReaderPin(environment.paths.readers).release)
        with environment.lock:  # what the commit names and what the folders hold, at one moment
            txn = held.enter_context(environment.kv.read())
            unnamed = _unnamed(environment)
        check = _Check(environment, txn, progress or _silent)
        found = [*check.run(), *check.files(unnamed)]
    return list(dict.fromkeys(found))


def _unnamed(environment: Environment) -> list[Path]:
    """What the folders hold, without what is under way and what waits to be removed."""
    if not environment.writable:
        return []  # only the writer knows
    known = environment.reclaimer.unnamed()
    folders = (environment.paths.segments, environment.paths.codecs)
    held = [folder / name for folder in folders for name in environment.files.list_dir(folder)]
    return [path for path in held if path not in known and not is_temporary(path.name)]


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""


class Meter:
    """Adds up what was checked of one part, and tells of each 200th of it."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._what = what
        self._total = total
        self._done = 0
        self._next: float = 0
        self.add(0)

    def add(self, count: int) -> None:
        """So much more is done."""
        self._done = min(self._done + count, self._total)
        if self._done >= self._next:
            more = self._done < self._total
            self._next = (
                min(self._done + self._total // 200, self._total - 1) + 1 if more else math.inf
            )
            self._progress(self._what, self._done, self._total)


class _Check:
    """One look at one commit."""

    def __init__(self, environment: Environment, txn: Txn, progress: Progress) -> None:
        self._environment = environment
        self._txn = txn
        self._progress = progress
        self._manifests: list[Manifest] = []
        self._buffered: frozenset[int] = frozenset()  # codecs that the write buffers need
        self._partial = False  # a manifest could not be read: who knows what it names
        self._told: set[str] = set()

    def run(self) -> Iterator[str]:
        """What is wrong with values and segments."""
        pages = self._environment.kv.damaged_pages()
        yield from (item.text for item in pages)
        if any(not item.order for item in pages):
            self._partial = True
            return  # LMDB may not be let near them
        yield from self._values()
        for key in self._txn.keys(keys.COLLECTIONS):
            name = keys.parse_name(key)
            try:
                stored = self._txn.get(keys.COLLECTIONS, key)
                info = CollectionInfo.from_bytes(name, stored or b"")
                yield from self._collection(info)
            except VecstoreError as error:
                self._partial = True
                if str(error) not in self._told:
                    yield f"collection {name!r}: {error}"

    def _values(self) -> Iterator[str]:
        size = self._environment.files.map(self._environment.paths.data).nbytes
        meter = Meter(self._progress, "data.mdb", size)
        for db in keys.DATABASES:
            for key, value in self._txn.entries(db):
                meter.add(len(key) + len(value or b""))
                if value is None:
                    self._told.add(str(self._txn.damage(db, key)))
        meter.add(size)
        yield from sorted(self._told)

    def _collection(self, info: CollectionInfo) -> Iterator[str]:
        environment, txn = self._environment, self._txn
        stored = txn.get(keys.MANIFESTS, keys.collection_key(info.id))
        if stored is None:
            raise CorruptionError("it has no manifest")
        manifest = from_bytes(Manifest, stored)
        self._manifests.append(manifest)
        shelf = CodecShelf(
            kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
        )
        size = sum(segment.bytes for segment in manifest.segments)
        meter = Meter(self._progress, f"collection {info.name!r}", size)
        damaged = set()
        for segment in manifest.segments:
            problems = segment_of(environment, shelf, segment).verify(meter.add)
            yield from (f"collection {info.name!r}: {text}" for text in problems)
            if problems:
                damaged.add(segment.id)
        meter.add(size)
        try:
            snapshot = load_snapshot(environment, shelf, txn)
            self._buffered |= snapshot.buffer_codecs
            for text in self._rows(snapshot, damaged):
                yield f"collection {info.name!r}: {text}"
        except CorruptionError as error:
            if str(error) not in self._told:
                raise

    def _rows(self, snapshot: Snapshot, damaged: set[int]) -> Iterator[str]:
        """Compare ids with rows, but for those of damaged segments."""
        manifest = snapshot.manifest
        meter = Meter(self._progress, f"ids of {snapshot.info.name!r}", 2 * manifest.live)
        known = read_ids(self._txn, snapshot.info.id, meter.add)
        for key in known.damaged:
            if str(self._txn.damage(keys.IDS, key)) not in self._told:
                yield f"key {key.hex()} in {keys.IDS!r} leads to no seq"
        if manifest.live != len(known) and not known.damaged:
            yield f"the manifest counts {manifest.live} records, {len(known)} ids are known"
        found = np.zeros(len(known), dtype=np.bool_)
        for item in manifest.segments:
            if item.id in damaged:
                found[known.between(item.seq_min, item.seq_max)] = True
        sound = [
            live
            for item, live in zip(manifest.segments, snapshot.segments, strict=True)
            if item.id not in damaged
        ]
        for live in snapshot.blocks:
            yield from _codes(live)
        for live in [*sound, *snapshot.blocks]:
            yield from _compare(live, known, found, manifest.next_seq)
            meter.add(live.source.rows)
        meter.add(2 * manifest.live)
        if not known.damaged:
            for place in np.flatnonzero(~found).tolist():
                yield (
                    f"id {known.ids.get(place)!r} leads to seq {known.seqs[place]}, which no row "
                    "has that was not deleted"
                )

    def files(self, unnamed: list[Path]) -> Iterator[str]:
        """What is wrong with trained codecs, and which of some files nothing names."""
        if self._partial:
            return
        txn, paths = self._txn, self._environment.paths
        try:
            infos = [from_bytes(CodecInfo, value) for _, value in txn.scan(keys.CODECS)]
            built = [job.manifest() for job in alter_jobs(txn).values()]
        except CorruptionError:
            return  # told already
        yield from self._codecs({info.id: info for info in infos})
        named = {paths.codec(info.id) for info in infos}
        for made in (*self._manifests, *built):
            named |= {paths.segment(item.id) for item in made.segments}
        yield from (f"{path} is named by nothing" for path in unnamed if path not in named)

    def _codecs(self, infos: dict[int, CodecInfo]) -> Iterator[str]:
        for codec in sorted(codecs_in_use(self._manifests) - infos.keys()):
            yield f"segments were written with codec {codec}, which no entry describes"
        for codec in sorted(self._buffered - infos.keys()):
            yield f"the write buffer has codes of codec {codec}, which no entry describes"
        size = sum(info.file.bytes for info in infos.values())
        meter = Meter(self._progress, "trained codecs", size)
        for codec, info in infos.items():
            path = self._environment.paths.codec(codec)
            try:
                component = Component.open(self._environment.files, path, KIND, info.file)
                yield from component.verify(meter.add)
            except StorageError as error:
                yield str(error)
        meter.add(size)


def _codes(live: Live) -> Iterator[str]:
    """What is wrong with the vectors and codes of a block of the write buffer."""
    source = live.source
    for field in source.fields():
        try:
            source.codes(field, source.specs(field)[-1])
        except CorruptionError as error:
            yield f"vector field {field!r} of the seqs from {source.seq_min} on: {error}"


def _compare(live: Live, known: KnownIds, found: Bool, next_seq: int) -> Iterator[str]:
    """Compare the rows of a source with the ids that lead to them; takes note of those found."""
    source = live.source
    seqs = source.seqs
    if len(seqs) and ((seqs[1:] <= seqs[:-1]).any() or seqs[-1] >= next_seq):
        yield f"the seqs from {seqs[0]} to {seqs[-1]} do not ascend below {next_seq}"
    written = written_rows(live)
    for start in range(0, len(written), _ROWS):
        rows = written[start : start + _ROWS]
        places, there = known.find(seqs[rows])
        for row in rows[~there].tolist():
            if not known.damaged:
                yield f"no id leads to the row of seq {seqs[row]}"
        rows, places = rows[there], places[there]
        for row in rows[found[places]].tolist():
            yield f"seq {seqs[row]} is in two places"
        found[places] = True
        own, expected = source.strings("ids", rows), known.ids.take(places)
        if (own.offsets != expected.offsets).any() or (own.data != expected.data).any():
            for number, row in enumerate(rows.tolist()):
                if own.get(number) != expected.get(number):
                    yield (
                        f"the row of seq {seqs[row]} has id {own.get(number)!r}, "
                        f"id {expected.get(number)!r} leads to it"
                    )
