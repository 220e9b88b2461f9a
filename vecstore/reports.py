"""What a database tells of itself: what it holds and costs, what it does, what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

JobKind: TypeAlias = Literal["flush", "compact", "alter", "expire"]
JobState: TypeAlias = Literal["queued", "running", "paused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How much of the exact answers the default plan finds, measured.

    Exact is what the finest representation says: what that has lost of the vectors that were
    written is not in it.

    The overlap of a query is the share of its exact hits that the default plan finds, too; a hit
    that scores as well as the last exact one counts as one of these.

    Attributes:
        field: the field whose scores the hits are ranked by.
        representation: its finest one, which exact searches read.
        limit: hits asked for.
        where: the filter of all queries; None: none, or that of each live query.
        live: whether it was measured on queries that this database had answered.
        queries: how many; those for which there is nothing to find are not among them.
        overlap: mean of the queries.
        overlap_low, overlap_high: the interval that holds the mean of such queries 95 times in 100,
            by resampling them (Efron, Bootstrap methods, 1979).
        overlap_worst: mean of the worst tenth of the queries.
        milliseconds: what the default plan takes for a query, asked some at a time.
        exact_milliseconds: the same of exact searches.
        records: records of the collection then.
        measured_at: when, UTC.
        stale: most records were written or moved since: measure again.
    """

    field: str
    representation: str
    limit: int
    where: str | None
    live: bool
    queries: int
    overlap: float
    overlap_low: float
    overlap_high: float
    overlap_worst: float
    milliseconds: float
    exact_milliseconds: float
    records: int
    measured_at: datetime
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepresentationStats:
    """What one representation costs.

    Attributes:
        field: the vector field.
        spec: the representation.
        vectors: vectors encoded in segments; of a multivector field its tokens.
        bytes_total: bytes of its codes in segments.
        bytes_per_vector: bytes of one code: of one token of a multivector field, without the 8
            for each record, and up to 4 for each token, that say where tokens lie.
        compression: float32 bytes / bytes_per_vector.
        usage_bits_min: entropy of the indices of a sample of codes, of the subquantizer whose
            centroids are used least alike, in bits; 0 where there are no subquantizers or codes.
        usage_bits_mean: of all subquantizers. Where several codecs made the codes, both are of the
            one of which they are least.
    """

    field: str
    spec: str
    vectors: int
    bytes_total: int
    bytes_per_vector: float
    compression: float
    usage_bits_min: float = 0.0
    usage_bits_mean: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Background work.

    Attributes:
        id: a number that no other job had while the database was open.
        kind: "flush", "compact", "alter" or "expire".
        collection: the collection it works on.
        state: "queued", "running", "paused" or "failed"; one that is done is not listed.
        done: bytes it has written.
        total: bytes it expects to write; 0 where that is not known yet.
        message: why it failed, or what it does.
    """

    id: int
    kind: JobKind
    collection: str
    state: JobState
    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What `repair` did, in words; all empty where there was nothing to do.

    Attributes:
        rebuilt: what was made again from something as good; nothing of it is lost.
        lost: records, and what else is gone, each with its id.
        remaining: problems that `check` still finds.
    """

    rebuilt: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """A copy of a database, as of one moment.

    Attributes:
        number: of the snapshot in an object store, from 1 on; 0 for a directory.
        created_at: that moment, UTC.
        files: files it consists of.
        bytes_total: their bytes.
        bytes_new: bytes that were not there from an earlier snapshot, or could not be linked.
    """

    number: int
    created_at: datetime
    files: int
    bytes_total: int
    bytes_new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStats:
    """What a collection holds and costs.

    Attributes:
        records: live records.
        buffered: live records in the write buffer, not yet in a segment.
        deleted: rows in segments that are no longer live.
        segments: segments on disk.
        disk_bytes: bytes of the segments' files.
        representations: one entry for each representation of each field.
        buffer_bytes: bytes of the write buffer.
        quarantined: what is wrong with each segment that is not read, being damaged.
        jobs: background work under way, waiting or failed.
        recalls: what `measure_recall` found last of each field.
    """

    records: int
    buffered: int
    deleted: int
    segments: int
    disk_bytes: int
    representations: tuple[RepresentationStats, ...]
    buffer_bytes: int = 0
    quarantined: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()
    recalls: tuple[Recall, ...] = ()
