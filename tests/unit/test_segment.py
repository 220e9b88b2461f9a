"""Segments: what a flush wrote is what a search reads, and damage is found where it is read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from vecstore.codec import build_codec, parse_spec
from vecstore.errors import CorruptionError, DatabaseFullError, NotFoundError, StorageError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import encode_id
from vecstore.segment.manifest import FieldInfo, RepresentationInfo
from vecstore.segment.ragged import Ragged
from vecstore.segment.reader import Segment, open_segment
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.writer import Codecs, write_segment
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
            "sound": FieldVectors.empty(2, count, np.dtype(np.float32)),
        },
    )


def codecs_of(schema: Schema) -> Codecs:
    return {
        (vector.name, spec): StoredCodec(
            id=0,
            codec=build_codec(parse_spec(spec, vector.dim), vector.dim, vector.metric, {}),
            params={},
        )
        for vector in schema.vectors
        for spec in vector.representations
    }


def load(field: FieldInfo, item: RepresentationInfo) -> object:
    return build_codec(parse_spec(item.spec, field.dim), field.dim, field.metric, {})


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    paths = Paths(tmp_path)
    info = write_segment(RealFiles(), paths, 7, rows_of(), SCHEMA, codecs_of(SCHEMA))
    return Segment(RealFiles(), paths.segment(7), info, load)


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
            assert found[1].tolist() == expected[1].tolist()


def test_read_rows(segment: Segment) -> None:
    """Whole records come back, each field from its finest representation."""
    rows = rows_of()
    some = np.array([1, 2, 3, 5, 8, 13, 299])
    for wanted in (some, EVERY):
        found, expected = segment.read_rows(wanted), rows.take(wanted)
        assert found.seqs.tolist() == expected.seqs.tolist()
        assert found.ids.to_list() == expected.ids.to_list()
        assert found.payloads.to_list() == expected.payloads.to_list()
        assert found.columns.keys() == expected.columns.keys()
        for name in ("text", "image", "sound"):
            assert found.vectors[name].values.tolist() == expected.vectors[name].values.tolist()
            if name != "text":
                assert np.asarray(found.vectors[name].rows).tolist() == (
                    np.asarray(expected.vectors[name].rows).tolist()
                )


def test_nothing_is_read_at_first(segment: Segment, tmp_path: Path) -> None:
    """Making a segment needs no file; asking it for what it lacks names the segment."""
    lost = Segment(RealFiles(), tmp_path / "lost", segment.info, load)
    assert lost.rows == N
    assert lost.specs("text") == ("float16", "float32")
    with pytest.raises(CorruptionError, match="rows is missing"):
        _ = lost.seqs
    with pytest.raises(NotFoundError, match="segment 7 has no column 'later'"):
        segment.column("later")


def test_a_folder_opens_alone(segment: Segment, tmp_path: Path) -> None:
    """A copied folder opens without its database and gives the same records and scores."""
    shutil.copytree(tmp_path / "segments" / "0000000000000007", tmp_path / "elsewhere")
    alone = open_segment(RealFiles(), tmp_path / "elsewhere")
    assert alone.ids(EVERY) == segment.ids(EVERY)
    assert alone.specs("text") == segment.specs("text")
    found, expected = alone.read_rows(EVERY), segment.read_rows(EVERY)
    assert found.vectors["text"].values.tolist() == expected.vectors["text"].values.tolist()
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
        assert "missing" in Segment(RealFiles(), folder, segment.info, load).verify()[0]
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
        lambda: fresh.read_rows(EVERY),
        lambda: open_segment(RealFiles(), folder),
        touch_codes,
    ):
        with pytest.raises(CorruptionError):
            read()


class Failing(RealFiles):
    """A disk that is full after some files."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def write(self, path: Path, chunks: Iterable[bytes | Uint8]) -> int:
        if not self.left:
            raise DatabaseFullError("no space")
        self.left -= 1
        return super().write(path, chunks)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """When a file cannot be written no folder stays; a segment is never written over."""
    paths = Paths(tmp_path)
    for writes in range(7):
        with pytest.raises(DatabaseFullError):
            write_segment(Failing(writes), paths, 7, rows_of(), SCHEMA, codecs_of(SCHEMA))
        assert RealFiles().list_dir(paths.segments) == []
    info = write_segment(RealFiles(), paths, 7, rows_of(), SCHEMA, codecs_of(SCHEMA))
    with pytest.raises(StorageError):
        write_segment(RealFiles(), paths, 7, rows_of(5), SCHEMA, codecs_of(SCHEMA))
    assert RealFiles().list_dir(paths.segments) == [paths.segment(7).name]
    assert Segment(RealFiles(), paths.segment(7), info, load).verify() == []


class Grouped:
    """A codec whose codes lie in groups of 64 rows, as bit codes do: [ceil(N / 64), D, 64]."""

    spec, dim, metric, code_bytes = "bits8", 2048, "dot", 2048

    def encode(self, vectors: Float32) -> Uint8:
        return vectors.astype(np.uint8)

    def pack(self, codes: Uint8) -> dict[str, Array]:
        padded = np.zeros((-(-len(codes) // 64) * 64, 2048), dtype=np.uint8)
        padded[: len(codes)] = codes
        groups = padded.reshape(-1, 64, 2048).transpose(0, 2, 1)
        return {"codes": groups, "scale": np.arange(len(codes), dtype=np.float32)}


@pytest.mark.usefixtures("by_block")
def test_touch_knows_groups_of_rows(tmp_path: Path) -> None:
    """Where an item of an array holds 64 rows, touching rows verifies the blocks of their items."""
    count = 200
    schema = Schema(vectors=[Vector("v", 2048, "dot", ("bits8",))])
    rows = rows_of(count)
    values = np.random.default_rng(0).integers(0, 255, (count, 2048)).astype(np.float16)
    rows = Rows(
        seqs=rows.seqs,
        ids=rows.ids,
        payloads=rows.payloads,
        columns={},
        vectors={"v": FieldVectors(rows=None, values=values)},
    )
    paths = Paths(tmp_path)
    codec = StoredCodec(id=3, codec=Grouped(), params={"seed": np.array([5], dtype=np.uint64)})
    info = write_segment(RealFiles(), paths, 1, rows, schema, {("v", "bits8"): codec})
    path = paths.segment(1) / "codes-0-0"
    data = bytearray(path.read_bytes())
    parts = Grouped().pack(Grouped().encode(values.astype(np.float32)))
    place = bytes(data).index(np.ascontiguousarray(parts["codes"][1]).tobytes())
    data[place] ^= 1  # in the group of rows 64 to 127
    path.write_bytes(data)
    segment = Segment(RealFiles(), paths.segment(1), info, lambda field, item: Grouped())
    codes = segment.codes("v", "bits8")
    assert codes is not None
    codes.touch(np.array([0, 63, 128, 199]))
    for row in (64, 127):
        with pytest.raises(CorruptionError, match="block 2 of array 'codes'"):
            codes.touch(np.array([row]))
    with pytest.raises(CorruptionError):
        codes.touch()
