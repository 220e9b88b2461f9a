"""Stored values: bytes and back, edits, damage."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError, FormatVersionError, SchemaError, StorageError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.catalog import CodecInfo, CollectionInfo
from vecstore.segment.manifest import (
    ColumnInfo,
    ComponentInfo,
    FieldInfo,
    Manifest,
    ManifestEdit,
    RepresentationInfo,
    SegmentInfo,
    apply,
    codecs_in_use,
    from_bytes,
    to_bytes,
)


def segment(number: int, seq_min: int = 0, codec: int = 0) -> SegmentInfo:
    return SegmentInfo(
        id=number,
        rows=10,
        seq_min=seq_min,
        seq_max=seq_min + 9,
        components=(ComponentInfo("rows", 100, 2**32 - 1), ComponentInfo("codes-0-0", 50, 7)),
        fields=(
            FieldInfo(
                "text", 8, "cosine", 9, "", (RepresentationInfo("int8", "codes-0-0", codec),)
            ),
        ),
        columns=(ColumnInfo("year", "int", "column-0"),),
    )


MANIFEST = Manifest(segments=(segment(1), segment(2, 10, 5)), next_seq=2**63, live=12)
COLLECTION = CollectionInfo(
    3,
    "books",
    Schema(
        vectors=(Vector("text", 8, "l2", ("bits1", "float16")), Vector("image", 65_536)),
        columns=(Column("year", "int"), Column("tags", "list[keyword]")),
    ),
)
CODEC = CodecInfo(1, 3, "text", "int8", 8, "dot", 1000, ComponentInfo("0000000000000001", 9, 8))


def test_values_come_back() -> None:
    """Manifests, collections and codecs are equal after a trip through their bytes."""
    assert from_bytes(Manifest, to_bytes(MANIFEST)) == MANIFEST
    assert from_bytes(Manifest, to_bytes(Manifest())) == Manifest()
    assert from_bytes(CodecInfo, to_bytes(CODEC)) == CODEC
    assert CollectionInfo.from_bytes("books", COLLECTION.to_bytes()) == COLLECTION


def test_a_manifest_is_small() -> None:
    """A segment costs a few hundred bytes in the value that every commit writes."""
    assert len(to_bytes(MANIFEST)) < 400


def test_look_ups() -> None:
    """Components and fields are found by name; a missing component is damage, a field is not."""
    found = segment(1)
    assert found.bytes == 150
    assert found.component("rows").bytes == 100
    assert found.field("image") is None
    with pytest.raises(CorruptionError, match="payloads"):
        found.component("payloads")


def test_apply() -> None:
    """An edit replaces segments, keeps them in the order of seqs, and moves the counters."""
    edit = ManifestEdit(added=(segment(3, 5),), removed=frozenset({1}), seqs=4, live=-2)
    after = apply(MANIFEST, edit)
    assert [item.id for item in after.segments] == [3, 2]
    assert (after.next_seq, after.live) == (2**63 + 4, 10)
    assert codecs_in_use([MANIFEST]) == {5}


def test_newer_versions_are_refused() -> None:
    """A value of a newer version is a FormatVersionError that says so."""
    with pytest.raises(FormatVersionError, match="version 4"):
        from_bytes(Manifest, b"\x04" + to_bytes(MANIFEST)[1:])


@given(st.binary(max_size=50))
def test_random_bytes(data: bytes) -> None:
    """Random bytes give a value or a typed error."""
    for prefix in (b"", b"\x01"):
        for kind in (Manifest, CodecInfo):
            with contextlib.suppress(StorageError):
                from_bytes(kind, prefix + data)


def test_damaged_bytes() -> None:
    """Cut or changed bytes give a value or a typed error, and huge counts allocate nothing."""
    for sound in (to_bytes(MANIFEST), COLLECTION.to_bytes()):
        for length in range(len(sound)):
            with pytest.raises(CorruptionError):
                from_bytes(Manifest, sound[:length])
        for place in range(1, len(sound)):
            for value in (0x00, 0xC6, 0xDD, 0xFF):
                damaged = sound[:place] + bytes([value]) + sound[place + 1 :]
                try:
                    from_bytes(Manifest, damaged)
                    CollectionInfo.from_bytes("books", damaged)
                except StorageError:
                    pass
    with pytest.raises(CorruptionError):
        from_bytes(Manifest, b"\x01\x93\xdd\xff\xff\xff\xff")


def test_a_schema_that_cannot_be_is_damage() -> None:
    """A stored schema is checked as a user's is, but the error is about the storage."""
    plain = [3, [[["text", 0, "l2", []]], []]]
    with pytest.raises(CorruptionError, match="dim 0") as caught:
        CollectionInfo.from_bytes("books", b"\x01" + msgspec.msgpack.encode(plain))
    assert isinstance(caught.value.__cause__, SchemaError)
