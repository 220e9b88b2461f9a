"""The collections of a database, its trained codecs and its alterations, as stored values.

    CollectionInfo   [id, [[vector, ...], [[column, type], ...], ttl_s], altered]   if not 0
      vector         [field, dim, metric, [spec, ...], multi, pruning, pooling]
    CodecInfo        [id, collection, field, spec, dim, metric, rows, [name, bytes, crc]]
    AlterJob         [field, [spec, ...], [[old segment's id, SegmentInfo], ...], pruning, pooling]

Each after one byte, the version of stored values, in MessagePack. A collection with a multivector
field has version 2, and an alteration of policies 3, so that those who know none refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from vecstore.errors import CorruptionError, SchemaError
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.segment.manifest import ComponentInfo, Manifest, SegmentInfo, from_bytes, to_bytes
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import ColumnType, Metric

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _VectorData(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dim: int
    metric: Metric
    representations: tuple[str, ...]
    multi: bool = False
    pruning: str = ""
    pooling: str = ""


class _ColumnData(msgspec.Struct, frozen=True, array_like=True):
    name: str
    type: ColumnType


class _SchemaData(msgspec.Struct, frozen=True, array_like=True):
    vectors: tuple[_VectorData, ...]
    columns: tuple[_ColumnData, ...]
    ttl_s: float | None = None


class _CollectionData(msgspec.Struct, frozen=True, array_like=True):
    id: _Count
    schema: _SchemaData


class _AlteredData(_CollectionData, frozen=True, array_like=True):
    altered: _Count = 0


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection.

    Attributes:
        id: a number that no other collection ever had.
        name: what users call it.
        schema: its fields, with every representation spelled out.
        altered: how many times its schema was changed, and with it perhaps the write buffer.
    """

    id: int
    name: str
    schema: Schema
    altered: int = 0

    def to_bytes(self) -> bytes:
        """What is stored under the name."""
        version = 2 if any(vector.multi for vector in self.schema.vectors) else 1
        plain = _plain(self.schema)
        if not self.altered:
            return to_bytes(_CollectionData(self.id, plain), version)
        return to_bytes(_AlteredData(self.id, plain, self.altered), version)

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> CollectionInfo:
        """The inverse of `to_bytes`.

        Raises:
            FormatVersionError: a newer version wrote it.
            CorruptionError: it is no collection.
        """
        found = from_bytes(_AlteredData, data)
        return cls(found.id, name, _checked(found.schema), found.altered)


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


class BuiltSegment(msgspec.Struct, frozen=True, array_like=True):
    """A segment that an alteration has made, which no manifest names yet.

    Attributes:
        old: the id of the segment whose rows it has.
        info: the segment that will take its place.
    """

    old: _Count
    info: SegmentInfo


class AlterJob(msgspec.Struct, frozen=True, array_like=True):
    """A change of one field that is under way.

    Attributes:
        field: the vector field.
        representations: the whole ladder that it will have, coarse to fine.
        built: what is made so far.
        pruning: the policy that it will have; None: the one that it has.
        pooling: likewise.
    """

    field: str
    representations: tuple[str, ...]
    built: tuple[BuiltSegment, ...] = ()
    pruning: str | None = None
    pooling: str | None = None

    def asks_for(self, other: AlterJob) -> bool:
        """Whether both shall come to the same."""
        return msgspec.structs.replace(self, built=()) == msgspec.structs.replace(other, built=())

    def to_bytes(self) -> bytes:
        """What is stored."""
        plain = self.pruning is None and self.pooling is None
        return to_bytes(self, 1 if plain else 3)

    def manifest(self) -> Manifest:
        """What is made so far as a manifest: its folders and codecs are in use."""
        return Manifest(segments=tuple(item.info for item in self.built))


def alter_jobs(txn: Txn) -> dict[int, AlterJob]:
    """The alterations under way, by the id of their collection.

    Raises:
        CorruptionError, FormatVersionError: one cannot be read.
    """
    return {
        keys.parse_collection_key(key): from_bytes(AlterJob, value)
        for key, value in txn.scan(keys.JOBS)
    }


def _plain(schema: Schema) -> _SchemaData:
    return _SchemaData(
        tuple(_vector_data(vector) for vector in schema.vectors),
        tuple(_ColumnData(column.name, column.type) for column in schema.columns),
        schema.ttl_s,
    )


def _vector_data(vector: Vector) -> _VectorData:
    told = _VectorData(vector.name, vector.dim, vector.metric, tuple(vector.representations))
    if not isinstance(vector, MultiVector):
        return told
    policies = {"pruning": vector.pruning, "pooling": vector.pooling}
    return msgspec.structs.replace(told, multi=True, **policies)


def _vector(data: _VectorData) -> Vector:
    told = (data.name, data.dim, data.metric, data.representations)
    return MultiVector(*told, data.pruning, data.pooling) if data.multi else Vector(*told)


def _checked(data: _SchemaData) -> Schema:
    try:
        return Schema(
            vectors=tuple(_vector(vector) for vector in data.vectors),
            columns=tuple(Column(column.name, column.type) for column in data.columns),
            ttl_s=data.ttl_s,
        )
    except SchemaError as error:
        raise CorruptionError(f"a stored schema cannot be: {error}") from error
