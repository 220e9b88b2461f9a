"""The codecs of one collection: training-free ones are made, trained ones are read from files.

A trained codec is a component of kind "codec" at `codecs/<id>`, named by a CodecInfo in LMDB. It
is never changed; what is trained later gets another id, and both serve side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from vecstore.codec import Codec, build_codec, parse_spec, train_codec
from vecstore.codec.base import Rest, no_rest
from vecstore.schema import Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.catalog import CodecInfo, CollectionInfo
from vecstore.segment.format import Component
from vecstore.segment.layout import Arrays
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, from_bytes, to_bytes
from vecstore.segment.stream import write_component
from vecstore.storage import keys
from vecstore.storage.files import FileSystem
from vecstore.storage.kv import Kv, Txn
from vecstore.storage.paths import Paths
from vecstore.types import Float32

KIND = "codec"
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecShelf:
    """Loads each codec once."""

    kv: Kv
    files: FileSystem
    paths: Paths
    collection: CollectionInfo
    loaded: dict[tuple[str, str, int], StoredCodec] = field(default_factory=dict)

    def load(self, field: FieldInfo, item: RepresentationInfo) -> Codec:
        """The codec that encoded a representation of a field in a segment."""
        return self.stored(field.name, item.spec, item.codec).codec

    def stored(self, name: str, spec: str, codec: int) -> StoredCodec:
        """A codec of the field `name`, with what builds it again; id 0 if nothing is trained."""
        key = (name, spec, codec)
        found = self.loaded.get(key)
        if found is None:
            params = self._params(codec) if codec else {}
            built = _build(self.collection.schema.vector(name), spec, params)
            found = StoredCodec(id=codec, codec=built, params=params)
            self.loaded[key] = found
        return found

    def codec_of(self, name: str, spec: str, codec: int) -> Codec:
        """What `stored` gives, for a block of the write buffer."""
        return self.stored(name, spec, codec).codec

    def train(
        self, codec: int, vector: Vector, spec: str, sample: Float32, rest: Rest = no_rest
    ) -> CodecInfo:
        """Train a codec and write its file; nothing names it until its info is committed.

        Args:
            codec: its id, never given out before.
            vector: the field.
            spec: the representation.
            sample: float32 [n, D], n at least 1.
            rest: called now and then.
        """
        parsed = parse_spec(spec, vector.dim)
        params = train_codec(parsed, vector.dim, vector.metric, sample, SEED, rest)
        temporary = self.paths.codec_temporary(codec)
        self.files.remove(temporary)
        written = write_component(self.files, temporary, KIND, params)
        file = msgspec.structs.replace(written, name=self.paths.codec(codec).name)
        self.files.rename(temporary, self.paths.codec(codec))
        self.files.sync_dir(self.paths.codecs)
        built = _build(vector, spec, params)
        self.loaded[vector.name, spec, codec] = StoredCodec(id=codec, codec=built, params=params)
        return CodecInfo(
            id=codec,
            collection=self.collection.id,
            field=vector.name,
            spec=spec,
            dim=vector.dim,
            metric=vector.metric,
            rows=len(sample),
            file=file,
        )

    def forget(self, info: CodecInfo) -> None:
        """Take back a codec whose info was not committed."""
        self.loaded.pop((info.field, info.spec, info.id), None)

    def _params(self, codec: int) -> Arrays:
        with self.kv.read() as txn:
            value = txn.get(keys.CODECS, keys.codec_key(codec))
        path = self.paths.codec(codec)
        # No entry: what still reads it is older than the commit that took it away.
        file = None if value is None else from_bytes(CodecInfo, value).file
        component = Component.open(self.files, path, KIND, file)
        return {name: component.whole(name) for name in component.arrays}


def codecs_of(txn: Txn, collection: CollectionInfo) -> list[CodecInfo]:
    """The trained codecs of a collection, oldest first."""
    found = [from_bytes(CodecInfo, value) for _, value in txn.scan(keys.CODECS)]
    return [info for info in found if info.collection == collection.id]


def put_info(txn: Txn, info: CodecInfo) -> None:
    """Name a codec's file."""
    txn.put(keys.CODECS, keys.codec_key(info.id), to_bytes(info))


def _build(vector: Vector, spec: str, params: Arrays) -> Codec:
    return build_codec(parse_spec(spec, vector.dim), vector.dim, vector.metric, params)
