"""Measurements of recall to messages and back, and moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vecstore.reports import Recall
from vecstore_proto.v1 import recall_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RECALL = (
    "field",
    "representation",
    "limit",
    "live",
    "queries",
    "overlap",
    "overlap_low",
    "overlap_high",
    "overlap_worst",
    "milliseconds",
    "exact_milliseconds",
    "records",
    "stale",
)


def recall_to_wire(measured: Recall) -> recall_pb2.Recall:
    """What was measured, as a message."""
    return recall_pb2.Recall(
        where=measured.where,
        measured_at_us=us_of(measured.measured_at),
        **{name: getattr(measured, name) for name in _RECALL},
    )


def recall_from_wire(message: recall_pb2.Recall) -> Recall:
    """The inverse."""
    return Recall(
        where=message.where if message.HasField("where") else None,
        measured_at=moment_from_us(message.measured_at_us),
        **{name: getattr(message, name) for name in _RECALL},
    )


def us_of(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_from_us(microseconds: int) -> datetime:
    """The inverse, UTC."""
    return _EPOCH + microseconds * _MICROSECOND
