"""A damaged segment becomes a new one, with the rows that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vecstore.codec import parse_spec
from vecstore.errors import CorruptionError
from vecstore.ingest.choose import SAMPLE_SHARE, field_parts
from vecstore.ingest.numbers import take_number
from vecstore.repair.remains import SegmentRemains
from vecstore.repair.report import Findings
from vecstore.repair.source import Salvaged
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import CodecShelf, codecs_of
from vecstore.segment.encode import Codecs
from vecstore.segment.environment import Environment
from vecstore.segment.known import KnownIds
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.reader import Segment
from vecstore.segment.relink import relink_segment
from vecstore.segment.sample import sample_rows, sample_vectors
from vecstore.segment.writer import Pace, Part, write_segment
from vecstore.storage import keys
from vecstore.storage import paths as names
from vecstore.types import Bool, Int64

_FORGOTTEN = {
    "places": " has its vectors {!r} in another order, perhaps",
    "salience": " has its vectors {!r} without how important each is",
}


@dataclass(slots=True, kw_only=True)
class Rebuilder:
    """Makes segments of one collection again.

    Attributes:
        environment: the database.
        shelf: the codecs of the collection.
        schema: of the collection.
        findings: takes what was done.
        pace: called with the bytes of each piece that was written.
        trained: codecs that were trained for it, and that nothing names yet.
        made: the files and folders that were begun.
    """

    environment: Environment
    shelf: CodecShelf
    schema: Schema
    findings: Findings
    pace: Pace
    trained: list[CodecInfo] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)

    def salvaged(self, remains: SegmentRemains, known: KnownIds, places: Int64) -> Salvaged:
        """The rows of a segment that are records, and whose payloads can be read."""
        kept = (places >= 0) & remains.payloads[1]
        seqs = np.zeros(len(places), dtype=np.uint64)
        seqs[kept] = known.seqs[places[kept]]
        return Salvaged(
            remains=remains,
            schema=self.schema,
            known=known,
            places=places,
            kept=kept,
            seqs=seqs,
            found={item.info.name: item for item in remains.fields()},
        )

    def rebuild(self, source: Salvaged) -> SegmentInfo | None:
        """Write a new segment, which nothing names yet; None where nothing is left."""
        remains = source.remains
        if not source.kept.any():
            return None
        number = take_number(self.environment, keys.NEXT_SEGMENT)
        files, paths = self.environment.files, self.environment.paths
        self.made.append(paths.segment(number))
        segment = f"segment {remains.info.id}, now {number}"
        with self.environment.guard():
            again = self._codes_only(source)
            if again is not None:
                old = Segment(files, remains.folder, remains.info, self.shelf.load, self.schema)
                whole = Part(source, np.arange(source.rows))
                info = relink_segment(
                    files,
                    paths,
                    number,
                    old,
                    schema=self.schema,
                    codecs=self._codecs(remains, [whole]),
                    rebuild=again,
                    pace=self.pace,
                )
            else:
                parts = source.parts()
                codecs = self._codecs(remains, parts)
                info = write_segment(files, paths, number, parts, self.schema, codecs, self.pace)
                self._tell_lost(source)
        for name in sorted(remains.damaged()):
            self.findings.made(f"{name!r} of {segment}")
        return info

    def _codes_only(self, source: Salvaged) -> frozenset[tuple[str, str]] | None:
        """The codes to encode again, where nothing else is damaged but the description."""
        damaged = source.remains.damaged()
        allowed = {names.SEGMENT}
        again: set[tuple[str, str]] = set()
        for name, found in source.found.items():
            *coarse, finest = found.info.representations
            if finest.spec in found.unreadable:
                return None
            for item in coarse:
                if item.spec in found.unreadable or item.component in damaged:
                    allowed.add(item.component)
                    again.add((name, item.spec))
        return frozenset(again) if damaged <= allowed else None

    def _codecs(self, remains: SegmentRemains, parts: Sequence[Part]) -> Codecs:
        """The codec of each representation: the one it had, where that can be read."""
        with self.environment.kv.read() as txn:
            infos = codecs_of(txn, self.shelf.collection)
        infos += self.trained
        chosen: dict[tuple[str, str], StoredCodec] = {}
        for vector in self.schema.vectors:
            own = field_parts(parts, vector.name)
            count = sum(len(part.numbers) for part in own)
            owner = remains.info.field(vector.name)
            had = {item.spec: item.codec for item in owner.representations} if owner else {}
            for spec in vector.representations if count else ():
                newest = [
                    info.id for info in infos if (info.field, info.spec) == (vector.name, spec)
                ]
                wanted = [had[spec]] if spec in had else []
                if not parse_spec(spec, vector.dim).trained:
                    wanted = [0]
                found = self._first(vector, spec, [*wanted, *reversed(newest)])
                if found is None:
                    budget = self.environment.options.memory_bytes_max // SAMPLE_SHARE
                    most = sample_rows(count, vector.dim, budget, parse_spec(spec, vector.dim))
                    sample = sample_vectors(own, vector.name, most)
                    number = take_number(self.environment, keys.NEXT_CODEC)
                    self.made.append(self.environment.paths.codec(number))
                    self.trained.append(self.shelf.train(number, vector, spec, sample))
                    found = self.shelf.stored(vector.name, spec, number)
                chosen[vector.name, spec] = found
        return chosen

    def _first(self, vector: Vector, spec: str, codecs: Sequence[int]) -> StoredCodec | None:
        for codec in codecs:
            try:
                return self.shelf.stored(vector.name, spec, codec)
            except CorruptionError:
                continue
        return None

    def _tell_lost(self, source: Salvaged) -> None:
        """Say what is gone of records that are kept."""
        remains, kept = source.remains, source.kept
        self._tell(source, kept & ~remains.expires[1], " never expires now")
        for name, found in source.found.items():
            lost = found.lost()
            self._tell(source, kept & lost, f" has no vector {name!r} any more")
            for what, rows in found.forgotten.items():
                self._tell(source, kept & rows & ~lost, _FORGOTTEN[what].format(name))
            specs = [item.spec for item in found.info.representations]
            finest = found.unreadable.get(specs[-1])
            if finest is not None:
                for spec, mask in _next_best(specs, found.unreadable, finest & ~lost):
                    text = f" has its vector {name!r} only as precisely as {spec!r} kept it"
                    self._tell(source, kept & mask, text)

    def _tell(self, source: Salvaged, rows: Bool, what: str) -> None:
        self.findings.gone_of(source.ids(np.flatnonzero(rows)), what)


def _next_best(
    specs: Sequence[str], unreadable: Mapping[str, Bool], rows: Bool
) -> list[tuple[str, Bool]]:
    """For rows whose finest codes cannot be read: the finest ones that can, and of which rows."""
    found = []
    for spec in reversed(specs[:-1]):
        bad = unreadable.get(spec)
        mask = rows if bad is None else rows & ~bad
        found.append((spec, mask))
        rows = rows & ~mask
    return found
