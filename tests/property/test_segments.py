"""However rows were batched, flushed, compacted and cut into pieces, a segment has their bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.segments import Folder, block_of
from vecstore import options
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.segment.columns import ColumnData
from vecstore.segment.ragged import Ragged, make_offsets
from vecstore.segment.reader import Segment
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.vectors import field_vectors
from vecstore.segment.writer import Part
from vecstore.types import Int64

DIM = 9
SPECS = ("prefix4/bits2", "bits1", "bits2", "bits4", "int8", "bits8", "float16")
SCHEMA = Schema(
    vectors=[
        Vector("all", DIM, "l2", SPECS),
        Vector("some", DIM, "dot", (*SPECS[:-1], "float32")),
        MultiVector("sets", DIM, "dot", ("int8", "float32")),
        MultiVector("plain", DIM, "dot", ("float16",)),
    ],
    columns=[Column("word", "keyword"), Column("sizes", "list[int]")],
)

RECORD = st.fixed_dictionaries(
    {
        "id": st.binary(min_size=2, max_size=40),
        "payload": st.sampled_from([b"", b"{}", b'{"a":1}', b"x" * 300]),
        "word": st.none() | st.sampled_from(["a", "b", "longer word"]),
        "sizes": st.none() | st.lists(st.integers(-5, 5), max_size=3),
        "some": st.booleans(),
        "sets": st.integers(0, 5),  # how many vectors
        "plain": st.integers(0, 2),
        "expires": st.sampled_from([0, 0, 7, 10**15]),
        "flush": st.sampled_from([False] * 4 + [True]),  # a block, or a segment, ends here
        "dead": st.booleans(),
    }
)


def rows_of(records: list[dict], start: int) -> Rows:
    """Records as rows, the first with the seq 2 * `start`; vectors follow from seqs."""
    numbers = range(start, start + len(records))
    values = np.array([np.cos(np.arange(DIM) * (n % 50 + 1)) * (n + 1) for n in numbers])
    owners = np.flatnonzero([record["some"] for record in records]).astype(np.uint32)
    expires = np.array([record["expires"] for record in records], dtype=np.int64)
    return Rows(
        seqs=2 * np.array(numbers, dtype=np.uint64),
        ids=Ragged.from_list([record["id"] for record in records]),
        payloads=Ragged.from_list([record["payload"] for record in records]),
        columns={
            column.name: ColumnData.from_values(
                column.type, [record[column.name] for record in records]
            )
            for column in SCHEMA.columns
        },
        vectors={
            "all": FieldVectors(rows=None, values=values.astype(np.float16)),
            "some": FieldVectors(
                rows=None if len(owners) == len(records) else owners,
                values=values[owners].astype(np.float32),
            ),
            "sets": sets_of(records, start, "sets"),
            "plain": sets_of(records, start, "plain"),
        },
        expires=expires if expires.any() else None,
    )


def sets_of(records: list[dict], start: int, name: str) -> FieldVectors:
    """The sets of vectors of records, which follow from seqs; those of "sets" have an order."""
    counts = np.array([record[name] for record in records])
    owners = np.flatnonzero(counts).astype(np.uint32)
    numbers = [start + int(row) + 100 * token for row in owners for token in range(counts[row])]
    places = [place for row in owners for place in reversed(range(counts[row]))]
    ordered = name == "sets"
    values = np.array([np.sin(np.arange(DIM) * (n + 1)) for n in numbers]).reshape(-1, DIM)
    return FieldVectors(
        rows=None if len(owners) == len(records) else owners,
        values=values.astype(np.float32 if ordered else np.float16),
        tokens=TokenBounds(
            offsets=make_offsets(counts[owners], len(owners)),
            places=np.array(places, dtype=np.uint16) if ordered else None,
            salience=np.array(numbers).astype(np.float16) if ordered else None,
        ),
    )


def cut(records: list[dict]) -> list[list[dict]]:
    """The records up to each one that ends a flush."""
    groups: list[list[dict]] = [[]]
    for record in records:
        groups[-1].append(record)
        if record["flush"]:
            groups.append([])
    return [group for group in groups if group]


def alive(records: list[dict]) -> Int64:
    return np.flatnonzero([not record["dead"] for record in records])


@settings(max_examples=40)
@given(
    records=st.lists(RECORD, min_size=1, max_size=80),
    sizes=st.lists(st.integers(1, 6_000), min_size=3, max_size=3),
)
def test_any_way_to_a_segment(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict], sizes: list[int]
) -> None:
    """Flushed at once, from many blocks, or compacted from segments, the files are the same."""
    folder = Folder(tmp_path_factory.mktemp("segments"), SCHEMA)
    if all(record["dead"] for record in records):
        return
    blocks: list[Part] = []
    segments: list[Part] = []
    start = 0
    with pytest.MonkeyPatch.context() as patched:
        for group in cut(records):
            block = block_of(rows_of(group, start), SCHEMA)
            start += len(group)
            blocks.append(Part(block, alive(group)))
            patched.setattr(options, "CHUNK_BYTES", sizes[0])
            segment = folder.write(Part(block, np.arange(len(group))))
            segments.append(Part(segment, alive(group)))
        patched.setattr(options, "CHUNK_BYTES", sizes[1])
        compacted = folder.write(*segments)
        patched.setattr(options, "CHUNK_BYTES", sizes[2])
        flushed = folder.write(*blocks)
    whole = rows_of(records, 0).take(alive(records))
    once = folder.write(Part(block_of(whole, SCHEMA), np.arange(len(whole))))
    expected = folder.bytes_of(once)
    assert folder.bytes_of(compacted) == expected
    assert folder.bytes_of(flushed) == expected
    assert compacted.verify() == []
    check_content(compacted, whole)


def check_content(segment: Segment, rows: Rows) -> None:
    """A segment gives back the rows it was written from."""
    every = np.arange(len(rows), dtype=np.int64)
    assert segment.seqs.tolist() == rows.seqs.tolist()
    assert segment.ids(every) == rows.ids.to_list()
    assert segment.payloads(every) == rows.payloads.to_list()
    assert (segment.expires is None) == (rows.expires is None)
    if rows.expires is not None and segment.expires is not None:
        assert segment.expires.tolist() == rows.expires.tolist()
    for name, column in rows.columns.items():
        found = segment.column(name).to_arrays("")
        for key, array in column.to_arrays("").items():
            assert found[key].tolist() == array.tolist()
    owners = rows.vectors["some"].rows
    found_owners = segment.field_rows("some")
    if owners is None or not len(owners):
        assert found_owners is None
    else:
        assert found_owners is not None
        assert found_owners.tolist() == owners.tolist()
    assert segment.field_count("some") == len(rows.vectors["some"].values)
    for name in ("sets", "plain"):
        given, tokens = rows.vectors[name], segment.tokens(name)
        assert segment.field_count(name) == len(given)
        if not len(given):
            assert tokens is None
            continue
        assert tokens is not None
        assert given.tokens is not None
        for key, array in given.tokens.to_arrays("").items():
            assert tokens.to_arrays("")[key].tolist() == array.tolist()
        found = field_vectors(segment, name, every)[1]
        expected = field_vectors(block_of(rows, SCHEMA), name, every)[1]
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
