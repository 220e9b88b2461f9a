"""When records expire, and which have.

An expired record is absent from every read at once. Its id and its row are deleted later, like
those of any other record.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vecstore.errors import RequestError
from vecstore.options import TTL_S_MAX
from vecstore.types import Int64

if TYPE_CHECKING:  # who refuses a batch needs no storage
    from vecstore.segment.snapshot import Live, Place, Snapshot

MICROSECONDS = 1_000_000


class Ttl(NamedTuple):
    """How long records live.

    Attributes:
        seconds: for all, or a list with seconds or None for each; None: what the schema says.
        now: when they are written, in seconds since 1970.
    """

    seconds: object
    now: float


def to_expires(ttl: Ttl, default: float | None, count: int) -> Int64 | None:
    """When each of `count` records expires.

    Args:
        ttl: what was given.
        default: what the schema says: seconds, or None for never.
        count: records N.

    Returns:
        int64 [N], microseconds since 1970, 0: never; None where none expires.

    Raises:
        RequestError: something else was given, or not one for each.
    """
    seconds = ttl.seconds
    if isinstance(seconds, list | tuple) or (isinstance(seconds, np.ndarray) and seconds.ndim):
        given = list(seconds)
        if len(given) != count:
            raise RequestError(f"ttl_s has {len(given)} items for {count} ids, expected one each")
    else:
        given = [seconds] * count
    start = int(ttl.now * MICROSECONDS)
    lives = [default if item is None else _seconds(item) for item in given]
    if not any(lives):
        return None
    return np.array(
        [start + max(1, round(life * MICROSECONDS)) if life else 0 for life in lives],
        dtype=np.int64,
    )


def is_expired(place: Place) -> bool:
    """Whether a record has expired; one that is not read has not."""
    if place.unread:
        return False
    expires, clock = place.live.source.expires, place.live.clock
    return expires is not None and bool(0 < expires[place.row] <= int(clock() * MICROSECONDS))


def count_expired(
    snapshot: Snapshot, seqs: Sequence[int], now_us: int, left_alone: Container[int]
) -> int:
    """How many of some records expired until then; reads only where they are.

    Args:
        snapshot: where they are.
        seqs: of the records, at least one.
        now_us: microseconds since 1970.
        left_alone: ids of segments that are not read; of their records none counts as expired.
    """
    total = 0
    wanted = np.array(sorted(seqs), dtype=np.uint64)
    for live in _suspects(snapshot, now_us, left_alone):
        near = live.within(wanted)
        expires = live.source.expires if len(near) else None
        if expires is not None:
            own = live.source.seqs
            rows = np.searchsorted(own, near)
            times = expires[rows[own[rows] == near]]
            total += int(np.count_nonzero((times > 0) & (times <= now_us)))
    return total


def expired_pairs(
    snapshot: Snapshot, now_us: int, left_alone: Container[int], limit: int
) -> list[tuple[bytes, int]]:
    """Ids and seqs of at most `limit` records that expired until then.

    Args:
        snapshot: where they are.
        now_us: microseconds since 1970.
        left_alone: ids of segments that are not read.
        limit: how many at most.
    """
    pairs: list[tuple[bytes, int]] = []
    for live in _suspects(snapshot, now_us, left_alone):
        rows = _expired_rows(live, now_us)[: limit - len(pairs)]
        pairs += zip(live.source.ids(rows), live.source.seqs[rows].tolist(), strict=True)
    return pairs


def _suspects(snapshot: Snapshot, now_us: int, left_alone: Container[int]) -> list[Live]:
    """Sources of which a row may have expired until then, without the segments `left_alone`."""
    segments = zip(snapshot.segments, snapshot.manifest.segments, strict=True)
    found = [
        live for live, info in segments if 0 < info.expires <= now_us and info.id not in left_alone
    ]
    return [*found, *snapshot.blocks]


def _expired_rows(live: Live, now_us: int) -> Int64:
    expires = live.source.expires
    if expires is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero((expires > 0) & (expires <= now_us) & live.written)


def _seconds(item: object) -> float:
    number = isinstance(item, int | float | np.integer | np.floating)
    if number and not isinstance(item, bool) and 0 < item <= TTL_S_MAX:  # type: ignore[operator]
        return float(item)  # type: ignore[arg-type]
    raise RequestError(f"ttl_s is {item!r}, expected seconds above 0, up to {TTL_S_MAX:,}, or None")
