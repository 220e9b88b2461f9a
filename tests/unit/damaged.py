"""A database with damage, to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.storage import keys
from vecstore.storage.kv import Kv

DIM = 8
ROWS = 30
OPTIONS = vs.Options(background=False)
SCHEMA = vs.Schema(
    [
        vs.Vector("v", DIM, "dot", ["bits1", "int8", "float16"]),
        vs.Vector("w", DIM, "dot", ["float32"]),
    ],
    [vs.Column("year", "int"), vs.Column("tags", "list[keyword]")],
)


def vectors_of(first: int, count: int = ROWS) -> Any:
    """Vectors [count, DIM] that anyone can work out again."""
    return np.random.default_rng(first).integers(-4, 5, (count, DIM)).astype(np.float32)


def fill(db: Database, segments: int = 3, *, buffered: bool = True) -> Collection:
    """A collection of segments of ROWS records each, and as many in the write buffer.

    Only records of the first segment have a vector "w".
    """
    items = db.create_collection("items", SCHEMA)
    for number in range(segments + buffered):
        first = number * ROWS
        vectors = {"v": vectors_of(first)}
        if not number:
            vectors["w"] = vectors_of(1)
        payloads = [{"year": 2000 + row, "tags": ["a"] * (row % 3)} for row in range(ROWS)]
        items.upsert(range(first, first + ROWS), vectors, payloads)
        if number < segments:
            items.flush()
    return items


def segment_file(path: Path, number: int, name: str) -> Path:
    """A file of the segment of that number, from 0."""
    return sorted((path / "segments").iterdir())[number] / name


def flip(file: Path, place: int, bit: int = 0) -> None:
    """Flip a bit of a file; `place` may count from its end."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def flip_value(path: Path, db: str, key: bytes) -> None:
    """Flip a bit of one value in LMDB."""
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        stored = txn._txn.get(key, db=txn._dbs[db])
        txn._txn.put(key, bytes([stored[0] ^ 1]) + stored[1:], db=txn._dbs[db])
    kv.close()


def records(items: Collection) -> dict[Any, Any]:
    """Every record by id, to be compared."""
    return {
        record.id: (record.payload, {name: v.tolist() for name, v in record.vectors.items()})
        for record in items.scroll(with_vectors=True)
    }
