"""What a collection holds and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vecstore.schema import Vector
from vecstore.segment.snapshot import Snapshot
from vecstore.types import CollectionStats, Job, RepresentationStats


def collection_stats(
    snapshot: Snapshot, quarantined: Mapping[int, str], jobs: Sequence[Job] = ()
) -> CollectionStats:
    """Counts and bytes of one snapshot; reads no vectors.

    Args:
        snapshot: what is counted.
        quarantined: segment id -> what is wrong with it; these are not read.
        jobs: those of the collection.
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
            _representation(snapshot, vector, spec)
            for vector in snapshot.info.schema.vectors
            for spec in vector.representations
        ),
        buffer_bytes=snapshot.buffer_bytes,
        quarantined=tuple(
            quarantined[segment.id] for segment in manifest.segments if segment.id in quarantined
        ),
        jobs=tuple(jobs),
    )


def _representation(snapshot: Snapshot, vector: Vector, spec: str) -> RepresentationStats:
    vectors = bytes_total = 0
    for segment in snapshot.manifest.segments:
        field = segment.field(vector.name)
        for item in field.representations if field is not None else ():
            if item.spec == spec:
                vectors += 0 if field is None else field.count
                bytes_total += segment.component(item.component).bytes
    per_vector = bytes_total / vectors if vectors else 0.0
    return RepresentationStats(
        field=vector.name,
        spec=spec,
        vectors=vectors,
        bytes_total=bytes_total,
        bytes_per_vector=per_vector,
        compression=4 * vector.dim / per_vector if per_vector else 0.0,
    )
