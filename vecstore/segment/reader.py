"""Read a segment: a source whose files are mapped when first asked for, and verified as read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

from vecstore.codec import build_codec
from vecstore.codec.base import Codec
from vecstore.codec.spec import parse_spec
from vecstore.errors import CorruptionError, NotFoundError, StorageError
from vecstore.segment.base import Codes
from vecstore.segment.columns import ColumnData
from vecstore.segment.format import Component
from vecstore.segment.layout import Arrays
from vecstore.segment.manifest import (
    ColumnInfo,
    FieldInfo,
    RepresentationInfo,
    SegmentInfo,
    from_bytes,
)
from vecstore.segment.ragged import Ragged, read_array
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.vectors import field_vectors
from vecstore.storage import paths as names
from vecstore.storage.files import FileSystem
from vecstore.types import Int64, Uint32, Uint64

# The codec of a representation of a field; one object for all segments that it encoded.
CodecLoader = Callable[[FieldInfo, RepresentationInfo], Codec]


class Segment:
    """A segment on disk; a Source. Making one opens and reads nothing.

    Threads may share one. Its maps live as long as someone holds an array of them.
    """

    __slots__ = (
        "_codecs",
        "_codes",
        "_columns",
        "_field_rows",
        "_files",
        "_folder",
        "_lock",
        "_open",
        "_seqs",
        "info",
    )

    def __init__(
        self,
        files: FileSystem,
        folder: Path,
        info: SegmentInfo,
        codecs: CodecLoader,
    ) -> None:
        self.info = info
        self._files = files
        self._folder = folder
        self._codecs = codecs
        self._lock = Lock()
        self._open: dict[str, Component] = {}
        self._seqs: Uint64 | None = None
        self._columns: dict[str, ColumnData] = {}
        self._field_rows: dict[str, Uint32] = {}
        self._codes: dict[tuple[str, str], Codes] = {}

    @property
    def rows(self) -> int:
        """Rows N, live or not."""
        return self.info.rows

    @property
    def seqs(self) -> Uint64:
        """The seqs, uint64 [N], ascending."""
        if self._seqs is None:
            component = self._component(names.ROWS, "rows")
            component.touch("seqs")
            seqs = read_array(component.arrays, "seqs", np.dtype(np.uint64))
            info = self.info
            if len(seqs) != info.rows or (seqs[0], seqs[-1]) != (info.seq_min, info.seq_max):
                raise CorruptionError(f"{component.path} holds other seqs than its manifest says")
            self._seqs = seqs
        return self._seqs

    @property
    def seq_min(self) -> int:
        """The first seq."""
        return self.info.seq_min

    @property
    def seq_max(self) -> int:
        """The last seq."""
        return self.info.seq_max

    def ids(self, rows: Int64) -> list[bytes]:
        """The encoded ids of some rows."""
        return self._ragged(names.ROWS, "ids/", rows).pick(rows)

    def payloads(self, rows: Int64) -> list[bytes]:
        """The JSON of some rows; empty where none was given."""
        return self._ragged(names.PAYLOADS, "payloads/", rows).pick(rows)

    def column(self, name: str) -> ColumnData:
        """The values of a column, one for each row.

        Raises:
            NotFoundError: the schema had no such column when the segment was written.
        """
        found = self._columns.get(name)
        if found is None:
            for info in self.info.columns:
                if info.name == name:
                    found = self._columns[name] = self._read_column(info)
                    return found
            raise NotFoundError(f"segment {self.info.id} has no column {name!r}")
        return found

    def fields(self) -> tuple[str, ...]:
        """The vector fields that some row has."""
        return tuple(field.name for field in self.info.fields if field.count)

    def field_rows(self, field: str) -> Uint32 | None:
        """The ascending rows that have a field, uint32 [n]; None where all have it or none."""
        found = self._field_rows.get(field)
        if found is None:
            info = self.info.field(field)
            if info is None or not info.presence:
                return None
            component = self._component(info.presence, "presence")
            component.touch("rows")
            found = read_array(component.arrays, "rows", np.dtype(np.uint32))
            if (
                len(found) != info.count
                or found[-1] >= self.rows
                or (found[1:] <= found[:-1]).any()
            ):
                raise CorruptionError(f"{component.path} does not list {info.count} of its rows")
            self._field_rows[field] = found
        return found

    def field_count(self, field: str) -> int:
        """How many rows have a field: n."""
        info = self.info.field(field)
        return 0 if info is None else info.count

    def specs(self, field: str) -> tuple[str, ...]:
        """The representations of a field, coarse to fine; none where no row has it."""
        info = self.info.field(field)
        return () if info is None else tuple(item.spec for item in info.representations)

    def codes(self, field: str, spec: str) -> Codes | None:
        """The codes of one representation, or None where there is none of that spec."""
        found = self._codes.get((field, spec))
        if found is None:
            info = self.info.field(field)
            for item in () if info is None else info.representations:
                if info is not None and item.spec == spec:
                    found = self._codes[field, spec] = self._read_codes(info, item)
        return found

    def read_rows(self, rows: Int64) -> Rows:
        """Whole records, to write again: vectors as precise as the segment has them.

        Args:
            rows: int64 [n], ascending.
        """
        return Rows(
            seqs=self.seqs[rows],
            ids=self._ragged(names.ROWS, "ids/", rows).take(rows),
            payloads=self._ragged(names.PAYLOADS, "payloads/", rows).take(rows),
            columns={
                column.name: self.column(column.name).take(rows) for column in self.info.columns
            },
            vectors={field.name: self._read_vectors(field, rows) for field in self.info.fields},
        )

    def verify(self) -> list[str]:
        """Read every byte of every file; what is wrong, in words."""
        problems = []
        for info in self.info.components:
            path = names.component_path(self._folder, info.name)
            try:
                problems += Component.open(self._files, path, _kind(info.name), info).verify()
            except StorageError as error:
                problems.append(str(error))
        return problems

    def _component(self, name: str, kind: str) -> Component:
        found = self._open.get(name)
        if found is None:
            with self._lock:
                found = self._open.get(name)
                if found is None:
                    path = names.component_path(self._folder, name)
                    info = self.info.component(name)
                    found = self._open[name] = Component.open(self._files, path, kind, info)
        return found

    def _ragged(self, name: str, prefix: str, rows: Int64) -> Ragged:
        """Byte strings of a component, verified where they hold `rows`."""
        component = self._component(name, name)
        offsets = read_array(component.arrays, prefix + "offsets", np.dtype(np.uint64))
        data = read_array(component.arrays, prefix + "data", np.dtype(np.uint8))
        component.touch_spans(prefix + "offsets", rows, rows + 2)
        if prefix + "data" not in component.verified:
            starts, stops = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
            component.touch_spans(prefix + "data", starts, stops)
        return Ragged(offsets=offsets, data=data)

    def _read_column(self, info: ColumnInfo) -> ColumnData:
        component = self._component(info.component, "column")
        for array in component.arrays:
            component.touch(array)
        found = ColumnData.from_arrays(info.type, component.arrays, "")
        if len(found) != self.rows:
            raise CorruptionError(f"{component.path} has {len(found)} rows, expected {self.rows}")
        return found

    def _read_codes(self, field: FieldInfo, item: RepresentationInfo) -> Codes:
        component = self._component(item.component, "codes")
        return Codes(
            codec=self._codecs(field, item),
            parts=component.arrays,
            touch=_Touch(component, field.count),
        )

    def _read_vectors(self, field: FieldInfo, rows: Int64) -> FieldVectors:
        specs = self.specs(field.name)
        dtype = np.dtype(np.float16 if specs and specs[-1] == "float16" else np.float32)
        if not specs:
            return FieldVectors.empty(field.dim, len(rows), dtype)
        places, values = field_vectors(self, field.name, rows)
        everywhere = len(places) == len(rows)
        return FieldVectors(
            rows=None if everywhere else places.astype(np.uint32), values=values.astype(dtype)
        )


class _Touch:
    """Verifies codes. An array of them has an item for each row, or for 2, 4, 8 ... rows."""

    __slots__ = ("_component", "_shifts")

    def __init__(self, component: Component, rows: int) -> None:
        self._component = component
        self._shifts = {
            name: _shift(len(array) if array.ndim else 0, rows)
            for name, array in component.arrays.items()
        }

    def __call__(self, rows: Int64 | None = None) -> None:
        if len(self._component.verified) == len(self._shifts):
            return
        for name, shift in self._shifts.items():
            if rows is None or shift is None:
                self._component.touch(name)
            else:
                self._component.touch(name, rows if not shift else rows // (1 << shift))


def open_segment(files: FileSystem, folder: Path) -> Segment:
    """Open a segment's folder alone, without its database.

    Raises:
        CorruptionError: it is no such folder, or damaged.
    """
    component = Component.open(files, names.component_path(folder, names.SEGMENT), "segment", None)
    info = from_bytes(SegmentInfo, component.whole("info").tobytes())

    def load(field: FieldInfo, item: RepresentationInfo) -> Codec:
        prefix = f"codec/{item.codec}/"
        params: Arrays = {
            name.removeprefix(prefix): component.whole(name)
            for name in component.arrays
            if item.codec and name.startswith(prefix)
        }
        spec = parse_spec(item.spec, field.dim)
        return build_codec(spec, field.dim, field.metric, params)

    return Segment(files, folder, info, load)


def _shift(items: int, rows: int) -> int | None:
    """The s for which each of the items stands for 2**s rows; None where there is no such s."""
    for shift in range(rows.bit_length() + 1):
        if (rows + (1 << shift) - 1) >> shift == items:
            return shift
    return None


def _kind(component: str) -> str:
    """What a component of that name holds: the first word of the name."""
    return component.partition("-")[0]
