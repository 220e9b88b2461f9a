"""The write buffer in memory: few blocks, and none of their rows is lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.segments import codec_of, rows_of
from vecstore.codec import Codec
from vecstore.errors import CorruptionError
from vecstore.segment import buffer
from vecstore.segment.block import Block
from vecstore.segment.buffer import append_rows
from vecstore.segment.rows import Encoding, FieldVectors, Rows
from vecstore.segment.snapshot import Live, Tombstones
from vecstore.segment.tombstones import add_seqs

ROWS = rows_of(60, expires=True)


def sixty() -> Rows:
    """Rows with the seqs 0 to 59."""
    return Rows(
        seqs=np.arange(60, dtype=np.uint64),
        ids=ROWS.ids,
        payloads=ROWS.payloads,
        columns=ROWS.columns,
        vectors=ROWS.vectors,
        expires=ROWS.expires,
    )


def filled(sizes: list[int], dead: set[int]) -> tuple[tuple[Live, ...], Tombstones]:
    """Blocks after batches of these sizes, all deletes at the beginning."""
    tombstones = add_seqs({}, np.array(sorted(dead), dtype=np.uint64))
    blocks: tuple[Live, ...] = ()
    start = 0
    for size in sizes:
        rows = sixty().take(np.arange(start, start + size))
        blocks = append_rows(blocks, rows, codec_of(), tombstones, lambda: 5e9)
        start += size
    return blocks, tombstones


def seqs_of(blocks: tuple[Live, ...]) -> list[int]:
    return [seq for live in blocks for seq in live.source.seqs[live.written].tolist()]


SIZES = st.lists(st.integers(1, 6), max_size=10)
DEAD = st.sets(st.integers(0, 59), max_size=30)


@given(SIZES, DEAD)
def test_every_row_is_kept_in_order(sizes: list[int], dead: set[int]) -> None:
    """Blocks hold all rows that were not deleted, expired ones too; each is twice the next."""
    blocks, _ = filled(sizes, dead)
    assert seqs_of(blocks) == [seq for seq in range(sum(sizes)) if seq not in dead]
    counts = [live.source.rows for live in blocks]
    assert all(first >= 2 * second for first, second in pairwise(counts))
    for live in blocks:
        assert isinstance(live.source, Block)
        rows = live.source.seqs.astype(np.int64)
        expected = sixty().take(rows).to_arrays()
        for name, array in live.source.content.to_arrays().items():
            assert array.tobytes() == expected[name].tobytes()


@given(SIZES, DEAD, st.integers(0, 60))
def test_after(sizes: list[int], dead: set[int], seq: int) -> None:
    """After a flush of the first seqs, only the rows from there on are left, with their clock."""
    blocks, tombstones = filled(sizes, dead)
    left = buffer.after(blocks, seq, codec_of(), tombstones)
    assert seqs_of(left) == [kept for kept in seqs_of(blocks) if kept >= seq]
    assert all(live.source.seq_min >= seq for live in left)
    assert all(live.clock() == 5e9 for live in left)
    for live in blocks:
        assert (live in left) == (live.source.seq_min >= seq)


KINDS = st.lists(st.sampled_from([None, Encoding("bits4", 0), Encoding("int8", 3)]), max_size=12)


@given(KINDS)
def test_codes_of_several_codecs_stay_apart(kinds: list[Encoding | None]) -> None:
    """A block has floats, or codes of one codec; none of them is lost."""
    batches = []
    for number, encoding in enumerate(kinds):
        rows = sixty().take(np.arange(4 * number, 4 * number + 4))
        code = np.full((4, 9), number, dtype=np.uint8)
        coded = FieldVectors(rows=None, values=code, encoding=encoding)
        own = rows.vectors["text"] if encoding is None else coded
        batches.append(replace(rows, vectors={**rows.vectors, "text": own}))
    blocks: tuple[Live, ...] = ()
    for rows in batches:
        blocks = append_rows(blocks, rows, any_codec, {})
    runs = [len(list(group)) for _, group in groupby(kinds)]
    assert len(blocks) >= len(runs)
    assert [len(rows) for rows in buffer.joined(batches)] == [4 * length for length in runs]
    found = [seq for live in blocks for seq in live.source.seqs.tolist()]
    assert found == list(range(4 * len(kinds)))
    for live in blocks:
        assert isinstance(live.source, Block)
        content = live.source.content
        places = (content.seqs // np.uint64(4)).tolist()
        assert {kinds[place] for place in places} == {content.encodings["text"]}
        if content.encodings["text"] is not None:
            assert content.vectors["text"].values[:, 0].tolist() == places


def any_codec(field: str, spec: str, number: int) -> Codec:
    raise CorruptionError("a block is searched without its codec")
