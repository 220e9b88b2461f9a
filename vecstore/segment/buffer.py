"""The write buffer in memory: blocks, oldest first, merged so that they stay few.

Each block is at least twice as large as the one after it, as the digits of a binary counter: a
row is copied at most log2(N) times, and N single writes leave at most log2(N) blocks to search.
Blocks of more than MERGED_BYTES_MAX stay as they are, so that no write waits for a large copy, and
so do those of a field whose codes another codec made: codes are kept byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vecstore.segment.block import Block, CodecOf
from vecstore.segment.rows import Encoding, Rows
from vecstore.segment.snapshot import Clock, Live, Tombstones, written_rows

MERGED_BYTES_MAX = 8 << 20


def append_rows(
    blocks: tuple[Live, ...],
    rows: Rows,
    codec_of: CodecOf,
    tombstones: Tombstones,
    clock: Clock = time.time,
) -> tuple[Live, ...]:
    """The blocks with newer rows after them; deleted rows are dropped where blocks merge.

    Rows that expired are kept until they are deleted.
    """
    kept = list(blocks)
    parts = [rows]
    size = len(rows)
    encodings = rows.encodings
    assert size
    while kept and kept[-1].source.rows < 2 * size and _bytes(kept[-1]) <= MERGED_BYTES_MAX:
        part = live_content(kept[-1])
        if not _agree(part, encodings):
            break
        kept.pop()
        parts.insert(0, part)
        encodings |= part.encodings
        size += len(part)
    merged = Rows.concat(parts) if len(parts) > 1 else rows
    return (*kept, Live(Block(merged, codec_of), tombstones, clock=clock))


def joined(batches: Iterable[Rows]) -> Iterator[Rows]:
    """Batches end to end, as far as they can be in one block."""
    run: list[Rows] = []
    encodings: dict[str, Encoding | None] = {}
    for rows in batches:
        if run and not _agree(rows, encodings):
            yield Rows.concat(run)
            run, encodings = [], {}
        run.append(rows)
        encodings |= rows.encodings
    if run:
        yield Rows.concat(run)


def _agree(rows: Rows, encodings: Mapping[str, Encoding | None]) -> bool:
    """Whether rows can be in one block with others of these encodings."""
    found = rows.encodings
    return all(found[name] == encodings[name] for name in found.keys() & encodings.keys())


def after(
    blocks: tuple[Live, ...], seq: int, codec_of: CodecOf, tombstones: Tombstones
) -> tuple[Live, ...]:
    """The blocks without the rows before `seq`, as after a flush of these."""
    kept = []
    for live in blocks:
        if live.source.seq_min >= seq:
            kept.append(live)
        elif live.source.seq_max >= seq:
            assert isinstance(live.source, Block)
            rows = written_rows(live)
            rows = rows[np.searchsorted(live.source.seqs[rows], np.uint64(seq)) :]
            if len(rows):
                block = Block(live.source.content.take(rows), codec_of)
                kept.append(Live(block, tombstones, clock=live.clock))
    return tuple(kept)


def _bytes(live: Live) -> int:
    """Bytes of the vectors of a block."""
    assert isinstance(live.source, Block)
    return sum(found.values.nbytes for found in live.source.content.vectors.values())


def live_content(live: Live) -> Rows:
    """The rows of a block that were not deleted."""
    assert isinstance(live.source, Block)
    rows = written_rows(live)
    content = live.source.content
    return content if len(rows) == len(content) else content.take(rows)
