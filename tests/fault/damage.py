"""A small database that has everything, and the places where it can be damaged."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import vecstore as vs
from vecstore import options
from vecstore.collection import Collection
from vecstore.segment.layout import ALIGN, CRC, HEADER, aligned, parse_directory, place_arrays
from vecstore.storage import keys
from vecstore.storage.kv import Kv

DIM = 16
EVERY_CODEC = ["bits1", "bits2", "pca8/int8", "prefix8/bits4", "int8", "bits8", "float16"]
SCHEMA = vs.Schema(
    vectors=[
        vs.Vector("v", DIM, "cosine", EVERY_CODEC),
        vs.Vector("w", DIM, "l2", ["bits4", "float32"]),
        vs.MultiVector("pages", DIM, "dot", ["int8", "float32"]),
    ],
    columns=[
        vs.Column("year", "int"),
        vs.Column("price", "float"),
        vs.Column("open", "bool"),
        vs.Column("lang", "keyword"),
        vs.Column("tags", "list[keyword]"),
        vs.Column("sizes", "list[int]"),
        vs.Column("at", "timestamp"),
    ],
)
CODED = ["bits1", "int8"]  # of a collection whose vectors come as codes
FILTERS = [
    "year >= 1990 AND lang IN ('en', 'fr')",
    "tags CONTAINS 'b' OR open = true",
    "price > 0.5 AND at < '2001-01-01'",
    "sizes CONTAINS 3",
]
PAGE, PAGE_HEAD, LEAF = 4096, 16, 2  # of LMDB
TTL_S = 40 * 365 * 86_400.0  # later than any test


class Flip(NamedTuple):
    """A place to be damaged: a flipped bit, a file cut off, or gone.

    Attributes:
        file: below the directory of the database.
        kind: which kind of bytes it is.
        place: of the byte; the new length where `bit` is -1; no file at all for -2.
        bit: what is flipped, 0 to 7.
    """

    file: str
    kind: str
    place: int
    bit: int


def build(path: Path) -> None:
    """Make the database: three segments, one of them with lists, a write buffer, deletes, rewrites,
    ids of both kinds; and a collection of codes, in lists and in the write buffer.
    """
    rng = np.random.default_rng(0)
    with vs.open(path, options=vs.Options(background=False)) as db:
        items = db.create_collection("items", SCHEMA)
        for batch in range(4):
            names: list[int | str] = [batch * 40 + row for row in range(50)]
            names += [f"name-{batch}-{row}" for row in range(10)]
            count = len(names)
            vectors: dict[str, Any] = {
                "v": rng.standard_normal((count, DIM)),
                "w": [None if row % 3 else rng.standard_normal(DIM) for row in range(count)],
            }
            vectors["pages"] = _pages(rng, count)
            ttl = [TTL_S if row % 5 == 0 else None for row in range(count)]
            items.upsert(names, vectors, [_payload(row) for row in range(count)], ttl_s=ttl)
            if batch < 3:
                items.flush()
            if batch == 0:
                _compact(items)
        items.delete([3, 4, "name-1-1", 130])
        other = db.create_collection("other", vs.Schema([vs.Vector("v", DIM)]))
        other.upsert(range(20), rng.standard_normal((20, DIM)))
        coded = db.create_collection("coded", vs.Schema([vs.Vector("v", DIM, "dot", CODED)]))
        coded.upsert(range(40), rng.standard_normal((40, DIM)))
        coded.flush()
        _compact(coded)
        codec = coded.codec("v")
        coded.upsert(range(30, 50), codec.encode(rng.standard_normal((20, DIM))))
    # Without unused pages, each entry is in LMDB's file once.
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30, read_only=True)
    (path.parent / "copy").mkdir()
    kv.copy(path.parent / "copy")
    kv.close()
    (path.parent / "copy" / "data.mdb").replace(path / "data.mdb")


def _pages(rng: np.random.Generator, count: int) -> vs.Tokens:
    """For each of `count` records up to 3 vectors, and how important they are."""
    lengths = np.arange(count) % 4
    total = int(lengths.sum())
    values = rng.standard_normal((total, DIM)).astype(np.float32)
    return vs.Tokens(values, np.cumsum([0, *lengths]), rng.random(total))


def _compact(items: Collection) -> None:
    """Make lists of however few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "LISTS_ROWS_MIN", 10)
        items.compact()


def _payload(row: int) -> dict[str, Any] | None:
    if row % 7 == 6:
        return None
    return {
        "year": 1980 + row,
        "price": row / 64,
        "open": row % 2 == 0,
        "lang": ["en", "fr", None][row % 3],
        "tags": ["a", "b", "c"][: row % 4],
        "sizes": [row % 5],
        "at": f"2000-01-{row % 28 + 1:02}",
        "text": "x" * row,
    }


