"""Read a segment: a source whose files are mapped when first asked for, and verified as read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from vecstore.codec.base import Codec, layout_of
from vecstore.codec.spec import parse_spec
from vecstore.errors import CorruptionError, NotFoundError, StorageError
from vecstore.schema import Schema
from vecstore.segment.base import Codes, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.format import Component
from vecstore.segment.forms import check_forms, code_forms
from vecstore.segment.ids import decode_ids
from vecstore.segment.lists import Lists, is_listed, stored_lists
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, SegmentInfo
from vecstore.segment.ragged import Ragged, read_array
from vecstore.segment.rows import read_expires
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.touch import StoredTouch, blame, holds
from vecstore.storage import paths as names
from vecstore.storage.files import FileSystem
from vecstore.types import Id, Int64, Uint32, Uint64

# The codec of a representation of a field; one object for all segments that it encoded.
CodecLoader = Callable[[FieldInfo, RepresentationInfo], Codec]

_OFFSETS: dict[Strings, str] = {"ids": "ids/offsets", "payloads": "payloads/offsets"}
_DATA: dict[Strings, str] = {"ids": "ids/data", "payloads": "payloads/data"}

_Args = ParamSpec("_Args")
_Found = TypeVar("_Found")


def _blaming(
    read: Callable[Concatenate[Segment, _Args], _Found],
) -> Callable[Concatenate[Segment, _Args], _Found]:
    """A method whose CorruptionErrors say which segment it is."""

    @wraps(read)
    def run(self: Segment, /, *args: _Args.args, **keywords: _Args.kwargs) -> _Found:
        try:
            return read(self, *args, **keywords)
        except CorruptionError as error:
            blame(error, self.folder, self.info)
            raise

    return run


class Segment:
    """A segment on disk; a Source. Making one opens and reads nothing.

    Threads may share one. Its maps live as long as someone holds an array of them. What is damaged
    is a CorruptionError that has the folder, and names the file and the seqs of the segment.

    Attributes:
        info: what is in it.
        folder: where it lies.
    """

    __slots__ = (
        "__weakref__",
        "_codecs",
        "_codes",
        "_columns",
        "_expires",
        "_field_rows",
        "_files",
        "_lists",
        "_lock",
        "_open",
        "_ragged",
        "_schema",
        "_seqs",
        "_tokens",
        "folder",
        "info",
    )

    def __init__(
        self,
        files: FileSystem,
        folder: Path,
        info: SegmentInfo,
        codecs: CodecLoader,
        schema: Schema | None = None,
    ) -> None:
        self.info = info
        self.folder = folder
        self._files = files
        self._codecs = codecs
        self._schema = schema
        self._lock = Lock()
        self._open: dict[str, Component] = {}
        self._seqs: Uint64 | None = None
        self._expires: Int64 | None = None
        self._columns: dict[str, ColumnData] = {}
        self._ragged: dict[Strings, tuple[Component, Ragged]] = {}
        self._field_rows: dict[str, Uint32] = {}
        self._codes: dict[tuple[str, str], Codes] = {}
        self._tokens: dict[str, TokenBounds] = {}
        self._lists: dict[str, Lists] = {}  # by component, several specs of which may be read

    @property
    def rows(self) -> int:
        """Rows N, live or not."""
        return self.info.rows

    @property
    def seqs(self) -> Uint64:
        """The seqs, uint64 [N], ascending."""
        if self._seqs is None:
            self._seqs = self._read_seqs()
        return self._seqs

    @property
    def seq_min(self) -> int:
        """The first seq."""
        return self.info.seq_min

    @property
    def seq_max(self) -> int:
        """The last seq."""
        return self.info.seq_max

    @property
    def expires(self) -> Int64 | None:
        """When each row expires, int64 [N]; None where no row does, which needs no file."""
        if self._expires is None and self.info.expires:
            self._expires = self._read_expires()
        return self._expires

    @_blaming
    def ids(self, rows: Int64) -> list[bytes]:
        """The encoded ids of some rows."""
        return self._strings("ids", rows).pick(rows)

    @_blaming
    def decoded_ids(self, rows: Int64) -> list[Id]:
        """The ids of some rows."""
        return decode_ids(self._strings("ids", rows), rows)

    @_blaming
    def payloads(self, rows: Int64) -> list[bytes]:
        """The JSON of some rows; empty where none was given."""
        return self._strings("payloads", rows).pick(rows)

    @_blaming
    def strings(self, kind: Strings, rows: Int64) -> Ragged:
        """Encoded ids or payloads of some rows."""
        return self._strings(kind, rows).take(rows)

    @_blaming
    def lengths(self, kind: Strings, rows: Int64) -> Uint64:
        """Bytes of the encoded ids or payloads of some rows; reads only where they lie."""
        return self._bounds(kind, rows)[1].lengths(rows)

    def column(self, name: str) -> ColumnData:
        """The values of a column, one for each row; nulls where it was added later.

        Raises:
            NotFoundError: the collection has no such column.
        """
        if name not in self._columns:
            self._columns[name] = self._read_column(name)
        return self._columns[name]

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
            found = self._field_rows.setdefault(field, self._read_presence(info))
        return found

    def tokens(self, field: str) -> TokenBounds | None:
        """Where the tokens of each row of a multivector field lie; None of a vector field."""
        found = self._tokens.get(field)
        if found is None:
            info = self.info.field(field)
            if info is None or not info.bounds:
                return None
            found = self._tokens.setdefault(field, self._read_tokens(info))
        return found

    def field_count(self, field: str) -> int:
        """How many rows have a field: n."""
        info = self.info.field(field)
        return 0 if info is None else info.count

    def specs(self, field: str) -> tuple[str, ...]:
        """The representations of a field, coarse to fine; none where no row has it."""
        info = self.info.field(field)
        return () if info is None else tuple(item.spec for item in info.representations)

    def codec_id(self, field: str, spec: str) -> int | None:
        """The trained codec of a representation, 0 if nothing is trained; None: no such codes."""
        found = self._representation(field, spec)
        return None if found is None else found[1].codec

    def codes(self, field: str, spec: str) -> Codes | None:
        """The one copy of a representation's codes; None where none begins with it."""
        if (found := self._codes.get((field, spec))) is None:
            item = self._representation(field, spec) or self._containing(field, spec)
            if item is not None:
                found = self._codes.setdefault((field, spec), self._read_codes(*item))
        return found

    def verify(self, read: Callable[[int], None] | None = None) -> list[str]:
        """Read every byte of every file; what is wrong, in words.

        Args:
            read: called with the bytes of each piece that was read.
        """
        problems = []
        for info in self.info.components:
            path = names.component_path(self.folder, info.name)
            try:
                found = Component.open(self._files, path, names.kind_of(info.name), info).verify(
                    read
                )
                problems += [f"{text}; {holds(self.info)}" for text in found]
            except CorruptionError as error:
                problems.append(f"{error}; {holds(self.info)}")
            except StorageError as error:
                problems.append(str(error))
        return problems or [str(error) for error in self._unsound()]

    def _unsound(self) -> Iterator[CorruptionError]:
        """What is wrong with fields whose checksums match."""
        for field in self.info.fields:
            try:
                self._check_kind(field)
                self.field_rows(field.name)
                self.tokens(field.name)
            except CorruptionError as error:
                yield error
                continue
            for item in field.representations:
                try:
                    self._codecs(field, item)
                except CorruptionError:
                    continue  # whoever looks at codecs says so
                try:
                    self.codes(field.name, item.spec)
                except CorruptionError as error:
                    yield error

    @_blaming
    def _check_kind(self, info: FieldInfo) -> None:
        """Whether a field has tokens just where the schema says so."""
        for vector in () if self._schema is None else self._schema.vectors:
            if vector.name == info.name and info.count and vector.multi != bool(info.bounds):
                raise CorruptionError(
                    f"segment {self.info.id} has {'' if info.bounds else 'no '}bounds of tokens of "
                    f"field {info.name!r}, the schema has it as {vector}"
                )

    def _component(self, name: str, kind: str) -> Component:
        found = self._open.get(name)
        if found is None:
            with self._lock:
                found = self._open.get(name)
                if found is None:
                    path = names.component_path(self.folder, name)
                    info = self.info.component(name)
                    found = self._open[name] = Component.open(self._files, path, kind, info)
        return found

    @_blaming
    def _read_seqs(self) -> Uint64:
        component = self._component(names.ROWS, "rows")
        component.touch("seqs")
        seqs: Uint64 = read_array(component.arrays, "seqs", np.dtype(np.uint64))
        info = self.info
        if len(seqs) != info.rows or (seqs[0], seqs[-1]) != (info.seq_min, info.seq_max):
            raise CorruptionError(f"{component.path} holds other seqs than its manifest says")
        return seqs

    @_blaming
    def _read_expires(self) -> Int64:
        component = self._component(names.ROWS, "rows")
        component.whole("expires")
        found = read_expires(component.arrays, self.rows)
        if found is None or found[found > 0].min() != self.info.expires:
            raise CorruptionError(f"{component.path} expires otherwise than its manifest says")
        return found

    @_blaming
    def _read_presence(self, info: FieldInfo) -> Uint32:
        component = self._component(info.presence, "presence")
        component.touch("rows")
        found: Uint32 = read_array(component.arrays, "rows", np.dtype(np.uint32))
        if len(found) != info.count or found[-1] >= self.rows or (found[1:] <= found[:-1]).any():
            raise CorruptionError(f"{component.path} does not list {info.count} of its rows")
        return found

    @_blaming
    def _read_tokens(self, info: FieldInfo) -> TokenBounds:
        component = self._component(info.bounds, "tokens")
        component.touch("offsets")
        found = TokenBounds.from_arrays(component.arrays, "")
        if (len(found), found.count) != (info.count, info.tokens):
            raise CorruptionError(
                f"{component.path} bounds {found.count} tokens of {len(found)} rows, expected "
                f"{info.tokens} of {info.count}"
            )
        others = {name: array for name, array in component.arrays.items() if name != "offsets"}
        touch = StoredTouch((self.folder, self.info), component, others, found.count)
        return replace(found, touch=touch)

    def _strings(self, kind: Strings, rows: Int64) -> Ragged:
        """Byte strings of a component, verified where they hold `rows`."""
        component, strings = self._bounds(kind, rows)
        component.expect(rows)
        data = _DATA[kind]
        if data not in component.verified:
            starts, stops = strings.offsets[rows], strings.offsets[rows + 1]
            component.touch_spans(data, starts.astype(np.int64), stops.astype(np.int64))
        return strings

    def _bounds(self, kind: Strings, rows: Int64) -> tuple[Component, Ragged]:
        """Byte strings of a component, whose offsets are verified where they bound `rows`."""
        found = self._ragged.get(kind)
        if found is None:
            name = names.ROWS if kind == "ids" else names.PAYLOADS
            component = self._component(name, name)
            offsets = read_array(component.arrays, _OFFSETS[kind], np.dtype(np.uint64))
            data = read_array(component.arrays, _DATA[kind], np.dtype(np.uint8))
            found = self._ragged[kind] = component, Ragged(offsets=offsets, data=data)
        if _OFFSETS[kind] not in found[0].verified:
            found[0].touch_spans(_OFFSETS[kind], rows, rows + 2)
        return found

    @_blaming
    def _read_column(self, name: str) -> ColumnData:
        info = next((info for info in self.info.columns if info.name == name), None)
        if info is None:
            for column in () if self._schema is None else self._schema.columns:
                if column.name == name:
                    return ColumnData.nulls(column.type, self.rows)
            raise NotFoundError(f"segment {self.info.id} has no column {name!r}")
        component = self._component(info.component, "column")
        for array in component.arrays:
            component.touch(array)
        found = ColumnData.from_arrays(info.type, component.arrays, "")
        if len(found) != self.rows:
            raise CorruptionError(f"{component.path} has {len(found)} rows, expected {self.rows}")
        return found

    def _representation(self, field: str, spec: str) -> tuple[FieldInfo, RepresentationInfo] | None:
        info = self.info.field(field)
        for item in () if info is None else info.representations:
            if info is not None and item.spec == spec:
                return info, item
        return None

    def _containing(self, field: str, spec: str) -> tuple[FieldInfo, RepresentationInfo] | None:
        """The coarsest representation whose codes begin with those of `spec`, as if it was that."""
        info = self.info.field(field)
        for item in () if info is None else info.representations:
            if info is not None and spec in parse_spec(item.spec, info.dim).contained:
                return info, RepresentationInfo(spec, item.component, item.codec)
        return None

    @_blaming
    def _read_codes(self, field: FieldInfo, item: RepresentationInfo) -> Codes:
        component = self._component(item.component, names.kind_of(item.component))
        codec = self._codecs(field, item)
        # Of a component that holds more than these codes, the other arrays are left alone.
        parts = {name: component.array(name) for name in layout_of(codec)}
        check_forms(parts, code_forms(codec, field.codes), str(component.path))
        return Codes(
            codec=codec,
            parts=parts,
            touch=StoredTouch((self.folder, self.info), component, parts, field.codes),
            lists=self._lists_of(field, item, component) if is_listed(item) else None,
        )

    def _lists_of(self, field: FieldInfo, item: RepresentationInfo, component: Component) -> Lists:
        if item.component not in self._lists:  # `item` may be contained in what it holds
            whole = next(each for each in field.representations if each.component == item.component)
            lists = stored_lists(component, self._codecs(field, whole), field.count)
            return self._lists.setdefault(item.component, lists)
        return self._lists[item.component]
