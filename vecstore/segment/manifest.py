"""Which segments a collection has, and what is in them; a value that each commit replaces.

Stored values are one byte, their version, and then MessagePack arrays of the fields
in the order below. The version is the lowest that all readers of it understand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from vecstore.errors import CorruptionError, FormatVersionError
from vecstore.types import ColumnType, Metric

_VERSION, _VERSION_MAX = 1, 3
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Value = TypeVar("_Value")


class ComponentInfo(msgspec.Struct, frozen=True, array_like=True):
    """A file of a segment.

    Attributes:
        name: the file's name.
        bytes: its length.
        crc: its own checksum, which names its content.
    """

    name: str
    bytes: _Count
    crc: _Count


class RepresentationInfo(msgspec.Struct, frozen=True, array_like=True):
    """One representation of a field.

    Attributes:
        spec: such as "bits1".
        component: the name of the component that holds its codes.
        codec: the id of the trained codec that made them, 0 where nothing was trained.
    """

    spec: str
    component: str
    codec: _Count


class FieldInfo(msgspec.Struct, frozen=True, array_like=True):
    """A vector field in a segment.

    Attributes:
        name: of the field.
        dim: its dimensions D.
        metric: its metric.
        count: rows that have it.
        presence: the name of the component that lists them, "" where all have it or none.
        representations: coarse to fine; none where no row has the field.
        bounds: of a multivector field the name of the component that says where the tokens of each
            row lie, "" where no row has it; "" of a vector field.
        tokens: how many of them there are.
    """

    name: str
    dim: _Count
    metric: Metric
    count: _Count
    presence: str
    representations: tuple[RepresentationInfo, ...]
    bounds: str = ""
    tokens: _Count = 0

    @property
    def codes(self) -> int:
        """Codes of each representation."""
        return self.tokens if self.bounds else self.count


class ColumnInfo(msgspec.Struct, frozen=True, array_like=True):
    """A column in a segment.

    Attributes:
        name: of the column.
        type: of its values.
        component: the name of the component that holds them.
    """

    name: str
    type: ColumnType
    component: str


class SegmentInfo(msgspec.Struct, frozen=True, array_like=True):
    """A segment.

    Attributes:
        id: names its directory.
        rows: rows N, at least 1.
        seq_min: the seq of the first row.
        seq_max: the seq of the last row.
        components: its files.
        fields: its vector fields.
        columns: its columns.
        expires: when the first of its rows expires, in microseconds since 1970; 0: none does.
    """

    id: _Count
    rows: _Count
    seq_min: _Count
    seq_max: _Count
    components: tuple[ComponentInfo, ...]
    fields: tuple[FieldInfo, ...]
    columns: tuple[ColumnInfo, ...]
    expires: _Count = 0

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(component.bytes for component in self.components)

    def component(self, name: str) -> ComponentInfo:
        """The file of that name.

        Raises:
            CorruptionError: there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        raise CorruptionError(f"segment {self.id} has no component {name!r}")

    def field(self, name: str) -> FieldInfo | None:
        """The vector field of that name, or None where the schema had none then."""
        for field in self.fields:
            if field.name == name:
                return field
        return None


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """The state of a collection.

    Attributes:
        segments: oldest first.
        next_seq: the seq of the next record.
        live: records that were neither deleted nor written again.
    """

    segments: tuple[SegmentInfo, ...] = ()
    next_seq: _Count = 0
    live: _Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEdit:
    """What one commit changes.

    Attributes:
        added: new segments.
        removed: ids of segments that are no longer read.
        seqs: how many seqs were given out.
        live: by how much the number of live records changes.
    """

    added: tuple[SegmentInfo, ...] = ()
    removed: frozenset[int] = frozenset()
    seqs: int = 0
    live: int = 0


def apply(manifest: Manifest, edit: ManifestEdit) -> Manifest:
    """The manifest after an edit; segments in the order of their first seq."""
    kept = [segment for segment in manifest.segments if segment.id not in edit.removed]
    assert len(kept) + len(edit.removed) == len(manifest.segments)
    return Manifest(
        segments=tuple(sorted([*kept, *edit.added], key=lambda segment: segment.seq_min)),
        next_seq=manifest.next_seq + edit.seqs,
        live=manifest.live + edit.live,
    )


def codecs_in_use(manifests: Iterable[Manifest]) -> frozenset[int]:
    """The ids of the trained codecs that segments were written with."""
    return frozenset(
        representation.codec
        for manifest in manifests
        for segment in manifest.segments
        for field in segment.fields
        for representation in field.representations
        if representation.codec
    )


def to_bytes(value: msgspec.Struct, version: int = _VERSION) -> bytes:
    """A stored value as bytes; `version` is larger for what readers of 1 would misread."""
    return bytes([version]) + msgspec.msgpack.encode(value)


def from_bytes(kind: type[_Value], data: bytes) -> _Value:
    """The inverse of `to_bytes`.

    Args:
        kind: the class of the value.
        data: its bytes.

    Raises:
        FormatVersionError: a newer version wrote it.
        CorruptionError: it is no such value.
    """
    if data[:1] > bytes([_VERSION_MAX]):
        raise FormatVersionError(
            f"a {kind.__name__} has format version {data[0]}, this vecstore reads up to "
            f"{_VERSION_MAX}; open it with a newer vecstore"
        )
    try:
        if data[:1] < bytes([_VERSION]):
            raise ValueError("it has no version")
        return msgspec.msgpack.decode(data[1:], type=kind)
    except (ValueError, msgspec.MsgspecError) as error:
        raise CorruptionError(f"a {kind.__name__} is damaged: {error}") from error
