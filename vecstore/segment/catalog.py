"""The collections of a database and its trained codecs, as stored values.

    CollectionInfo   [id, [[[field, dim, metric, [spec, ...]], ...], [[column, type], ...]]]
    CodecInfo        [id, collection, field, spec, dim, metric, rows, [name, bytes, crc]]

Each after one byte, the version of stored values, in MessagePack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from vecstore.errors import CorruptionError, SchemaError
from vecstore.schema import Column, Schema, Vector
from vecstore.segment.manifest import ComponentInfo, from_bytes, to_bytes
from vecstore.types import ColumnType, Metric

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _VectorData(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dim: int
    metric: Metric
    representations: tuple[str, ...]


class _ColumnData(msgspec.Struct, frozen=True, array_like=True):
    name: str
    type: ColumnType


class _SchemaData(msgspec.Struct, frozen=True, array_like=True):
    vectors: tuple[_VectorData, ...]
    columns: tuple[_ColumnData, ...]


class _CollectionData(msgspec.Struct, frozen=True, array_like=True):
    id: _Count
    schema: _SchemaData


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection.

    Attributes:
        id: a number that no other collection ever had.
        name: what users call it.
        schema: its fields, with every representation spelled out.
    """

    id: int
    name: str
    schema: Schema

    def to_bytes(self) -> bytes:
        """What is stored under the name."""
        return to_bytes(_CollectionData(self.id, _plain(self.schema)))

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> CollectionInfo:
        """The inverse of `to_bytes`.

        Raises:
            FormatVersionError: a newer version wrote it.
            CorruptionError: it is no collection.
        """
        found = from_bytes(_CollectionData, data)
        return cls(found.id, name, _checked(found.schema))


class CodecInfo(msgspec.Struct, frozen=True, array_like=True):
    """A trained codec.

    Attributes:
        id: names its file, a component of kind "codec" that holds its parameters.
        collection: the id of the collection it was trained for.
        field: the vector field.
        spec: the representation.
        dim: dimensions of the field.
        metric: of the field.
        rows: how many vectors it was trained on.
        file: its file.
    """

    id: _Count
    collection: _Count
    field: str
    spec: str
    dim: _Count
    metric: Metric
    rows: _Count
    file: ComponentInfo


def _plain(schema: Schema) -> _SchemaData:
    return _SchemaData(
        tuple(
            _VectorData(vector.name, vector.dim, vector.metric, tuple(vector.representations))
            for vector in schema.vectors
        ),
        tuple(_ColumnData(column.name, column.type) for column in schema.columns),
    )


def _checked(data: _SchemaData) -> Schema:
    try:
        return Schema(
            vectors=tuple(
                Vector(vector.name, vector.dim, vector.metric, vector.representations)
                for vector in data.vectors
            ),
            columns=tuple(Column(column.name, column.type) for column in data.columns),
        )
    except SchemaError as error:
        raise CorruptionError(f"a stored schema cannot be: {error}") from error
