"""Write a segment: rows in, a folder of components out, in place only when it is whole.

    segments/<id>.tmp/<component> ...   written and synced one after the other
    segments/<id>                       renamed; the directory is synced

The commit that names the segment comes after. Until then nobody reads the folder, and a crash
leaves one that nothing names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from vecstore.errors import StorageError
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.format import write_component
from vecstore.segment.layout import Arrays
from vecstore.segment.manifest import (
    ColumnInfo,
    ComponentInfo,
    FieldInfo,
    RepresentationInfo,
    SegmentInfo,
    to_bytes,
)
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.storage import paths as names
from vecstore.storage.files import FileSystem
from vecstore.storage.paths import Paths
from vecstore.types import Array

# Vectors are widened to float32 and encoded this many bytes at a time.
ENCODE_BYTES = 8 << 20

Codecs = Mapping[tuple[str, str], StoredCodec]  # (field, spec) -> the codec that encodes it


def write_segment(
    files: FileSystem, paths: Paths, segment_id: int, rows: Rows, schema: Schema, codecs: Codecs
) -> SegmentInfo:
    """Encode rows and write them as a segment, durably; it is not named by a manifest yet.

    Args:
        files: where to.
        paths: of the database.
        segment_id: never given out before, even to a segment that was not committed.
        rows: N rows, at least one.
        schema: of the collection, with every representation spelled out, coarse to fine.
        codecs: one for each representation in the schema.

    Returns:
        What the manifest needs to know.

    Raises:
        DatabaseFullError, StorageError: the segment must not be named.
    """
    assert len(rows)
    temporary = paths.segment_temporary(segment_id)
    files.make_dir(temporary)
    try:
        info = _Writer(files, temporary, rows, schema, codecs).write(segment_id)
        files.sync_dir(temporary)
        files.rename(temporary, paths.segment(segment_id))
    except BaseException:
        with contextlib.suppress(StorageError):  # the first error says more; a later open tidies
            files.remove(temporary)
        raise
    files.sync_dir(paths.segments)
    return info


class _Writer:
    def __init__(
        self, files: FileSystem, folder: Path, rows: Rows, schema: Schema, codecs: Codecs
    ) -> None:
        self._files = files
        self._folder = folder
        self._rows = rows
        self._schema = schema
        self._codecs = codecs
        self._written: list[ComponentInfo] = []

    def write(self, segment_id: int) -> SegmentInfo:
        rows = self._rows
        self._put(names.ROWS, "rows", {"seqs": rows.seqs, **rows.ids.to_arrays("ids/")})
        self._put(names.PAYLOADS, "payloads", rows.payloads.to_arrays("payloads/"))
        columns = []
        for number, column in enumerate(self._schema.columns):
            component = names.column_component(number)
            self._put(component, "column", rows.columns[column.name].to_arrays(""))
            columns.append(ColumnInfo(column.name, column.type, component))
        fields = [self._field(number, vector) for number, vector in enumerate(self._schema.vectors)]
        info = SegmentInfo(
            id=segment_id,
            rows=len(rows),
            seq_min=int(rows.seqs[0]),
            seq_max=int(rows.seqs[-1]),
            components=tuple(self._written),
            fields=tuple(fields),
            columns=tuple(columns),
        )
        self._put(names.SEGMENT, "segment", self._description(info))
        return msgspec.structs.replace(info, components=tuple(self._written))

    def _field(self, number: int, vector: Vector) -> FieldInfo:
        found = self._rows.vectors[vector.name]
        count = len(found.values)
        presence = ""
        if found.rows is not None and 0 < count < len(self._rows):
            presence = names.presence_component(number)
            self._put(presence, "presence", {"rows": found.rows})
        representations = []
        for place, spec in enumerate(vector.representations if count else ()):
            stored = self._codecs[vector.name, spec]
            component = names.codes_component(number, place)
            self._put(component, "codes", _encode(stored, found))
            representations.append(RepresentationInfo(spec, component, stored.id))
        return FieldInfo(
            vector.name, vector.dim, vector.metric, count, presence, tuple(representations)
        )

    def _description(self, info: SegmentInfo) -> Arrays:
        """What opens the folder without its database: see `reader.open_segment`."""
        arrays: dict[str, Array] = {"info": np.frombuffer(to_bytes(info), dtype=np.uint8)}
        for stored in self._codecs.values():
            for name, param in stored.params.items():
                arrays[f"codec/{stored.id}/{name}"] = param
        return arrays

    def _put(self, name: str, kind: str, arrays: Arrays) -> None:
        path = names.component_path(self._folder, name)
        self._written.append(write_component(self._files, path, kind, arrays))


def _encode(stored: StoredCodec, vectors: FieldVectors) -> Arrays:
    codec = stored.codec
    codes = np.empty((len(vectors.values), codec.code_bytes), dtype=np.uint8)
    for start, stop in _spans(*vectors.values.shape):
        codes[start:stop] = codec.encode(vectors.values[start:stop].astype(np.float32))
    return codec.pack(codes)


def _spans(rows: int, dim: int) -> Iterator[tuple[int, int]]:
    step = max(1, ENCODE_BYTES // (4 * dim))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
