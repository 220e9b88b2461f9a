"""Format version 1 stays readable and stays the same: small files made once, kept, compared.

With VECSTORE_WRITE_GOLDEN=1, a file that is missing is written; commit it with the change that
adds it. Never replace one: a changed format is a new version with new files beside the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.format.kept import FOLDER, write_missing
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.segment.catalog import AlterJob, BuiltSegment, CodecInfo, CollectionInfo
from vecstore.segment.format import Component, pack_arrays, unpack_arrays
from vecstore.segment.manifest import (
    ColumnInfo,
    ComponentInfo,
    FieldInfo,
    Manifest,
    RepresentationInfo,
    SegmentInfo,
    from_bytes,
    to_bytes,
)
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import Encoding, FieldVectors, Rows
from vecstore.segment.stream import write_component
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.tombstones import add_seqs, dead_mask
from vecstore.storage.files import RealFiles
from vecstore.types import Array

ARRAYS: Mapping[str, Array] = {
    "seqs": np.array([1, 2, 2**63], dtype=np.uint64),
    "values": np.array([[0.5, -1.25], [np.inf, 65504.0]], dtype=np.float32),
    "half": np.array([0.5, 2**-24], dtype=np.float16),
    "codes": np.arange(70_000, dtype=np.uint32).astype(np.uint8).reshape(-1, 100) // 16,
    "mask": np.array([True, False]),
    "none": np.empty((0, 3), dtype=np.int64),
    "one": np.array(7, dtype=np.int32),
}
FEW: Mapping[str, Array] = {name: array for name, array in ARRAYS.items() if name != "codes"}
MANIFEST = Manifest(
    segments=(
        SegmentInfo(
            id=1,
            rows=3,
            seq_min=1,
            seq_max=2**63,
            components=(ComponentInfo("rows", 1000, 0xDEADBEEF),),
            fields=(
                FieldInfo(
                    "text", 384, "cosine", 2, "presence-0",
                    (RepresentationInfo("int8", "codes-0-0", 4),),
                ),
            ),
            columns=(ColumnInfo("year", "int", "column-0"),),
            expires=10**15,
        ),
    ),
    next_seq=2**63 + 1,
    live=2,
)  # fmt: skip
COLLECTION = CollectionInfo(
    0,
    "books",
    Schema(
        vectors=(Vector("text", 384, "cosine", ("bits2", "float16")),),
        columns=(Column("tags", "list[keyword]"),),
        ttl_s=3600.5,
    ),
)
CODEC = CodecInfo(4, 2, "text", "int8", 384, "cosine", 1000, ComponentInfo("x", 10, 0))
ALTERATION = AlterJob("text", ("bits1", "float16"), (BuiltSegment(7, MANIFEST.segments[0]),))
CODED_SCHEMA = Schema(vectors=(Vector("text", 384), Vector("title", 3, "dot")))
CODED = Rows(
    seqs=np.array([5, 6, 9], dtype=np.uint64),
    ids=Ragged.from_list([b"\2a", b"\2b", b"\2c"]),
    payloads=Ragged.from_list([b"", b"{}", b""]),
    columns={},
    vectors={
        "text": FieldVectors(
            rows=np.array([0, 2], dtype=np.uint32),
            values=np.arange(16, dtype=np.uint8).reshape(2, 8),
            encoding=Encoding("pca8/int8", 4),
        ),
        "title": FieldVectors(rows=None, values=np.eye(3, dtype=np.float16)),
    },
)
TOKENS_SCHEMA = Schema(
    vectors=[
        Vector("text", 384, "cosine", ["float16"]),
        MultiVector("pages", 2, "dot", ["int8", "float32"], "salience0.5", "ward3"),
    ]
)
TOKENS_COLLECTION = CollectionInfo(0, "books", TOKENS_SCHEMA)
TOKENS_SEGMENT = msgspec.structs.replace(
    MANIFEST.segments[0],
    fields=(
        *MANIFEST.segments[0].fields,
        FieldInfo(
            "pages", 2, "dot", 2, "presence-1",
            (RepresentationInfo("float32", "codes-1-0", 0),), "tokens-1", 5,
        ),
    ),
)  # fmt: skip
TOKENS_MANIFEST = Manifest((TOKENS_SEGMENT,), 2**63 + 1, 2)
TOKENS_ALTERATION = AlterJob("text", ("bits1", "float16"), (BuiltSegment(7, TOKENS_SEGMENT),))
POLICIES = AlterJob("pages", ("int8",), (BuiltSegment(7, TOKENS_SEGMENT),), "share0.5", "")
TOKENS = Rows(
    seqs=CODED.seqs,
    ids=CODED.ids,
    payloads=CODED.payloads,
    columns={},
    vectors={
        "text": FieldVectors.empty(TOKENS_SCHEMA.vectors[0], 3, np.dtype(np.float16)),
        "pages": FieldVectors(
            rows=np.array([0, 2], dtype=np.uint32),
            values=np.arange(10, dtype=np.float32).reshape(5, 2),
            tokens=TokenBounds(
                offsets=np.array([0, 2, 5], dtype=np.uint64),
                places=np.array([1, 0, 0, 2, 1], dtype=np.uint16),
                salience=np.array([3, 0.5, 1, 1, 0], dtype=np.float16),
            ),
        ),
    },
)
SEQS = np.array([0, 9, 31_999, 32_000], dtype=np.uint64)


def golden(name: str, make: Callable[[], bytes]) -> bytes:
    """The kept bytes of that name; `make` must give the same."""
    path = FOLDER / name
    write_missing(path, make)
    kept = path.read_bytes()
    assert make() == kept, f"{name} is written differently than it was in format version 1"
    return kept


def same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_component(tmp_path: Path) -> None:
    """A component is written as ever, and the kept one opens, verifies and holds its arrays."""

    def make() -> bytes:
        path = tmp_path / "component"
        path.unlink(missing_ok=True)
        write_component(RealFiles(), path, "golden", ARRAYS)
        return path.read_bytes()

    golden("component", make)
    component = Component.open(RealFiles(), FOLDER / "component", "golden", None)
    assert component.verify() == []
    same(component.arrays, ARRAYS)


def test_packed_arrays() -> None:
    """Packed arrays are written as ever, and the kept ones unpack."""
    same(unpack_arrays(golden("packed", lambda: pack_arrays(FEW))), FEW)


def test_ready_made_codes() -> None:
    """Codes that came ready-made are packed as ever, and the kept ones are read as rows."""
    kept = golden("codes", lambda: pack_arrays(CODED.to_arrays()))
    rows = Rows.from_arrays(unpack_arrays(kept), CODED_SCHEMA)
    same(rows.to_arrays(), CODED.to_arrays())
    assert rows.vectors["text"].encoding == Encoding("pca8/int8", 4)


def test_values() -> None:
    """Stored values are written as ever, and the kept ones are read."""
    kept = golden("manifest-tokens", lambda: to_bytes(TOKENS_MANIFEST))
    assert from_bytes(Manifest, kept) == TOKENS_MANIFEST
    for name, info in (("collection-tokens", TOKENS_COLLECTION), ("collection-plain", COLLECTION)):
        assert CollectionInfo.from_bytes("books", golden(name, info.to_bytes)) == info
    assert from_bytes(CodecInfo, golden("codec", lambda: to_bytes(CODEC))) == CODEC
    for name, job in (("alteration-plain", TOKENS_ALTERATION), ("alteration-policies", POLICIES)):
        assert from_bytes(AlterJob, golden(name, job.to_bytes)) == job


def test_values_without_tokens() -> None:
    """Stored values from before there were multivector fields are read."""
    kept = {name: (FOLDER / name).read_bytes() for name in ("manifest", "collection", "alteration")}
    assert from_bytes(Manifest, kept["manifest"]) == MANIFEST
    assert CollectionInfo.from_bytes("books", kept["collection"]) == COLLECTION
    assert from_bytes(AlterJob, kept["alteration"]) == ALTERATION


def test_alterations_without_policies() -> None:
    """Alterations from before policies could be altered are read."""
    kept = (FOLDER / "alteration-tokens").read_bytes()
    assert from_bytes(AlterJob, kept) == TOKENS_ALTERATION


def test_tokens() -> None:
    """Sets of vectors are packed as ever, and the kept ones are read as rows."""
    kept = golden("tokens", lambda: pack_arrays(TOKENS.to_arrays()))
    rows = Rows.from_arrays(unpack_arrays(kept), TOKENS_SCHEMA)
    same(rows.to_arrays(), TOKENS.to_arrays())


@pytest.mark.parametrize("chunk", [0, 1])
def test_tombstones(chunk: int) -> None:
    """A tombstone chunk is written as ever, and the kept one gives its seqs."""
    kept = golden(f"tombstones{chunk}", lambda: add_seqs({}, SEQS)[chunk])
    assert dead_mask({chunk: kept}, SEQS).tolist() == (chunk == SEQS // 32_000).tolist()
