"""Segments to test with: rows of every kind, and their codecs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vecstore.codec import build_codec, parse_spec, train_codec
from vecstore.codec.base import Codec
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.base import Source, StoredCodec
from vecstore.segment.block import Block, CodecOf
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import encode_id
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, SegmentInfo
from vecstore.segment.ragged import Ragged
from vecstore.segment.reader import CodecLoader, Segment
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.writer import Codecs, Part, write_segment
from vecstore.storage.files import RealFiles
from vecstore.storage.paths import Paths
from vecstore.types import Int64

DIM = 70
EVERY_SPEC = ("prefix32/bits2", "bits1", "bits2", "bits4", "int8", "bits8", "float16", "float32")
SCHEMA = Schema(
    vectors=[
        Vector("text", DIM, "cosine", EVERY_SPEC),
        Vector("image", DIM, "l2", EVERY_SPEC),
        Vector("sound", 2, "dot", ("float32",)),
    ],
    columns=[Column("year", "int"), Column("tags", "list[keyword]"), Column("kind", "keyword")],
)
TRAINED = 5  # the id of each trained codec


def rows_of(count: int, first: int = 0, *, expires: bool = False) -> Rows:
    """Rows of SCHEMA, of which half have an image, none has a sound, and one in three expires."""
    rng = np.random.default_rng(first)
    numbers = range(first, first + count)
    some = np.flatnonzero(rng.random(count) < 0.5).astype(np.uint32)
    words = ["one", "two", "three", "four", "five"]
    lists = [[words[(row + i) % 5] for i in range(row % 3)] for row in numbers]
    times = np.where(np.arange(count) % 3 == 1, 10**15 + np.arange(count), 0)
    columns = {
        "year": ColumnData.from_values("int", [row if row % 5 else None for row in numbers]),
        "tags": ColumnData.from_values("list[keyword]", lists),
        "kind": ColumnData.from_values("keyword", [f"{row % 7} {first}" for row in numbers]),
    }
    image = rng.standard_normal((len(some), DIM)).astype(np.float32)
    vectors = {
        "text": FieldVectors(rows=None, values=rng.standard_normal((count, DIM)).astype("f4")),
        "image": FieldVectors(rows=None if len(some) == count else some, values=image),
        "sound": FieldVectors.empty(Vector("sound", 2), count, np.dtype(np.float32)),
    }
    vectors["text"].values[:] /= np.linalg.norm(vectors["text"].values, axis=1, keepdims=True)
    return Rows(
        seqs=np.cumsum(rng.integers(1, 5, count)).astype(np.uint64) + np.uint64(10 * first),
        ids=Ragged.from_list([encode_id(f"id {row}" if row % 2 else row) for row in numbers]),
        payloads=Ragged.from_list([b'{"a": %d}' % row * (row % 3) for row in numbers]),
        columns=columns,
        vectors=vectors,
        expires=times.astype(np.int64) if expires else None,
    )


def codecs_of(schema: Schema, codec_id: int = TRAINED) -> Codecs:
    """Codecs of every representation; those that need training learn the same for one id."""
    found = {}
    for vector in schema.vectors:
        rng = np.random.default_rng(codec_id)
        sample = rng.standard_normal((100, vector.dim)).astype(np.float32)
        for text in vector.representations:
            spec = parse_spec(text, vector.dim)
            params = train_codec(spec, vector.dim, vector.metric, sample, 0) if spec.trained else {}
            codec = build_codec(spec, vector.dim, vector.metric, params)
            found[vector.name, text] = StoredCodec(
                id=codec_id if spec.trained else 0, codec=codec, params=params
            )
    return found


def loader_of(codecs: Codecs) -> CodecLoader:
    """Gives codecs of those ids, as a shelf does."""

    def load(field: FieldInfo, item: RepresentationInfo) -> Codec:
        stored = codecs[field.name, item.spec]
        assert stored.id == item.codec
        return stored.codec

    return load


def codec_of(schema: Schema = SCHEMA) -> CodecOf:
    """Gives the codecs of the blocks of a write buffer, as a shelf does; nothing is trained."""

    def find(field: str, spec: str, number: int) -> Codec:
        assert number == 0
        vector = schema.vector(field)
        return build_codec(parse_spec(spec, vector.dim), vector.dim, vector.metric, {})

    return find


def every_row(source: Source) -> Part:
    return Part(source, np.arange(source.rows, dtype=np.int64))


def some_rows(source: Source, rows: Sequence[int] | Int64) -> Part:
    return Part(source, np.array(rows, dtype=np.int64))


def block_of(rows: Rows, schema: Schema = SCHEMA) -> Block:
    return Block(rows, codec_of(schema))


class Folder:
    """Segments below a directory, one for each call of `write`."""

    def __init__(self, path: Path, schema: Schema = SCHEMA) -> None:
        self.files = RealFiles()
        self.paths = Paths(path)
        self.schema = schema
        self.codecs = codecs_of(schema)
        self.count = 0

    def next_id(self) -> int:
        self.count += 1
        return self.count

    def write(self, *parts: Part, codecs: Codecs | None = None, sample_bytes: int = 0) -> Segment:
        chosen = codecs or self.codecs
        info = write_segment(
            self.files,
            self.paths,
            self.next_id(),
            parts,
            self.schema,
            chosen,
            sample_bytes=sample_bytes,
        )
        return self.open(info, chosen)

    def open(self, info: SegmentInfo, codecs: Codecs | None = None) -> Segment:
        load = loader_of(codecs or self.codecs)
        return Segment(self.files, self.paths.segment(info.id), info, load, self.schema)

    def bytes_of(self, segment: Segment, *, codes: bool = False) -> dict[str, bytes]:
        """The files of a segment, without the one that names its id; or those of codes only."""
        return {
            component.name: (segment.folder / component.name).read_bytes()
            for component in segment.info.components
            if component.name != "segment" and (component.name.startswith("codes") or not codes)
        }
