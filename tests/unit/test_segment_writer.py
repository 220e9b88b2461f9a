"""Writing segments: in pieces, from any sources, with codes copied where they can be."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.segments import (
    DIM,
    EVERY_SPEC,
    SCHEMA,
    Folder,
    block_of,
    codecs_of,
    every_row,
    rows_of,
    some_rows,
)
from vecstore import options
from vecstore.codec import Codec
from vecstore.errors import CorruptionError, DatabaseFullError, StorageError
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.writer import write_segment
from vecstore.storage.files import FileWriter, RealFiles
from vecstore.types import Float32, Uint8


def test_pieces_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the pieces in memory are, every file has the bytes of one written at once."""
    folder = Folder(tmp_path)
    blocks = [block_of(rows_of(count, 500 * place)) for place, count in enumerate((90, 1, 17))]
    parts = [every_row(blocks[0]), some_rows(blocks[1], [0]), some_rows(blocks[2], range(0, 17, 2))]
    whole = folder.bytes_of(folder.write(*parts))
    for size in (1, 5_000, 40_000):
        monkeypatch.setattr(options, "CHUNK_BYTES", size)
        assert folder.bytes_of(folder.write(*parts)) == whole, size


def test_copied_codes_are_the_same(tmp_path: Path) -> None:
    """Segments written together are, byte for byte, the segment that one flush would have made."""
    folder = Folder(tmp_path)
    rows = [rows_of(count, 500 * place) for place, count in enumerate((33, 5, 90))]
    kept = [np.arange(0, 33, 2), np.arange(5), np.arange(1, 90, 3)]
    segments = [folder.write(every_row(block_of(part))) for part in rows]
    merged = folder.write(*map(some_rows, segments, kept))
    taken = [part.take(chosen) for part, chosen in zip(rows, kept, strict=True)]
    flushed = folder.write(every_row(block_of(Rows.concat(taken))))
    assert folder.bytes_of(merged) == folder.bytes_of(flushed)
    assert merged.verify() == []


class Refusing:
    """A codec whose codes can be taken over, but not made."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.spec, self.dim, self.metric = codec.spec, codec.dim, codec.metric
        self.code_bytes, self.pack, self.unpack = codec.code_bytes, codec.pack, codec.unpack

    def encode(self, vectors: Float32) -> Uint8:
        raise AssertionError("codes are made anew")


def test_codes_of_the_same_codec_are_not_made_again(tmp_path: Path) -> None:
    """Where every source has codes of the chosen codec, nothing is encoded."""
    folder = Folder(tmp_path)
    segments = [folder.write(every_row(block_of(rows_of(20, first)))) for first in (0, 500)]
    refusing = {
        key: StoredCodec(id=found.id, codec=Refusing(found.codec), params=found.params)
        for key, found in folder.codecs.items()
    }
    merged = folder.write(*map(every_row, segments), codecs=refusing)
    assert merged.info.rows == 40


def test_codes_of_another_codec_are_made_again(tmp_path: Path) -> None:
    """Where the trained codec is another one, codes are made from the finest; others are copied."""
    folder = Folder(tmp_path)
    rows = rows_of(30)
    old = folder.write(every_row(block_of(rows)))
    newer = codecs_of(SCHEMA, codec_id=9)
    mixed = folder.write(every_row(old), every_row(block_of(rows_of(8, 500))), codecs=newer)
    assert {mixed.codec_id("text", spec) for spec in EVERY_SPEC} == {0, 9}
    again = folder.write(
        every_row(block_of(rows)), every_row(block_of(rows_of(8, 500))), codecs=newer
    )
    assert folder.bytes_of(mixed, codes=True) == folder.bytes_of(again, codes=True)


def test_a_representation_that_no_source_has(tmp_path: Path) -> None:
    """A source without a representation has it made from the finest one that it has."""
    folder = Folder(tmp_path)
    rows = rows_of(30)
    small = Folder(tmp_path / "small")
    few = {
        vector.name: vector.representations if vector.name == "sound" else ("bits1", "float32")
        for vector in SCHEMA.vectors
    }
    vectors = [replace(vector, representations=few[vector.name]) for vector in SCHEMA.vectors]
    small.schema = replace(SCHEMA, vectors=vectors)
    source = small.write(every_row(block_of(rows)))
    found = folder.write(every_row(source))
    assert found.specs("image") == EVERY_SPEC
    assert folder.bytes_of(found) == folder.bytes_of(folder.write(every_row(block_of(rows))))


def test_presence(tmp_path: Path) -> None:
    """A field has a list of rows only where some rows have it and some lack it."""
    folder = Folder(tmp_path)
    rows = rows_of(40)
    owned = rows.vectors["image"].rows
    assert owned is not None
    source = folder.write(every_row(block_of(rows)))
    lacking = np.setdiff1d(np.arange(40), owned)
    for chosen, counted, listed in (
        (np.arange(40), len(owned), owned.tolist()),
        (owned, len(owned), None),
        (lacking, 0, None),
        (np.sort(np.append(owned[3:5], lacking[:4])), 2, None),
    ):
        found = folder.write(some_rows(source, chosen))
        assert found.field_count("image") == counted
        listed_rows = found.field_rows("image")
        if listed is not None or 0 < counted < len(chosen):
            assert listed_rows is not None
            expected = np.flatnonzero(np.isin(chosen, owned)).tolist()
            assert listed_rows.tolist() == expected
        else:
            assert listed_rows is None
        assert found.specs("image") == (EVERY_SPEC if counted else ())
    everything = folder.write(some_rows(source, lacking[:1]), some_rows(source, owned[-1:]))
    assert everything.field_rows("image").tolist() == [1]


def test_expires(tmp_path: Path) -> None:
    """When rows expire is kept with them, and left out where none does."""
    folder = Folder(tmp_path)
    never, some = rows_of(10), rows_of(10, 500, expires=True)
    assert some.expires is not None
    found = folder.write(every_row(block_of(never)), every_row(block_of(some)))
    assert found.info.expires == 10**15 + 1
    assert found.expires is not None
    assert found.expires.tolist() == [0] * 10 + some.expires.tolist()
    later = folder.write(some_rows(found, [2, 14, 15]))
    assert later.info.expires == 10**15 + 4
    assert later.expires is not None
    assert later.expires.tolist() == [0, 10**15 + 4, 0]
    for part in (some_rows(found, range(10)), every_row(block_of(never))):
        none = folder.write(part)
        assert (none.info.expires, none.expires) == (0, None)
        assert b"expires" not in (none.folder / "rows").read_bytes()


def test_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace is told of every array's bytes in pieces; where it raises, no folder is left."""
    monkeypatch.setattr(options, "CHUNK_BYTES", 5_000)
    folder = Folder(tmp_path)
    told: list[int] = []
    part = every_row(block_of(rows_of(100)))
    arguments = (folder.files, folder.paths)
    info = write_segment(*arguments, 1, [part], SCHEMA, folder.codecs, told.append)
    assert max(told) < 20_000
    assert 0.8 * info.bytes < sum(told) < info.bytes

    def close(written: int) -> None:
        told.append(written)
        if len(told) == 30:
            raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        write_segment(*arguments, 2, [part], SCHEMA, folder.codecs, close)
    assert folder.files.list_dir(folder.paths.segments) == [folder.paths.segment(1).name]


