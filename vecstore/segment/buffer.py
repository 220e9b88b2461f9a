"""The write buffer in memory: blocks, oldest first, merged so that they stay few.

Each block is at least twice as large as the one after it, as the digits of a binary counter: a
row is copied at most log2(N) times, and N single writes leave at most log2(N) blocks to search.
"""

from __future__ import annotations

from vecstore.schema import Schema
from vecstore.segment.block import Block
from vecstore.segment.rows import Rows
from vecstore.segment.snapshot import Live, Tombstones, live_rows


def append_rows(
    blocks: tuple[Live, ...], rows: Rows, schema: Schema, tombstones: Tombstones
) -> tuple[Live, ...]:
    """The blocks with newer rows after them; rows that died are dropped where blocks merge."""
    kept = list(blocks)
    parts = [rows]
    size = len(rows)
    assert size
    while kept and kept[-1].source.rows < 2 * size:
        part = live_content(kept.pop())
        parts.insert(0, part)
        size += len(part)
    merged = Rows.concat(parts) if len(parts) > 1 else rows
    return (*kept, Live(Block(merged, schema), tombstones))


def live_content(live: Live) -> Rows:
    """The live rows of a block."""
    assert isinstance(live.source, Block)
    rows = live_rows(live)
    content = live.source.content
    return content if len(rows) == len(content) else content.take(rows)
