"""Which collections a database has."""

from __future__ import annotations

from contextlib import suppress

from vecstore.errors import CorruptionError, StorageError
from vecstore.schema import Schema
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.codecs import codecs_of
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import Manifest, from_bytes, to_bytes
from vecstore.segment.meta import next_number
from vecstore.storage import keys
from vecstore.storage.kv import Txn


def names(environment: Environment) -> list[str]:
    """The names of all collections, sorted."""
    with environment.kv.read() as txn:
        return sorted(keys.parse_name(key) for key in txn.keys(keys.COLLECTIONS))


def find(environment: Environment, name: str) -> CollectionInfo | None:
    """The collection of that name, if there is one."""
    with environment.kv.read() as txn:
        stored = txn.get(keys.COLLECTIONS, keys.name_key(name))
    return None if stored is None else CollectionInfo.from_bytes(name, stored)


def create(environment: Environment, name: str, schema: Schema) -> None:
    """Add a collection; its ladders are spelled out."""
    with environment.kv.write() as txn:
        number = next_number(txn, keys.NEXT_COLLECTION)
        info = CollectionInfo(number, name, schema)
        txn.put(keys.COLLECTIONS, keys.name_key(name), info.to_bytes())
        txn.put(keys.MANIFESTS, keys.collection_key(info.id), to_bytes(Manifest()))


def drop(environment: Environment, info: CollectionInfo) -> None:
    """Remove a collection: first from LMDB, then its files.

    A crash in between leaves files that nothing names, which the next open removes.
    """
    with environment.kv.write() as txn:
        manifest = _manifest(txn, info)
        txn.delete(keys.COLLECTIONS, keys.name_key(info.name))
        start, stop = keys.collection_range(info.id)
        for db in (keys.MANIFESTS, keys.IDS, keys.BUFFER, keys.TOMBSTONES):
            txn.delete_range(db, start, stop)
        trained = _trained(txn, info)
        for codec in trained:
            txn.delete(keys.CODECS, keys.codec_key(codec))
    # What cannot be removed now, the next open for writing removes.
    with suppress(StorageError):
        for segment in manifest.segments:
            environment.files.remove(environment.paths.segment(segment.id))
        for codec in trained:
            environment.files.remove(environment.paths.codec(codec))


def _manifest(txn: Txn, info: CollectionInfo) -> Manifest:
    """The manifest, or an empty one where it is damaged: a collection can always be dropped."""
    try:
        stored = txn.get(keys.MANIFESTS, keys.collection_key(info.id))
        return Manifest() if stored is None else from_bytes(Manifest, stored)
    except CorruptionError:
        return Manifest()


def _trained(txn: Txn, info: CollectionInfo) -> list[int]:
    try:
        return [codec.id for codec in codecs_of(txn, info)]
    except CorruptionError:
        return []