class Failing(RealFiles):
    """A disk that is full after some files."""

    def __init__(self, files: int) -> None:
        self.left = files

    def create(self, path: Path, size: int) -> FileWriter:
        if not self.left:
            raise DatabaseFullError("no space")
        self.left -= 1
        return super().create(path, size)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """When a file cannot be written no folder stays; a segment is never written over."""
    folder = Folder(tmp_path)
    part = every_row(block_of(rows_of(9)))

    def write(files: RealFiles) -> None:
        write_segment(files, folder.paths, 1, [part], SCHEMA, folder.codecs)

    for count in range(6 + 2 * len(EVERY_SPEC)):
        with pytest.raises(DatabaseFullError):
            write(Failing(count))
        assert folder.files.list_dir(folder.paths.segments) == []
    write(Failing(100))
    with pytest.raises(StorageError):
        write(RealFiles())
    assert folder.files.list_dir(folder.paths.segments) == [folder.paths.segment(1).name]


class Recording(RealFiles):
    """Keeps what was done, in order."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def create(self, path: Path, size: int) -> FileWriter:
        self.done.append(("create", path.name))
        return RecordingWriter(super().create(path, size), path.name, self.done)

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.done.append(("rename", target.name))

    def sync_dir(self, path: Path) -> None:
        super().sync_dir(path)
        self.done.append(("sync", path.name))


class RecordingWriter:
    def __init__(self, inner: FileWriter, name: str, done: list[tuple[str, str]]) -> None:
        self._inner, self._name, self._done = inner, name, done
        self.write_at = inner.write_at

    def close(self) -> None:
        self._inner.close()
        self._done.append(("close", self._name))

    def abandon(self) -> None:
        self._inner.abandon()
        self._done.append(("abandon", self._name))


def test_everything_is_synced_in_order(tmp_path: Path) -> None:
    """Each file is closed, which syncs it, then their folder synced, renamed, and synced again."""
    files, folder = Recording(), Folder(tmp_path)
    part = every_row(block_of(rows_of(9)))
    info = write_segment(files, folder.paths, 1, [part], SCHEMA, folder.codecs)
    expected = [(action, item.name) for item in info.components for action in ("create", "close")]
    expected += [("sync", "0000000000000001.tmp"), ("rename", "0000000000000001")]
    assert files.done == [*expected, ("sync", "segments")]


def test_a_file_that_is_given_up_is_closed(tmp_path: Path) -> None:
    """Where a source fails in the middle of a file, the file is abandoned and removed."""
    files, folder = Recording(), Folder(tmp_path)
    source = folder.write(every_row(block_of(rows_of(90))))
    path = source.folder / "codes-0-3"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    damaged = every_row(folder.open(source.info))
    with pytest.raises(CorruptionError, match=r"codes-0-3 does not match.*segment 1") as caught:
        write_segment(files, folder.paths, 2, [damaged], SCHEMA, folder.codecs)
    assert caught.value.folder == str(source.folder)
    assert files.done[-2:] == [("create", "codes-0-3"), ("abandon", "codes-0-3")]
    assert folder.files.list_dir(folder.paths.segments) == [source.folder.name]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Writing 40 MB of codes from another segment takes far less memory than they have."""
    schema = Schema(vectors=[Vector("v", 1024, "dot", ("bits2", "float32"))])
    folder = Folder(tmp_path, schema)
    rows = rows_of(10_000)
    values = np.zeros((10_000, 1024), dtype=np.float32)
    values[:, :DIM] = rows.vectors["text"].values
    rows = Rows(
        seqs=rows.seqs,
        ids=rows.ids,
        payloads=rows.payloads,
        columns={},
        vectors={"v": FieldVectors(rows=None, values=values)},
    )
    source = folder.write(every_row(block_of(rows, schema)))
    tracemalloc.start()
    try:
        folder.write(every_row(source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.info.bytes > 43_000_000
    assert peak < 6 * options.CHUNK_BYTES
