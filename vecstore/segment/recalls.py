"""The last recall measured of each field, stored with the state that it was measured in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from vecstore.reports import Recall
from vecstore.segment.manifest import from_bytes, to_bytes
from vecstore.segment.snapshot import Snapshot
from vecstore.storage import keys
from vecstore.storage.kv import Txn

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Count = Annotated[int, msgspec.Meta(ge=0)]


class RecallInfo(msgspec.Struct, frozen=True, array_like=True):
    """A `Recall`, whose field is in its key.

    Attributes:
        representation, limit, where, live, queries, overlap, overlap_low, overlap_high,
            overlap_worst, milliseconds, exact_milliseconds, records: as in `Recall`.
        measured_at_us: when, in microseconds since 1970.
        next_seq: of the manifest then.
        segment: the largest id of a segment then; 0: there was none.
    """

    representation: str
    limit: _Count
    where: str | None
    live: bool
    queries: _Count
    overlap: float
    overlap_low: float
    overlap_high: float
    overlap_worst: float
    milliseconds: float
    exact_milliseconds: float
    records: _Count
    measured_at_us: int
    next_seq: _Count
    segment: _Count


_SHARED = RecallInfo.__struct_fields__[:12]


def put_recall(txn: Txn, snapshot: Snapshot, measured: Recall) -> None:
    """Store a recall in place of the one that the field had.

    Args:
        txn: a write.
        snapshot: what it was measured in.
        measured: the recall.
    """
    manifest = snapshot.manifest
    info = RecallInfo(
        **{name: getattr(measured, name) for name in _SHARED},
        measured_at_us=(measured.measured_at - _EPOCH) // _MICROSECOND,
        next_seq=manifest.next_seq,
        segment=max((segment.id for segment in manifest.segments), default=0),
    )
    key = keys.recall_key(snapshot.info.id, measured.field)
    txn.put(keys.RECALLS, key, to_bytes(info))


def read_recalls(txn: Txn, snapshot: Snapshot) -> tuple[Recall, ...]:
    """What is stored of a collection, by field; a damaged value is none."""
    start, stop = keys.collection_range(snapshot.info.id)
    return tuple(
        _recall(keys.parse_recall_key(key), from_bytes(RecallInfo, value), snapshot)
        for key, value in txn.entries(keys.RECALLS, start, stop)
        if value is not None
    )


def _recall(field: str, info: RecallInfo, snapshot: Snapshot) -> Recall:
    return Recall(
        field=field,
        **{name: getattr(info, name) for name in _SHARED},
        measured_at=_EPOCH + info.measured_at_us * _MICROSECOND,
        stale=_is_stale(info, snapshot),
    )


def _is_stale(info: RecallInfo, snapshot: Snapshot) -> bool:
    """Whether most records, of then or of now, do not lie where they lay then."""
    segments, live = snapshot.manifest.segments, snapshot.manifest.live
    newer = sum(segment.rows for segment in segments if segment.id > info.segment)
    blocks = [item.source for item in snapshot.blocks]
    newer += sum(block.rows for block in blocks if block.seq_max >= info.next_seq)
    return 2 * max(0, live - newer) < max(info.records, live)
