"""What a collection holds and costs."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np

from vecstore.codec import parse_spec
from vecstore.codec.table import usage_bits
from vecstore.reports import CollectionStats, Job, Recall, RepresentationStats
from vecstore.schema import Vector
from vecstore.segment.base import Source
from vecstore.segment.snapshot import Snapshot
from vecstore.types import Uint8

# Codes whose indices are counted: so many, in runs that share blocks.
_USAGE_ROWS = 8_192
_USAGE_RUN = 512


def collection_stats(
    snapshot: Snapshot,
    quarantined: Mapping[int, str],
    jobs: Sequence[Job] = (),
    recalls: Sequence[Recall] = (),
) -> CollectionStats:
    """Counts and bytes of one snapshot; reads no vectors but a sample of table codes.

    Args:
        snapshot: what is counted.
        quarantined: segment id -> what is wrong with it; these are not read.
        jobs: those of the collection.
        recalls: what was measured of its fields.
    """
    manifest = snapshot.manifest
    records = snapshot.count_live(quarantined)
    buffered = sum(live.count() for live in snapshot.blocks)
    return CollectionStats(
        records=records,
        buffered=buffered,
        deleted=sum(segment.rows for segment in manifest.segments) - records + buffered,
        segments=len(manifest.segments),
        disk_bytes=sum(segment.bytes for segment in manifest.segments),
        representations=tuple(
            _representation(snapshot, vector, spec, quarantined)
            for vector in snapshot.info.schema.vectors
            for spec in _specs(snapshot, vector)
        ),
        buffer_bytes=snapshot.buffer_bytes,
        quarantined=tuple(
            quarantined[segment.id] for segment in manifest.segments if segment.id in quarantined
        ),
        jobs=tuple(jobs),
        recalls=tuple(recalls),
    )


def _specs(snapshot: Snapshot, vector: Vector) -> list[str]:
    """The representations of a field, and what stands in for them in some segments."""
    fields = (segment.field(vector.name) for segment in snapshot.manifest.segments)
    found = (item.spec for field in fields if field for item in field.representations)
    return list(dict.fromkeys((*vector.representations, *found)))


def _representation(
    snapshot: Snapshot, vector: Vector, spec: str, quarantined: Container[int]
) -> RepresentationStats:
    vectors = bytes_total = 0
    for segment in snapshot.manifest.segments:
        field = segment.field(vector.name)
        for item in field.representations if field is not None else ():
            if item.spec == spec:
                vectors += 0 if field is None else field.codes
                bytes_total += segment.component(item.component).bytes
    per_vector = bytes_total / vectors if vectors else 0.0
    table = parse_spec(spec, vector.dim).table
    sampled = {} if table is None else _sampled(snapshot, vector.name, spec, quarantined)
    used = [usage_bits(np.concatenate(codes), table.bits) for codes in sampled.values() if table]
    return RepresentationStats(
        field=vector.name,
        spec=spec,
        vectors=vectors,
        bytes_total=bytes_total,
        bytes_per_vector=per_vector,
        compression=4 * vector.dim / per_vector if per_vector else 0.0,
        usage_bits_min=min((float(bits.min()) for bits in used), default=0.0),
        usage_bits_mean=min((float(bits.mean()) for bits in used), default=0.0),
    )


def _sampled(
    snapshot: Snapshot, field: str, spec: str, quarantined: Container[int]
) -> dict[int | None, list[Uint8]]:
    """Codes of evenly spread runs of the rows of each segment that has some, by their codec."""
    sources = [live.source for live in snapshot.readable(quarantined)]
    held = [
        (source.codec_id(field, spec), codes, _count(source, field))
        for source in sources
        if (codes := source.codes(field, spec))
    ]
    step = max(1, sum(count for _, _, count in held) // _USAGE_ROWS) * _USAGE_RUN
    found: dict[int | None, list[Uint8]] = {}
    for codec, codes, count in held:
        for start in range(0, count, step):
            rows = np.arange(start, min(start + _USAGE_RUN, count), dtype=np.int64)
            codes.touch(rows)
            found.setdefault(codec, []).append(codes.codec.unpack(codes.parts, rows))
    return found


def _count(source: Source, field: str) -> int:
    """How many codes a representation of a field has."""
    tokens = source.tokens(field)
    return source.field_count(field) if tokens is None else tokens.count
