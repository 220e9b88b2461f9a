"""A segment again with other representations: what did not change is linked, not copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import msgspec
import numpy as np

from vecstore.errors import CorruptionError
from vecstore.schema import Schema, Vector
from vecstore.segment.encode import Codecs, FieldPart
from vecstore.segment.manifest import FieldInfo, SegmentInfo
from vecstore.segment.reader import Segment
from vecstore.segment.reducing import Reducing
from vecstore.segment.reduction import Reduction
from vecstore.segment.stream import Pace, no_pace
from vecstore.segment.touch import blame
from vecstore.segment.writer import Sink, new_folder
from vecstore.storage import paths as names
from vecstore.storage.files import FileSystem
from vecstore.storage.paths import Paths


def relink_segment(
    files: FileSystem,
    paths: Paths,
    segment_id: int,
    old: Segment,
    *,
    schema: Schema,
    codecs: Codecs,
    rebuild: frozenset[tuple[str, str]] = frozenset(),
    reduction: Reduction | None = None,
    pace: Pace = no_pace,
) -> SegmentInfo:
    """Write a segment with the rows of another, durably; it is not named by a manifest yet.

    Args:
        files: where to.
        paths: of the database.
        segment_id: never given out before.
        old: the other segment, which stays as it is.
        schema: the representations that the new one has. Those that `old` has from the same codec
            are linked; others are encoded from the finest one that can be read whole.
        codecs: one for each representation in the schema of a field that some row has.
        rebuild: (field, spec) of codes that are encoded again, and not encoded from.
        reduction: what is to be done to the tokens of one field.
        pace: called with the bytes of each piece that was written.

    Returns:
        What the manifest needs to know.

    Raises:
        DatabaseFullError, StorageError: the segment must not be named.
        CorruptionError: no representation of a field can be read whole.
    """
    info = old.info
    with new_folder(files, paths, segment_id) as folder:
        sink = Sink(files, folder, pace)
        sink.link(old, names.ROWS)
        sink.link(old, names.PAYLOADS)
        for column in info.columns:
            sink.link(old, column.component)
        fields = []
        for number, vector in enumerate(schema.vectors):
            field = _Field(sink, old, vector, number)
            if reduction and reduction.field.name == vector.name and old.field_count(vector.name):
                work = Reducing(files, folder, old, reduction, pace)
                fields.append(field.write_reduced(codecs, work))
            else:
                fields.append(field.write(codecs, rebuild))
        new = msgspec.structs.replace(info, id=segment_id, fields=tuple(fields))
        return sink.finish(new, codecs)


class _Field:
    """The representations of one vector field of a segment under way."""

    def __init__(self, sink: Sink, old: Segment, vector: Vector, number: int) -> None:
        self._sink = sink
        self._old = old
        self._vector = vector
        self._number = number

    def write(self, codecs: Codecs, rebuild: frozenset[tuple[str, str]]) -> FieldInfo:
        name = self._vector.name
        info = self._old.info.field(name)
        if info is None or not info.count:
            return FieldInfo(name, self._vector.dim, self._vector.metric, 0, "", ())
        sound = {
            item.spec: item for item in info.representations if (name, item.spec) not in rebuild
        }
        for component in filter(None, (info.presence, info.bounds)):
            self._sink.link(self._old, component)
        unused = self._unused()
        parts: list[FieldPart] = []
        written = []
        for spec in self._vector.representations:
            stored, item = codecs[name, spec], sound.get(spec)
            if item is not None and item.codec == stored.id:
                self._sink.link(self._old, item.component)
                written.append(item)
                continue
            parts = parts or [self._finest(sound, info.codes)]
            written.append(self._sink.codes(next(unused), (name, spec), stored, parts))
        return msgspec.structs.replace(info, representations=tuple(written))

    def write_reduced(self, codecs: Codecs, work: Reducing) -> FieldInfo:
        """Fewer tokens: all codes anew, copied where the tokens are those that there were."""
        name = self._vector.name
        info = self._old.info.field(name)
        assert info is not None
        if info.presence:
            self._sink.link(self._old, info.presence)
        with work.done() as (part, bounds):
            self._sink.put(info.bounds, "tokens", bounds.to_arrays(""))
            written = [
                self._sink.codes(
                    names.codes_component(self._number, place),
                    (name, spec),
                    codecs[name, spec],
                    [part],
                )
                for place, spec in enumerate(self._vector.representations)
            ]
        return msgspec.structs.replace(info, representations=tuple(written), tokens=bounds.count)

    def _unused(self) -> Iterator[str]:
        """Names of components that the old segment does not have."""
        used = {component.name for component in self._old.info.components}
        every = (names.codes_component(self._number, place) for place in count())
        return (name for name in every if name not in used)

    def _finest(self, sound: Iterable[str], rows: int) -> FieldPart:
        """All codes, to be encoded from the finest codes without damage."""
        error = CorruptionError(
            f"no representation of {self._vector.name!r} in {self._old.folder} is left to read"
        )
        blame(error, self._old.folder, self._old.info)
        for spec in reversed(tuple(sound)):
            try:
                codes = self._old.codes(self._vector.name, spec)
                assert codes is not None
                codes.touch()
                return FieldPart(self._old, np.arange(rows, dtype=np.int64), spec)
            except CorruptionError as found:
                error = found
        raise error
