"""Every default and limit, each with its unit, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import get_args

from vecstore.errors import RequestError
from vecstore.types import Durability

DIM_MAX = 65_536
# Tokens of one record of a multivector field, and their bytes as float32: a message holds them.
TOKENS_MAX = 65_535
TOKENS_BYTES_MAX = 1 << 25
# Vectors of one query of it: each has a byte and an integer for each centroid.
QUERY_TOKENS_MAX = 2_048
PCA_DIMS_MAX = 2_048
SUBQUANTIZERS_MAX = 4_096
TOKEN_DIMS_MAX = 4_096
BOOKS_BYTES_MAX = 1 << 26
ID_BYTES_MAX = 255
BATCH_ROWS_MAX = 100_000
BATCH_BYTES_MAX = 1 << 30
GET_IDS_MAX = 100_000
PAYLOAD_BYTES_MAX = 1 << 20
LIMIT_MAX = 10_000
KEEP_MAX = 1_000_000
NPROBE_MAX = 1_000_000
QUERIES_MAX = 10_000
RESULTS_MAX = 10_000_000  # hits of all queries of one batch
# A larger batch is run in parts: candidates and probes, and bytes of prepared queries in memory.
CANDIDATES_MAX = 4_000_000
PREPARED_BYTES_MAX = 32 << 20
STAGES_MAX = 8
VECTOR_FIELDS_MAX = 64
COLUMNS_MAX = 256
REPRESENTATIONS_MAX = 16
WHERE_CHARS_MAX = 10_000
WHERE_TERMS_MAX = 1_000

DEFAULT_PORT = 7700
MESSAGE_BYTES_MAX = 64 << 20
REQUEST_BYTES_TARGET = 4 << 20
RPC_TIMEOUT_S = 60.0

# A codec trained on fewer rows than this is trained again by the next larger flush.
TRAINING_ROWS_MAX = 65_536
# A filter that leaves at most so many rows skips the scan of codes: its rows are gathered and
# scored with the finest representation. So many rows of lists are scanned in the time of one that
# is scored by itself, wherever its codes lie.
GATHER_ROWS_MAX = 1_000
LISTED_PER_ROW = 8
# The codes of a field of a segment with at least so many rows are stored as inverted lists; so many
# times the square root of the rows.
LISTS_ROWS_MIN = 50_000
LISTS_PER_ROOT = 4
# Lists that the default plan visits: so many times the square root of their number, where this
# share of the rows is wanted; else times this power of how much more it is; few hits count as so
# many. Where that comes to more than so large a share of the lists, all rows are scanned.
PROBES_PER_ROOT = 2.75
PROBES_MORE = {"sign": 2.0}  # times as many, where centroids are ranked only roughly
PROBES_WANTED = 10 / 120_000
PROBES_POWER = 0.27
PROBES_LIMIT_MIN = 5
PROBES_SHARE_MAX = 0.5
# Bytes of codes that one thread scans at least: where all are 10 MB, two threads take 1.4 times as
# long as one, where they are 20 MB as long, where 40 MB .9 times.
PARALLEL_BYTES_MIN = 16 << 20
# Candidates that the default plan scans for each hit asked, by the codec it scans, and at least.
OVERSAMPLING = {
    "sign": 64,
    "bits1": 32,
    "bebr1": 32,
    "bits2": 5,
    "bebr2": 5,
    "bebr3": 4,
    "bits4": 4,
    "lvq4": 4,
    "bebr4": 4,
    "int8": 2,
    "bits8": 2,
    "lvq4x4": 2,
    "lvq8": 2,
    "lvq4x8": 2,
    "float16": 1,
    "float32": 1,
}
OVERSAMPLING_SHORTENED = 64
# Of table codecs: as many as make up for so many bits of each dimension. They have no error bounds
# by which a scan that kept too few is widened.
OVERSAMPLING_TABLE_BITS = 16
KEEP_MIN = 50
# Records that a stage of the default plan of a multivector field keeps for each hit asked, and at
# least, by the codec that it reads.
MAXSIM_KEEP = {"ids256": (100, 1_000), "ids": (15, 150), "sign": (15, 150)}
MAXSIM_KEEP_FINER = (3, 30)
# Of short records a coarse first stage keeps more: as many as have so many vectors together.
MAXSIM_KEEP_VECTORS = 8_192
# Of so many vectors on, the default plan looks for candidates by so many centroids near each vector
# of the query, and scores so many for each record that the stage hands on, and so many at least, of
# each segment.
MAXSIM_SCAN_MAX = 1_000_000
MAXSIM_NPROBE = 16
MAXSIM_CANDIDATES, MAXSIM_CANDIDATES_MIN = 8, 1_200
# Candidates that a vector field finds for a multivector field.
DENSE_KEEP = (30, 300)
# Queries of one measurement of recall, and their bytes as float32: a message holds them.
RECALL_QUERIES_MAX = 1_000
RECALL_BYTES_MAX = 16 << 20
# Queries, and their bytes, that a process keeps of each field to measure recall on: the first ones
# that it answers; later about one of so many takes the place of the oldest.
LIVE_QUERIES_MAX = 256
LIVE_QUERIES_BYTES_MAX = 8 << 20
LIVE_QUERIES_GAP = 128
# Segments of about one size, next to each other, that are merged into one.
COMPACTION_FANOUT = 4
# A segment with this share of dead rows is written again without them.
DEAD_SHARE_MAX = 0.2
# Compaction makes no segment larger than this, unless a single one is.
SEGMENT_BYTES_MAX = 4 << 30
# The write buffer may grow to this many times flush_bytes_max while a flush is under way; writers
# are slowed from once to this many times.
BUFFER_GROWTH_MAX = 3
# Background work reads and writes so much at a time.
CHUNK_BYTES = 2 << 20
# Expired records are deleted at most so many at a time, so that other writes get their turn.
EXPIRE_ROWS_MAX = 10_000
TTL_S_MAX = 100 * 366 * 86_400
# Batches that the write buffer holds at most before it is flushed, however small.
BUFFER_BATCHES_MAX = 4_000
# Blocks likewise, which stay many where batches of vectors and of codes alternate.
BUFFER_BLOCKS_MAX = 1_000
# LMDB's file gives back unused space from so many bytes on, where they are such a share of it, in
# holes of at least so many bytes.
SPARE_BYTES_MIN = 16 << 20
SPARE_SHARE_MIN = 0.25
HOLE_BYTES_MIN = 256 << 10
# How many standard deviations an error bound spans.
ERROR_BOUND_SIGMAS = 3.0
# The default plan scans again, keeping KEEP_GROWTH times as many, where an error of so many
# standard deviations could lift a row that was cut off into the result.
CUT_SIGMAS = 1.5
CUT_SHARE = CUT_SIGMAS / ERROR_BOUND_SIGMAS
KEEP_GROWTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a database is opened; every value has a unit.

    Attributes:
        flush_bytes_max: the write buffer is flushed to a segment beyond this many bytes.
        map_bytes: address space for the LMDB file (not disk space, which grows as needed).
        threads: threads that one search may use; 0 means one for each core.
        memory_bytes_max: budget for the write buffer, and for building segments; flushes happen
            sooner where flush_bytes_max would not fit.
        flush_age_s: a write buffer this old is flushed in the background; 0 means never.
        background: flush and compact in the background. Without it, a write flushes a full buffer
            before it returns, and nothing is compacted but by `compact()`.
        background_bytes_per_s: most that background work writes; 0 means no limit.
        reserve_bytes: writes are refused when less space than this is free, so that deletes,
            flushes and compaction still have some.
        durability: "fsync" commits and syncs each batch by itself; "group" does so once for all
            that threads wrote meanwhile. Either way a write returns when it is on disk.
    """

    flush_bytes_max: int = 64 << 20
    map_bytes: int = 1 << 40
    threads: int = 0
    memory_bytes_max: int = 1 << 30
    flush_age_s: int = 300
    background: bool = True
    background_bytes_per_s: int = 0
    reserve_bytes: int = 64 << 20
    durability: Durability = "fsync"

    def __post_init__(self) -> None:
        limits = {
            "flush_bytes_max": (1, 1 << 46),
            "map_bytes": (1 << 20, 1 << 46),
            "threads": (0, 1024),
            "memory_bytes_max": (16 << 20, 1 << 46),
            "flush_age_s": (0, 1 << 31),
            "background_bytes_per_s": (0, 1 << 46),
            "reserve_bytes": (0, 1 << 46),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise RequestError(
                    f"Options.{name} is {value!r}, expected an int from {least:,} to {most:,}"
                )
        if not isinstance(self.background, bool):
            raise RequestError(f"Options.background is {self.background!r}, expected a bool")
        if self.durability not in get_args(Durability):
            raise RequestError(
                f"Options.durability is {self.durability!r}, expected one of "
                f"{', '.join(map(repr, get_args(Durability)))}"
            )

    def buffer_bytes_max(self) -> int:
        """Bytes of the write buffer at which it is flushed."""
        return min(self.flush_bytes_max, self.memory_bytes_max // (2 * BUFFER_GROWTH_MAX))

    def thread_count(self) -> int:
        """The number of threads to use, resolved for this machine."""
        return self.threads or os.cpu_count() or 1
