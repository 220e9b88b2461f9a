"""What long work answers with, to messages and back: how far it has come, and its report.

A report whose lists one message cannot hold is cut into parts, which the reader puts end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vecstore.reports import RepairReport, SnapshotInfo
from vecstore_proto import results
from vecstore_proto.recalls import moment_from_us, us_of
from vecstore_proto.v1 import database_pb2 as pb

_REPAIR = ("rebuilt", "lost", "remaining")
_SNAPSHOT = ("number", "files", "bytes_total", "bytes_new")


def problems_to_wire(problems: Sequence[str]) -> Iterator[pb.CheckReport]:
    """What a check found, as one message or more."""
    return (pb.CheckReport(problems=part) for part in _parts(problems))


def problems_from_wire(parts: Iterable[pb.CheckReport]) -> list[str]:
    """The inverse."""
    return list(_joined(parts).problems)


def repair_to_wire(report: RepairReport) -> Iterator[pb.RepairReport]:
    """What a repair did, as one message or more."""
    for name in _REPAIR:
        for part in _parts(getattr(report, name)):
            yield pb.RepairReport(**{name: part})


def repair_from_wire(parts: Iterable[pb.RepairReport]) -> RepairReport:
    """The inverse."""
    joined = _joined(parts)
    return RepairReport(**{name: tuple(getattr(joined, name)) for name in _REPAIR})


def snapshot_to_wire(made: SnapshotInfo) -> Iterator[pb.SnapshotInfo]:
    """What a snapshot is, as a message."""
    yield pb.SnapshotInfo(
        created_at_us=us_of(made.created_at),
        **{name: getattr(made, name) for name in _SNAPSHOT},
    )


def snapshot_from_wire(parts: Iterable[pb.SnapshotInfo]) -> SnapshotInfo:
    """The inverse."""
    (message,) = parts
    return SnapshotInfo(
        created_at=moment_from_us(message.created_at_us),
        **{name: getattr(message, name) for name in _SNAPSHOT},
    )


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts that a message can hold; at least one, which may be empty."""
    sizes = [len(text.encode()) + 8 for text in texts]
    return (texts[start:stop] for start, stop in results.spans(sizes, results.PART_BYTES_MAX))


def _joined(parts: Iterable[Any]) -> Any:
    whole, *others = parts
    for part in others:
        whole.MergeFrom(part)
    return whole
