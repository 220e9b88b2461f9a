"""Write a segment: rows of sources in, a folder of components out, in place only when it is whole.

    segments/<id>.tmp/<component> ...   written and synced one after the other
    segments/<id>                       renamed; the directory is synced

The commit that names the segment comes after. Until then nobody reads the folder, and a crash
leaves one that nothing names.

Of codes, vectors, ids and payloads only pieces of about CHUNK_BYTES are in memory at a time; seqs,
offsets and columns are there as a whole, and of a multivector field what is known of each token
besides its vector, and its number: some 12 bytes, more while parts become one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from vecstore import options
from vecstore.errors import CorruptionError, StorageError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.base import Source, StoredCodec, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.encode import Codecs, FieldPart, code_pieces
from vecstore.segment.forms import code_forms
from vecstore.segment.layout import Arrays, Form
from vecstore.segment.listing import list_order
from vecstore.segment.lists import ListOrder, listed_forms, may_be_listed
from vecstore.segment.manifest import (
    ColumnInfo,
    ComponentInfo,
    FieldInfo,
    RepresentationInfo,
    SegmentInfo,
    to_bytes,
)
from vecstore.segment.ragged import little_endian, make_offsets, spans_of
from vecstore.segment.reader import Segment
from vecstore.segment.rows import concat_expires, some_expire
from vecstore.segment.stream import Pace, Shape, no_pace, stream_component
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.touch import blame
from vecstore.segment.vectors import code_rows, owners
from vecstore.storage import paths as names
from vecstore.storage.failpoints import reach
from vecstore.storage.files import FileSystem
from vecstore.storage.paths import Paths
from vecstore.types import Array, Int64

__all__ = ["Codecs", "Pace", "Part", "no_pace", "write_segment"]

# Byte strings are gathered through an index of 8 bytes for each of theirs.
_INDEX_BYTES = 8


class Part(NamedTuple):
    """Rows of a source that a segment is written from.

    Attributes:
        source: a segment or a block.
        rows: int64 [n], ascending.
    """

    source: Source
    rows: Int64


def write_segment(
    files: FileSystem,
    paths: Paths,
    segment_id: int,
    parts: Sequence[Part],
    schema: Schema,
    codecs: Codecs,
    pace: Pace = no_pace,
    *,
    sample_bytes: int = 0,
) -> SegmentInfo:
    """Write rows as a segment, durably; it is not named by a manifest yet.

    Codes that a source has from the same codec are copied; others are encoded from the finest
    representation that it has.

    Args:
        files: where to.
        paths: of the database.
        segment_id: never given out before, even to a segment that was not committed.
        parts: at least one row; seqs ascend over all parts.
        schema: of the collection, with every representation spelled out, coarse to fine.
        codecs: one for each representation in the schema of a field that some row has.
        pace: called with the bytes of each piece that was written.
        sample_bytes: codes are written as inverted lists, where there are enough rows, whose
            centroids learn from vectors of so many bytes; 0: in the order of rows.

    Returns:
        What the manifest needs to know.

    Raises:
        DatabaseFullError, StorageError: the segment must not be named.
        CorruptionError: a source is damaged.
    """
    parts = [part for part in parts if len(part.rows)]
    with new_folder(files, paths, segment_id) as folder:
        sink = Sink(files, folder, pace)
        return _Writer(sink, parts, schema, codecs, sample_bytes=sample_bytes).write(segment_id)


@contextlib.contextmanager
def new_folder(files: FileSystem, paths: Paths, segment_id: int) -> Iterator[Path]:
    """The folder to write a segment in; it gets its name when the block ends without an error."""
    temporary = paths.segment_temporary(segment_id)
    files.make_dir(temporary)
    try:
        yield temporary
        files.sync_dir(temporary)
        files.rename(temporary, paths.segment(segment_id))
        reach("segment.renamed")
    except BaseException:
        with contextlib.suppress(StorageError):  # the first error says more; a later open tidies
            files.remove(temporary)
        raise
    files.sync_dir(paths.segments)


class Sink:
    """The components of a segment under way.

    Attributes:
        written: what was written so far.
        pace: called with the bytes of each piece that was written.
    """

    def __init__(self, files: FileSystem, folder: Path, pace: Pace) -> None:
        self.written: list[ComponentInfo] = []
        self._files = files
        self._folder = folder
        self.pace = pace

    def put(self, name: str, kind: str, arrays: Arrays) -> None:
        """Write whole arrays as a component."""
        stored = {key: little_endian(array) for key, array in arrays.items()}
        self.stream(name, kind, stored, iter(stored.items()))

    def stream(
        self, name: str, kind: str, forms: Mapping[str, Form], pieces: Iterator[tuple[str, Array]]
    ) -> None:
        """Write a component from pieces of its arrays."""
        path = names.component_path(self._folder, name)
        self.written.append(stream_component(self._files, path, kind, forms, pieces, self.pace))
        reach("segment.component")

    def link(self, old: Segment, name: str) -> None:
        """Take over a component of another segment."""
        try:
            component = old.info.component(name)
            source = names.component_path(old.folder, name)
            self._files.link(source, names.component_path(self._folder, name))
        except CorruptionError as error:
            blame(error, old.folder, old.info)
            raise
        self.written.append(component)
        reach("segment.component")

    def codes(
        self,
        name: str,
        item: tuple[str, str],
        stored: StoredCodec,
        parts: Sequence[FieldPart],
        order: ListOrder | None = None,
    ) -> RepresentationInfo:
        """Write one representation of a field, `item`, in the order of its lists or of its rows."""
        count = sum(len(part.numbers) for part in parts)
        forms = code_forms(stored.codec, count)
        pieces = code_pieces(item, stored, parts, None if order is None else order.order)
        if order is not None:
            arrays = {
                key: little_endian(found) for key, found in order.arrays(stored.codec).items()
            }
            forms = listed_forms(stored.codec, count, len(order.centroids))
            pieces = chain(arrays.items(), pieces)
        self.stream(name, names.kind_of(name), forms, pieces)
        return RepresentationInfo(item[1], name, stored.id)

    def finish(self, info: SegmentInfo, codecs: Codecs) -> SegmentInfo:
        """Write what opens the folder without its database; returns `info` with all components."""
        info = msgspec.structs.replace(info, components=tuple(self.written))
        arrays: dict[str, Array] = {"info": np.frombuffer(to_bytes(info), dtype=np.uint8)}
        for stored in codecs.values():
            for name, param in stored.params.items():
                arrays[f"codec/{stored.id}/{name}"] = param
        self.put(names.SEGMENT, "segment", arrays)
        return msgspec.structs.replace(info, components=tuple(self.written))


class _Writer:
    def __init__(
        self,
        sink: Sink,
        parts: Sequence[Part],
        schema: Schema,
        codecs: Codecs,
        *,
        sample_bytes: int,
    ) -> None:
        self._sink = sink
        self._sample_bytes = sample_bytes
        self._parts = parts
        self._schema = schema
        self._codecs = codecs
        self._count = sum(len(part.rows) for part in parts)
        assert self._count

    def write(self, segment_id: int) -> SegmentInfo:
        seqs = np.concatenate([part.source.seqs[part.rows] for part in self._parts])
        assert (seqs[1:] > seqs[:-1]).all()
        expires = self._expires()
        numbers: dict[str, Array] = {"seqs": seqs}
        if expires is not None:
            numbers["expires"] = expires
        self._strings(names.ROWS, "ids", numbers)
        self._strings(names.PAYLOADS, "payloads", {})
        columns = [self._column(number, item) for number, item in enumerate(self._schema.columns)]
        fields = [self._field(number, item) for number, item in enumerate(self._schema.vectors)]
        info = SegmentInfo(
            id=segment_id,
            rows=self._count,
            seq_min=int(seqs[0]),
            seq_max=int(seqs[-1]),
            components=(),
            fields=tuple(fields),
            columns=tuple(columns),
            expires=0 if expires is None else int(expires[expires > 0].min()),
        )
        return self._sink.finish(info, self._codecs)

    def _expires(self) -> Int64 | None:
        counts = [len(part.rows) for part in self._parts]
        found = [part.source.expires for part in self._parts]
        taken = [
            None if expires is None else expires[part.rows]
            for expires, part in zip(found, self._parts, strict=True)
        ]
        expires = concat_expires(taken, counts)
        return None if expires is None else some_expire(expires)

    def _strings(self, name: str, kind: Strings, numbers: Arrays) -> None:
        """Write ids or payloads, after some other arrays."""
        lengths = [part.source.lengths(kind, part.rows) for part in self._parts]
        offsets = make_offsets(np.concatenate(lengths), self._count)
        whole = {key: little_endian(array) for key, array in numbers.items()}
        whole[f"{kind}/offsets"] = little_endian(offsets)
        data = Shape(np.dtype(np.uint8), (int(offsets[-1]),))

        def pieces() -> Iterator[tuple[str, Array]]:
            yield from whole.items()
            start = 0
            for part in self._parts:
                bounds = offsets[start : start + len(part.rows) + 1]
                start += len(part.rows)
                for first, last in spans_of(bounds, options.CHUNK_BYTES // _INDEX_BYTES):
                    found = part.source.strings(kind, part.rows[first:last])
                    yield f"{kind}/data", found.data

        self._sink.stream(name, name, {**whole, f"{kind}/data": data}, pieces())

    def _column(self, number: int, column: Column) -> ColumnInfo:
        component = names.column_component(number)
        taken = [part.source.column(column.name).take(part.rows) for part in self._parts]
        self._sink.put(component, "column", ColumnData.concat(taken).to_arrays(""))
        return ColumnInfo(column.name, column.type, component)

    def _field(self, number: int, vector: Vector) -> FieldInfo:
        parts, rows, bounds = [], [], []
        start = 0
        for part in self._parts:
            places, numbers = owners(part.source, vector.name, part.rows)
            parts.append(FieldPart(part.source, code_rows(part.source, vector.name, numbers)))
            rows.append((start + places).astype(np.uint32))
            start += len(part.rows)
            tokens = part.source.tokens(vector.name)
            bounds += [] if tokens is None else [tokens.take(numbers)]
        count = sum(map(len, rows))
        presence = ""
        if 0 < count < self._count:
            presence = names.presence_component(number)
            self._sink.put(presence, "presence", {"rows": np.concatenate(rows)})
        parts = [part for part in parts if len(part.numbers)]
        ladder = vector.representations if count else ()
        listed = {
            spec for spec in ladder if not vector.multi and may_be_listed(spec, vector.dim, count)
        }
        order = None
        if self._sample_bytes and listed:
            order = list_order(vector, parts, self._sample_bytes, self._sink.pace)
        representations = []
        for place, spec in enumerate(ladder):
            own = order if spec in listed else None
            named = names.codes_component if own is None else names.listed_component
            item, stored = (vector.name, spec), self._codecs[vector.name, spec]
            representations.append(self._sink.codes(named(number, place), item, stored, parts, own))
        return FieldInfo(
            vector.name,
            vector.dim,
            vector.metric,
            count,
            presence,
            tuple(representations),
            *(self._tokens(number, bounds) if count and bounds else ()),
        )

    def _tokens(self, number: int, parts: Sequence[TokenBounds]) -> tuple[str, int]:
        """Write where the tokens of a multivector field lie; the component, and how many."""
        component, bounds = names.tokens_component(number), TokenBounds.concat(parts)
        self._sink.put(component, "tokens", bounds.to_arrays(""))
        return component, bounds.count
