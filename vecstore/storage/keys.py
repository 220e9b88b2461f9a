"""The LMDB databases and their keys, which sort as the numbers in them do.

    meta         name                                     a number, u64 little-endian
                 "identity"                               16 random bytes
    collections  name, UTF-8                              CollectionInfo
    manifests    collection u32                           Manifest
    ids          collection u32 | encoded id              seq, u64 little-endian
    buffer       collection u32 | first seq u64           packed rows
    tombstones   collection u32 | chunk u32               4,000 bytes, a bit for each seq
    codecs       codec u64                                CodecInfo
    scores       codec u64                                reserved: a score version
    jobs         collection u32                           AlterJob: an `alter` under way
    recalls      collection u32 | field, UTF-8            RecallInfo: what was measured last

Numbers in keys are big-endian, so that the order of bytes is the order of numbers.
"""

from __future__ import annotations

META = "meta"
COLLECTIONS = "collections"
MANIFESTS = "manifests"
IDS = "ids"
BUFFER = "buffer"
TOMBSTONES = "tombstones"
CODECS = "codecs"
SCORES = "scores"
JOBS = "jobs"
RECALLS = "recalls"
DATABASES = (
    META,
    COLLECTIONS,
    MANIFESTS,
    IDS,
    BUFFER,
    TOMBSTONES,
    CODECS,
    SCORES,
    JOBS,
    RECALLS,
)

FORMAT = b"format"
NEXT_COLLECTION = b"next_collection"
NEXT_SEGMENT = b"next_segment"
NEXT_CODEC = b"next_codec"
IDENTITY = b"identity"

_PREFIX = 4


def name_key(name: str) -> bytes:
    """The key of a collection in `collections`."""
    return name.encode()


def parse_name(key: bytes) -> str:
    """The inverse of name_key."""
    return key.decode()


def collection_key(collection: int) -> bytes:
    """The key of a manifest, and the first bytes of every key of a collection."""
    return collection.to_bytes(_PREFIX, "big")


def parse_collection_key(key: bytes) -> int:
    """The inverse of collection_key."""
    return int.from_bytes(key, "big")


def collection_range(collection: int) -> tuple[bytes, bytes | None]:
    """The first key of a collection and the first key after it; None where none can follow."""
    following = collection + 1
    stop = None if following >> 8 * _PREFIX else collection_key(following)
    return collection_key(collection), stop


def id_key(collection: int, encoded_id: bytes) -> bytes:
    """The key of a record's id in `ids`."""
    return collection_key(collection) + encoded_id


def parse_id_key(key: bytes) -> tuple[int, bytes]:
    """The inverse of id_key."""
    return int.from_bytes(key[:_PREFIX], "big"), key[_PREFIX:]


def buffer_key(collection: int, first_seq: int) -> bytes:
    """The key of a batch in `buffer`."""
    return collection_key(collection) + first_seq.to_bytes(8, "big")


def chunk_key(collection: int, chunk: int) -> bytes:
    """The key of a bitmap in `tombstones`."""
    return collection_key(collection) + chunk.to_bytes(4, "big")


def parse_chunk_key(key: bytes) -> tuple[int, int]:
    """The inverse of chunk_key."""
    return int.from_bytes(key[:_PREFIX], "big"), int.from_bytes(key[_PREFIX:], "big")


def recall_key(collection: int, field: str) -> bytes:
    """The key of what was measured of a field in `recalls`."""
    return collection_key(collection) + field.encode()


def parse_recall_key(key: bytes) -> str:
    """The field in a recall_key."""
    return key[_PREFIX:].decode()


def codec_key(codec: int) -> bytes:
    """The key of a trained codec in `codecs`."""
    return codec.to_bytes(8, "big")


def parse_codec_key(key: bytes) -> int:
    """The inverse of codec_key."""
    return int.from_bytes(key, "big")


def pack_number(number: int) -> bytes:
    """A number as a value: u64 little-endian."""
    return number.to_bytes(8, "little")


def parse_number(value: bytes) -> int:
    """The inverse of pack_number."""
    return int.from_bytes(value, "little")
