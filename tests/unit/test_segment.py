"""Segments: what a flush wrote is what a search reads, and damage is found where it is read."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.unit.segments import SCHEMA as EVERY_SCHEMA
from tests.unit.segments import Folder, block_of, codecs_of, every_row, loader_of
from tests.unit.segments import rows_of as every_rows
from vecstore.errors import CorruptionError, NotFoundError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.alone import open_segment
from vecstore.segment.base import StoredCodec, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import encode_id
from vecstore.segment.ragged import Ragged
from vecstore.segment.reader import Segment
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.stream import write_component
from vecstore.segment.vectors import field_vectors
from vecstore.segment.writer import write_segment
from vecstore.storage.files import RealFiles
from vecstore.storage.paths import Paths
from vecstore.types import Array, Float32, Uint8

N, D = 300, 8
SCHEMA = Schema(
    vectors=[
        Vector("text", D, "dot", ("float16", "float32")),
        Vector("image", 3, "l2", ("float32",)),
        Vector("sound", 2, "l2", ("float32",)),
    ],
    columns=[Column("year", "int"), Column("tags", "list[keyword]")],
)
EVERY = np.arange(N, dtype=np.int64)
LATER = Schema(SCHEMA.vectors, [*SCHEMA.columns, Column("later", "keyword")])
load = loader_of(codecs_of(SCHEMA))


def rows_of(count: int = N) -> Rows:
    rng = np.random.default_rng(0)
    some = np.flatnonzero(rng.random(count) < 0.3).astype(np.uint32)
    return Rows(
        seqs=np.cumsum(rng.integers(1, 5, count)).astype(np.uint64),
        ids=Ragged.from_list([encode_id(f"id {row}" if row % 2 else row) for row in range(count)]),
        payloads=Ragged.from_list([b'{"a": %d}' % row * (row % 3) for row in range(count)]),
        columns={
            "year": ColumnData.from_values(
                "int", [row if row % 5 else None for row in range(count)]
            ),
            "tags": ColumnData.from_values(
                "list[keyword]", [["x"] * (r % 3) for r in range(count)]
            ),
        },
        vectors={
            "text": FieldVectors(rows=None, values=rng.random((count, D)).astype(np.float16)),
            "image": FieldVectors(rows=some, values=rng.random((len(some), 3)).astype(np.float32)),
            "sound": FieldVectors.empty(Vector("sound", 2), count, np.dtype(np.float32)),
        },
    )


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    folder = Folder(tmp_path, SCHEMA)
    folder.count = 6
    return folder.write(every_row(block_of(rows_of(), SCHEMA)))


def test_info(segment: Segment, tmp_path: Path) -> None:
    """The info names every file with its length, and counts rows, seqs and vectors."""
    info, rows = segment.info, rows_of()
    folder = tmp_path / "segments" / "0000000000000007"
    assert sorted(component.name for component in info.components) == RealFiles().list_dir(folder)
    assert info.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert (info.rows, info.seq_min, info.seq_max) == (N, rows.seqs[0], rows.seqs[-1])
    counts = [N, len(rows.vectors["image"].values), 0]
    assert [field.count for field in info.fields] == counts
    assert RealFiles().list_dir(tmp_path / "segments") == [folder.name]


def test_a_segment_is_a_source(segment: Segment) -> None:
    """Seqs, ids, payloads, columns and presence come back as they were written."""
    rows = rows_of()
    some = np.array([0, 299, 150, 0])
    assert segment.rows == N
    assert segment.seqs.tolist() == rows.seqs.tolist()
    assert segment.ids(some) == [rows.ids.get(row) for row in some]
    assert segment.payloads(EVERY) == rows.payloads.to_list()
    for name, column in rows.columns.items():
        assert segment.column(name).to_arrays("").keys() == column.to_arrays("").keys()
        for key, array in column.to_arrays("").items():
            assert segment.column(name).to_arrays("")[key].tolist() == array.tolist()
    assert segment.fields() == ("text", "image")
    assert segment.field_rows("text") is None
    found = segment.field_rows("image")
    assert found is not None
    assert found.tolist() == np.asarray(rows.vectors["image"].rows).tolist()
    assert [segment.field_count(name) for name in ("text", "image", "sound", "later")] == [
        N,
        len(found),
        0,
        0,
    ]


def test_codes_score_as_their_codec(segment: Segment) -> None:
    """Every representation scans as its codec does on the same vectors, coarse to fine."""
    rows = rows_of()
    assert segment.specs("text") == ("float16", "float32")
    assert segment.specs("sound") == segment.specs("later") == ()
    assert segment.codes("text", "bits1") is None
    for name, count in (("text", N), ("image", segment.field_count("image"))):
        query = np.ones((1, SCHEMA.vector(name).dim), dtype=np.float32)
        for spec in segment.specs(name):
            codes = segment.codes(name, spec)
            assert codes is not None
            assert segment.codes(name, spec) is codes
            codes.touch()
            codec = codes.codec
            parts = codec.pack(codec.encode(rows.vectors[name].values.astype(np.float32)))
            expected = codec.prepare(query).scan(parts, (0, count), None, 10)[0]
            found = codec.prepare(query).scan(codes.parts, (0, count), None, 10)[0]
            assert found[0].tolist() == expected[0].tolist()
            np.testing.assert_array_equal(found[1], expected[1])


def test_a_segment_is_read_as_its_block(segment: Segment) -> None:
    """Strings, their lengths, vectors and codec ids are those of the block it was written from."""
    block = block_of(rows_of(), SCHEMA)
    for rows in (np.array([1, 2, 3, 5, 8, 13, 299]), EVERY, EVERY[5:90], EVERY[:0]):
        for kind in ("ids", "payloads"):
            found, expected = segment.strings(kind, rows), block.strings(kind, rows)
            assert found.to_list() == expected.to_list()
            assert segment.lengths(kind, rows).tolist() == list(map(len, found.to_list()))
            assert block.lengths(kind, rows).tolist() == list(map(len, found.to_list()))
        for name in ("text", "image"):
            owners, vectors = field_vectors(segment, name, rows)
            expected_owners, expected_vectors = field_vectors(block, name, rows)
            assert owners.tolist() == expected_owners.tolist()
            np.testing.assert_array_equal(vectors, expected_vectors)
    assert segment.expires is None
    assert [segment.codec_id("text", spec) for spec in ("float16", "bits1")] == [0, None]
    assert [block.codec_id("text", spec) for spec in ("float16", "bits1")] == [0, None]
    assert segment.codec_id("sound", "float32") is None


def test_codec_ids(tmp_path: Path) -> None:
    """A trained representation tells which codec made it."""
    folder = Folder(tmp_path)
    found = folder.write(every_row(block_of(every_rows(20))))
    assert [found.codec_id("text", spec) for spec in ("int8", "bits8")] == [5, 0]
    assert EVERY_SCHEMA.vectors[2].name == "sound"


def test_a_column_that_was_added_later_is_null(segment: Segment) -> None:
    """A column that the schema has and the segment lacks is one of nulls."""
    later = Segment(RealFiles(), segment.folder, segment.info, load, LATER)
    found = later.column("later")
    assert (found.type, len(found), found.present.any()) == ("keyword", N, np.False_)
    assert later.column("later") is found


def test_a_segment_can_be_watched(segment: Segment) -> None:
    """What a search read of a segment does not keep the segment itself alive."""
    again = Segment(RealFiles(), segment.folder, segment.info, load)
    watched = weakref.ref(again)
    codes = again.codes("text", "float16")
    assert codes is not None
    codes.touch()
    del again
    gc.collect()
    assert watched() is None


def test_nothing_is_read_at_first(segment: Segment, tmp_path: Path) -> None:
    """Making a segment needs no file; asking it for what it lacks names the segment."""
    lost = Segment(RealFiles(), tmp_path / "lost", segment.info, load)
    assert lost.rows == N
    assert lost.specs("text") == ("float16", "float32")
    with pytest.raises(CorruptionError, match="rows: No such file"):
        _ = lost.seqs
    with pytest.raises(NotFoundError, match="segment 7 has no column 'later'"):
        segment.column("later")


def test_a_folder_opens_alone(segment: Segment, tmp_path: Path) -> None:
    """A copied folder opens without its database and gives the same records and scores."""
    shutil.copytree(tmp_path / "segments" / "0000000000000007", tmp_path / "elsewhere")
    alone = open_segment(RealFiles(), tmp_path / "elsewhere")
    assert alone.ids(EVERY) == segment.ids(EVERY)
    assert alone.specs("text") == segment.specs("text")
    found, expected = field_vectors(alone, "text", EVERY), field_vectors(segment, "text", EVERY)
    np.testing.assert_array_equal(found[1], expected[1])
    assert alone.verify() == []


def test_any_damaged_file_is_found(segment: Segment, tmp_path: Path) -> None:
    """A flipped bit in any file, or a missing one, is told by verify, naming the file."""
    assert segment.verify() == []
    folder = tmp_path / "segments" / "0000000000000007"
    for component in segment.info.components:
        path = folder / component.name
        sound = path.read_bytes()
        for place in (0, len(sound) // 3, len(sound) // 2, len(sound) - 1):
            damaged = bytearray(sound)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            found = Segment(RealFiles(), folder, segment.info, load).verify()
            assert len(found) == 1
            assert component.name in found[0]
        path.unlink()
        assert "No such file" in Segment(RealFiles(), folder, segment.info, load).verify()[0]
        path.write_bytes(sound)
    assert Segment(RealFiles(), folder, segment.info, load).verify() == []


def test_damage_is_found_where_it_is_read(segment: Segment, tmp_path: Path) -> None:
    """Reading damaged rows is refused by every method that touches them."""
    folder = tmp_path / "segments" / "0000000000000007"
    for component in segment.info.components:
        path = folder / component.name
        damaged = bytearray(path.read_bytes())
        for place in range(256, len(damaged) - 64, 64):
            damaged[place] ^= 4
        path.write_bytes(damaged)
    fresh = Segment(RealFiles(), folder, segment.info, load)

    def touch_codes() -> None:
        codes = fresh.codes("text", "float16")
        assert codes is not None
        codes.touch(np.array([0, N - 1]))

    for read in (
        lambda: fresh.seqs,
        lambda: fresh.ids(EVERY),
        lambda: fresh.payloads(EVERY),
        lambda: fresh.column("year"),
        lambda: fresh.field_rows("image"),
        lambda: fresh.strings("payloads", EVERY),
        lambda: fresh.lengths("ids", EVERY),
        touch_codes,
    ):
        with pytest.raises(CorruptionError, match=rf"{folder}/.*; segment 7 holds") as caught:
            read()
        assert caught.value.folder == str(folder)
    with pytest.raises(CorruptionError, match=f"{folder}/segment") as caught:
        open_segment(RealFiles(), folder)
    assert caught.value.folder == str(folder)


@pytest.mark.parametrize("kind", ["ids", "payloads"])
def test_damaged_strings_are_found(segment: Segment, kind: Strings) -> None:
    """Bytes of ids and payloads are verified where they are read, and not for their lengths."""
    path = segment.folder / ("rows" if kind == "ids" else "payloads")
    data = bytearray(path.read_bytes())
    text = segment.strings(kind, EVERY).data.tobytes()
    data[data.index(text)] ^= 1
    path.write_bytes(data)
    fresh = Segment(RealFiles(), segment.folder, segment.info, load)
    assert fresh.lengths(kind, EVERY).sum() == len(text)
    for read in (getattr(fresh, kind), lambda rows: fresh.strings(kind, rows)):
        with pytest.raises(CorruptionError, match=f"array '{kind}/data'"):
            read(np.array([200]))


def test_damage_is_told_with_file_block_and_seqs(segment: Segment) -> None:
    """An error of a damaged block names the file, the array, the block and the segment's seqs."""
    path = segment.folder / "codes-0-1"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    fresh = Segment(RealFiles(), segment.folder, segment.info, load)
    text = (
        f"block 0 of array 'values' in {path} does not match its checksum; "
        f"segment 7 holds the seqs {segment.info.seq_min} to {segment.info.seq_max}; "
        "repair() makes good what it can, or restore a snapshot"
    )
    for _ in range(2):
        codes = fresh.codes("text", "float32")
        assert codes is not None
        with pytest.raises(CorruptionError) as caught:
            codes.touch(np.array([3]))
        assert (str(caught.value), caught.value.folder) == (text, str(segment.folder))
    assert fresh.verify() == [text]