def places(path: Path, *, full: bool) -> list[Flip]:
    """Where to damage the database: every kind of byte of every file.

    Args:
        path: of the database, which nobody has open.
        full: many places of each kind in each file, instead of one of each kind.
    """
    rng = np.random.default_rng(1)
    found: list[Flip] = []

    def flip(file: str, kind: str, start: int, stop: int) -> None:
        inside = rng.integers(start, stop, 12 if full else 1).tolist()
        for place in sorted({start, stop - 1, *inside} if full else inside):
            found.append(Flip(file, kind, place, int(rng.integers(8))))

    for file in [*sorted(path.glob("segments/*/*")), *sorted(path.glob("codecs/*"))]:
        name = str(file.relative_to(path))
        for kind, start, stop in component_spans(file):
            flip(name, kind, start, stop)
        size, kind = file.stat().st_size, file.name.partition("-")[0]
        for cut in (0, 4, size // 2, size - 64, size - 1):
            found.append(Flip(name, f"{kind}: cut", cut, -1))
        found.append(Flip(name, f"{kind}: gone", 0, -2))
    for kind, start, stop in _value_spans(path):
        flip("data.mdb", kind, start, stop)
    for page in (0, 4096):  # the metas of LMDB, as far as they are used
        for place in range(page, page + 16 + 136, 1 if full else 16):
            flip("data.mdb", "lmdb: meta", place, place + 1)
    return found if full else _few(found)


def _few(flips: list[Flip]) -> list[Flip]:
    """One of each kind: the one in the middle of all."""
    kinds: dict[str, list[Flip]] = {}
    for flip in flips:
        kinds.setdefault(flip.kind, []).append(flip)
    return [same[len(same) // 2] for same in kinds.values()]


def component_spans(file: Path) -> Iterator[tuple[str, int, int]]:
    """The kinds of bytes of a component, and where they are."""
    data = file.read_bytes()
    length = HEADER.unpack(data[: HEADER.size])[2]
    kind = file.name.partition("-")[0] if file.parent.name != "codecs" else "codec"
    for name, start, stop in (
        ("magic", 0, 8),
        ("version", 8, 12),
        ("directory's length", 12, 16),
        ("file's length", 16, 24),
        ("zeros", 24, 32),
        ("directory", 32, 32 + length),
    ):
        yield f"{kind}: {name}", start, stop
    directory = parse_directory(data[32 : 32 + length], length, "")
    start = aligned(HEADER.size + length, ALIGN)
    if start > 32 + length:
        yield f"{kind}: padding of the head", 32 + length, start
    spots, end = place_arrays(directory, start, ALIGN, "")
    for spot in spots:
        if spot.used:
            yield f"{kind}: array {spot.entry.name}", spot.start, spot.start + spot.used
        if spot.padded > spot.used:
            yield f"{kind}: padding", spot.start + spot.used, spot.start + spot.padded
    if end < len(data) - CRC.itemsize:
        yield f"{kind}: checksums", end, len(data) - CRC.itemsize
    yield f"{kind}: own checksum", len(data) - CRC.itemsize, len(data)


def _value_spans(path: Path) -> Iterator[tuple[str, int, int]]:
    """The keys and values of LMDB, and where they are in its file."""
    data = (path / "data.mdb").read_bytes()
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30, read_only=True)
    with kv.read() as txn:
        entries = [
            (db, key, stored) for db in keys.DATABASES for key, stored in txn._stored(db, b"", None)
        ]
    kv.close()
    for number, (db, key, stored) in enumerate(entries):
        if db == keys.IDS and number % 10:
            continue
        value = _live(data, key + stored) + len(key)
        if value >= len(key):
            yield f"{db}: key", value - len(key), value
            yield f"{db}: node", value - len(key) - 8, value - len(key)
        else:
            value = _live(data, stored)
        yield f"{db}: value", value, value + len(stored) - 4
        yield f"{db}: checksum", value + len(stored) - 4, value + len(stored)


def _live(data: bytes, wanted: bytes) -> int:
    """Where some bytes are in a page, and not in what an older one left behind; -1: nowhere."""
    place = data.find(wanted)
    while place >= 0:
        flags, _, upper = struct.unpack_from("<HHH", data, place // PAGE * PAGE + 10)
        if place % PAGE >= upper if flags == LEAF else place % PAGE == PAGE_HEAD:
            return place
        place = data.find(wanted, place + 1)
    return -1


class Damaged:
    """The database with one place damaged, until the block ends; or for good, to `keep` it."""

    def __init__(self, path: Path, flip: Flip, *, keep: bool = False) -> None:
        self._keep = keep
        self._file = path / flip.file
        self._flip = flip
        self._before = b""

    def __enter__(self) -> None:
        self._before = self._file.read_bytes()
        flip = self._flip
        if flip.bit == -2:
            self._file.unlink()
        elif flip.bit == -1:
            os.truncate(self._file, flip.place)
        else:
            self._write(flip.place, bytes([self._before[flip.place] ^ 1 << flip.bit]))

    def __exit__(self, *_: object) -> None:
        if self._keep:
            return
        if self._flip.bit < 0:
            self._file.write_bytes(self._before)
        else:
            self._write(self._flip.place, self._before[self._flip.place : self._flip.place + 1])

    def _write(self, place: int, byte: bytes) -> None:
        with open(self._file, "r+b") as file:
            file.seek(place)
            file.write(byte)
