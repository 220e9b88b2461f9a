"""Segments again with other representations: linked where nothing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.segments import (
    EVERY_SPEC,
    SCHEMA,
    Folder,
    block_of,
    codecs_of,
    every_row,
    rows_of,
)
from vecstore.errors import CorruptionError
from vecstore.schema import Schema
from vecstore.segment.alone import open_segment
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.reader import Segment
from vecstore.segment.relink import relink_segment
from vecstore.segment.writer import Codecs, write_segment

EVERY = np.arange(50, dtype=np.int64)


def schema_of(ladders: Mapping[str, Sequence[str]]) -> Schema:
    """SCHEMA with other representations of some fields."""
    return replace(
        SCHEMA,
        vectors=[
            replace(vector, representations=ladders.get(vector.name, vector.representations))
            for vector in SCHEMA.vectors
        ],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, schema_of({"text": ("bits2", "float32"), "image": ("int8", "bits8")}))


@pytest.fixture
def old(folder: Folder) -> Segment:
    return folder.write(every_row(block_of(rows_of(50, expires=True))))


def relink(
    folder: Folder,
    old: Segment,
    schema: Schema,
    codecs: Codecs | None = None,
    rebuild: frozenset[tuple[str, str]] = frozenset(),
) -> Segment:
    info = relink_segment(
        folder.files,
        folder.paths,
        folder.next_id(),
        old,
        schema=schema,
        codecs=codecs or codecs_of(schema),
        rebuild=rebuild,
    )
    return folder.open(info, codecs or codecs_of(schema))


def inodes(segment: Segment) -> dict[str, int]:
    return {
        item.name: (segment.folder / item.name).stat().st_ino for item in segment.info.components
    }


def linked(new: Segment, old: Segment) -> set[str]:
    """The files that both have."""
    own, others = inodes(new), inodes(old)
    return {name for name, number in own.items() if others.get(name) == number}


def test_more_representations(folder: Folder, old: Segment) -> None:
    """New representations are encoded from the finest; all else is linked, and reads the same."""
    schema = schema_of({"text": (*EVERY_SPEC[:-2], "float32"), "image": EVERY_SPEC[:-2]})
    new = relink(folder, old, schema)
    assert linked(new, old) == inodes(old).keys() - {"segment"}
    made = inodes(new).keys() - inodes(old).keys()
    assert len(made) == 5 + 4
    assert sorted(inodes(new)) == folder.files.list_dir(new.folder)
    assert new.verify() == old.verify() == []
    assert new.specs("text") == (*EVERY_SPEC[:-2], "float32")
    assert new.seqs.tolist() == old.seqs.tolist()
    assert new.ids(EVERY) == old.ids(EVERY)
    assert (new.info.rows, new.info.expires) == (50, old.info.expires)
    folder.schema = schema
    whole = folder.write(every_row(old), codecs=codecs_of(schema))
    for vector in schema.vectors:
        assert new.specs(vector.name) == whole.specs(vector.name)
        for spec in new.specs(vector.name):
            assert codes_of(new, vector.name, spec) == codes_of(whole, vector.name, spec)


def codes_of(segment: Segment, field: str, spec: str) -> dict[str, bytes]:
    codes = segment.codes(field, spec)
    assert codes is not None
    codes.touch()
    return {name: array.tobytes() for name, array in codes.parts.items()}


def test_fewer_representations(folder: Folder, old: Segment) -> None:
    """A representation that is no longer wanted is left out, and nothing is encoded."""
    new = relink(folder, old, schema_of({"text": ("float32",), "image": ("int8",)}))
    assert (new.specs("text"), new.specs("image"), new.specs("sound")) == (
        ("float32",),
        ("int8",),
        (),
    )
    assert inodes(new).keys() - linked(new, old) == {"segment"}
    assert len(inodes(new)) == len(inodes(old)) - 2


def test_the_folder_of_a_relinked_segment_opens_alone(folder: Folder, old: Segment) -> None:
    """The new folder describes itself, with the trained codecs of what was linked."""
    new = relink(folder, old, schema_of({"text": ("bits1", "float32"), "image": ("int8", "bits8")}))
    folder.files.remove(old.folder)
    alone = open_segment(folder.files, new.folder)
    assert alone.info.id == new.info.id
    assert alone.verify() == []
    codes = alone.codes("image", "int8")
    assert codes is not None
    low = folder.codecs["image", "int8"].params["low"]
    assert codes.codec.low.tolist() == low.tolist()


def test_another_codec(folder: Folder, old: Segment) -> None:
    """A representation of another trained codec is encoded again, beside what stays."""
    newer = codecs_of(folder.schema, codec_id=9)
    new = relink(folder, old, folder.schema, newer)
    assert new.codec_id("image", "int8") == 9
    kept = inodes(old).keys() - {"segment", "codes-1-0"}
    assert linked(new, old) == kept
    assert inodes(new).keys() - kept == {"segment", "codes-1-2"}


def damage(segment: Segment, name: str) -> None:
    path = segment.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # other segments may have the same file
    path.write_bytes(data)


def test_rebuilt_codes(folder: Folder, old: Segment) -> None:
    """Damaged codes are made again from the finest sound ones, as they were."""
    expected = codes_of(old, "text", "bits2")
    damage(old, "codes-0-0")
    fresh = folder.open(old.info)
    new = relink(folder, fresh, folder.schema, rebuild=frozenset({("text", "bits2")}))
    assert new.verify() == []
    assert codes_of(new, "text", "bits2") == expected
    assert linked(new, fresh) == inodes(fresh).keys() - {"segment", "codes-0-0"}


def test_the_finest_is_damaged(folder: Folder, old: Segment) -> None:
    """Without the finest codes, others are made from the next that can be read, or refused."""
    damage(old, "codes-0-1")
    fresh = folder.open(old.info)
    schema = schema_of({"text": ("bits1",), "image": ("int8", "bits8")})
    new = relink(folder, fresh, schema)
    assert codes_of(new, "text", "bits1")
    damage(old, "codes-0-0")
    fresh = folder.open(old.info)
    with pytest.raises(CorruptionError, match=r"codes-0-0 does not match") as caught:
        relink(folder, fresh, schema)
    assert caught.value.folder == str(old.folder)
    both = frozenset({("text", "bits2"), ("text", "float32")})
    with pytest.raises(CorruptionError, match="no representation of 'text'") as caught:
        relink(folder, fresh, schema, rebuild=both)
    assert caught.value.folder == str(old.folder)
    assert len(folder.files.list_dir(folder.paths.segments)) == 2


def test_again_and_again(folder: Folder, old: Segment) -> None:
    """Names of components never clash, however often representations come and go."""
    wide = schema_of({"text": ("bits1", "bits2", "float32"), "image": ("int8", "bits8")})
    segment = old
    for _ in range(4):
        for schema in (wide, folder.schema):
            newer = relink(folder, segment, schema)
            made = inodes(newer).keys() - linked(newer, segment)
            assert made & inodes(segment).keys() == {"segment"}
            segment = newer
    assert segment.verify() == []
    assert codes_of(segment, "text", "bits2") == codes_of(old, "text", "bits2")


def test_what_is_written_from_a_relinked_segment(folder: Folder, old: Segment) -> None:
    """A relinked segment is a source like any other."""
    new = relink(folder, old, folder.schema)
    again: list[SegmentInfo] = []
    for source in (old, new):
        again.append(
            write_segment(
                folder.files,
                folder.paths,
                folder.next_id(),
                [every_row(source)],
                folder.schema,
                folder.codecs,
            )
        )
    first, second = map(folder.open, again)
    assert folder.bytes_of(first) == folder.bytes_of(second)


def test_a_missing_file(folder: Folder, old: Segment) -> None:
    """A component that is gone cannot be linked, which says of which segment it is."""
    (old.folder / "payloads").unlink()
    with pytest.raises(
        CorruptionError, match=r"payloads: No such file.*; segment 1 holds"
    ) as caught:
        relink(folder, old, folder.schema)
    assert caught.value.folder == str(old.folder)
    assert folder.files.list_dir(folder.paths.segments) == [old.folder.name]