class Grouped:
    """A codec whose codes lie in groups of 16 rows, as bit codes do: [ceil(N / 16), D, 16]."""

    spec, dim, metric, code_bytes = "bits8", 4096, "dot", 4096

    def encode(self, vectors: Float32) -> Uint8:
        return vectors.astype(np.uint8)

    def pack(self, codes: Uint8) -> dict[str, Array]:
        padded = np.zeros((-(-len(codes) // 16) * 16, 4096), dtype=np.uint8)
        padded[: len(codes)] = codes
        groups = padded.reshape(-1, 16, 4096).transpose(0, 2, 1)
        return {"codes": groups, "scale": codes[:, 0].astype(np.float32)}


def test_a_forged_description_is_refused(tmp_path: Path) -> None:
    """A file whose checksums are right, but which is no description of a segment, is damage."""
    write_component(RealFiles(), tmp_path / "segment", "segment", {"other": np.arange(3)})
    with pytest.raises(CorruptionError, match="no array 'info'"):
        open_segment(RealFiles(), tmp_path)


@pytest.mark.usefixtures("by_block")
def test_touch_knows_groups_of_rows(tmp_path: Path) -> None:
    """Where an item of an array holds 16 rows, touching rows verifies the blocks of their items."""
    count = 200
    schema = Schema(vectors=[Vector("v", 4096, "dot", ("bits8",))])
    rows = rows_of(count)
    values = np.random.default_rng(0).integers(0, 255, (count, 4096)).astype(np.float16)
    rows = Rows(
        seqs=rows.seqs,
        ids=rows.ids,
        payloads=rows.payloads,
        columns={},
        vectors={"v": FieldVectors(rows=None, values=values)},
    )
    paths = Paths(tmp_path)
    codec = StoredCodec(id=3, codec=Grouped(), params={"seed": np.array([5], dtype=np.uint64)})
    part = every_row(block_of(rows, schema))
    info = write_segment(RealFiles(), paths, 1, [part], schema, {("v", "bits8"): codec})
    path = paths.segment(1) / "codes-0-0"
    data = bytearray(path.read_bytes())
    parts = Grouped().pack(Grouped().encode(values.astype(np.float32)))
    place = bytes(data).index(np.ascontiguousarray(parts["codes"][1]).tobytes())
    data[place] ^= 1  # in the group of rows 16 to 31
    path.write_bytes(data)
    segment = Segment(RealFiles(), paths.segment(1), info, lambda field, item: Grouped())
    codes = segment.codes("v", "bits8")
    assert codes is not None
    codes.touch(np.array([0, 15, 32, 199]))
    for row in (16, 31):
        with pytest.raises(CorruptionError, match="block 1 of array 'codes'"):
            codes.touch(np.array([row]))
    with pytest.raises(CorruptionError):
        codes.touch()
