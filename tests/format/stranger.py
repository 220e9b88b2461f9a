"""A reader of databases that was written from FORMAT.md alone: it imports nothing of vecstore."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec
import numpy as np

from tests.format.readymade import columns_of
from tests.format.stranger_codes import decoded

Arrays = Mapping[str, Any]
CHUNK = 32_000


@cache
def table() -> list[int]:
    found = []
    for start in range(256):
        entry = start
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        found.append(entry)
    return found


def crc32c(data: bytes) -> int:
    entries, crc = table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ entries[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def arrays_of(data: bytes, start: int, length: int, align: int) -> tuple[str, dict[str, Any], list]:
    """The kind and arrays of a directory, and where each begins and ends with its padding."""
    kind, entries = msgspec.msgpack.decode(data[start : start + length])
    place = -(-(start + length) // align) * align
    arrays, places = {}, []
    for name, dtype, shape in entries:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(data[place : place + size], dtype).reshape(shape)
        places.append((place, place + -(-size // align) * align))
        place = places[-1][1]
    return kind, arrays, places


def unpacked(data: bytes) -> Arrays:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version) == (b"VSA\0", 1)
    kind, arrays, places = arrays_of(data, 12, length, 8)
    assert kind == ""
    assert places[-1][1] == len(data)
    return arrays


def component(path: Path, kind: str, size: int, own: int) -> Arrays:
    """The arrays of a file whose every checksum holds."""
    data = path.read_bytes()
    magic, version, length, total, zero = struct.unpack_from("<8sIIQQ", data)
    assert (magic, version, zero) == (b"VSCOMP\r\n", 1, 0)
    assert len(data) == total == size
    found, arrays, places = arrays_of(data, 32, length, 64)
    assert found == kind
    sums = [
        crc32c(data[block : min(block + 65_536, stop)])
        for start, stop in places
        for block in range(start, stop, 65_536)
    ]
    end = places[-1][1] if places else -(-(32 + length) // 64) * 64
    first = places[0][0] if places else end
    assert data[end:-4] == struct.pack(f"<{len(sums)}I", *sums)
    assert data[-4:] == struct.pack("<I", own)
    assert crc32c(data[:first] + data[end:-4]) == own
    return arrays


def value(data: bytes) -> list[Any]:
    assert data[0] in (1, 2)
    found: list[Any] = msgspec.msgpack.decode(data[1:])
    return found


def strings(arrays: Arrays, prefix: str) -> list[bytes]:
    offsets, data = arrays[prefix + "offsets"].tolist(), arrays[prefix + "data"].tobytes()
    return [data[start:stop] for start, stop in pairwise(offsets)]


def id_of(data: bytes) -> int | str:
    return int.from_bytes(data[1:], "big") - 2**63 if data[0] == 1 else data[1:].decode()


def column(arrays: Arrays, prefix: str, count: int) -> list[Any]:
    """The values of a column, a row each."""
    present = np.unpackbits(arrays[prefix + "present"], bitorder="little")[:count].tolist()
    items = arrays[prefix + "values"].tolist()
    if prefix + "words/offsets" in arrays:
        words = [word.decode() for word in strings(arrays, prefix + "words/")] or [""]
        items = [words[item] for item in items]
    if prefix + "offsets" in arrays:
        bounds = arrays[prefix + "offsets"].tolist()
        items = [items[start:stop] for start, stop in pairwise(bounds)]
    return [item if there else None for item, there in zip(items, present, strict=True)]


class Record(NamedTuple):
    seq: int
    id: int | str
    payload: Any
    columns: dict[str, Any]
    vectors: dict[str, Any]
    expires: int


class Database:
    """A directory, read as the commit says that was last when this was made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spaces: dict[str, dict[bytes, bytes]] = {}
        environment = lmdb.open(
            str(root), readonly=True, lock=False, create=False, max_dbs=32, lib_version=0
        )
        with environment.begin() as txn:
            for name in [key for key, _ in txn.cursor()]:
                space = environment.open_db(name, txn=txn, create=False)
                held = self.spaces[name.decode()] = {}
                for key, stored in txn.cursor(space):
                    assert stored[-4:] == struct.pack("<I", crc32c(key + stored[:-4]))
                    held[key] = stored[:-4]
        environment.close()
        assert self.spaces["meta"][b"format"] == struct.pack("<Q", 1)

    def of(self, space: str, collection: int) -> Iterator[tuple[bytes, bytes]]:
        """The rest of the keys of a collection, and what they lead to, in order."""
        prefix = struct.pack(">I", collection)
        for key, held in sorted(self.spaces[space].items()):
            if key.startswith(prefix):
                yield key[4:], held

    def codec(self, number: int, of: list[Any]) -> Arrays:
        """What a trained codec learned; `of`: field, spec, dimensions and metric."""
        described = value(self.spaces["codecs"][struct.pack(">Q", number)])
        assert described[0] == number
        assert described[2:6] == of
        return component(self.root / "codecs" / f"{number:016x}", "codec", *described[7][1:])

    def collection(self, name: str) -> Collection:
        number, schema, *_ = value(self.spaces["collections"][name.encode()])
        return Collection(self, number, schema)


class Collection:
    """One collection of a database."""

    def __init__(self, database: Database, number: int, schema: list[Any]) -> None:
        self.database = database
        self.number = number
        self.fields, self.columns, self.ttl = schema
        [(_, manifest)] = database.of("manifests", number)
        self.segments, self.next_seq, self.live = value(manifest)
        self.tombstones = {
            struct.unpack(">I", key)[0]: bits for key, bits in database.of("tombstones", number)
        }
        self.ids = {
            id_of(key): struct.unpack("<Q", seq)[0] for key, seq in database.of("ids", number)
        }

    def records(self, now: int) -> list[Record]:
        """Those that are live and have not expired, microseconds since 1970."""
        found = [record for segment in self.segments for record in self.segment(segment)]
        for key, batch in self.database.of("buffer", self.number):
            records = self.batch(unpacked(batch))
            assert records[0].seq == struct.unpack(">Q", key)[0]
            found += records
        assert all(record.seq < self.next_seq for record in found)
        return [
            record
            for record in found
            if not self.deleted(record.seq) and not 0 < record.expires <= now
        ]

    def deleted(self, seq: int) -> bool:
        bits = self.tombstones.get(seq // CHUNK)
        place = seq % CHUNK
        return bits is not None and bool(bits[place // 8] >> place % 8 & 1)

    def batch(self, arrays: Arrays) -> list[Record]:
        """The rows of one upsert."""
        count = len(arrays["seqs"])
        columns = {name: column(arrays, f"columns/{name}/", count) for name, _ in self.columns}
        vectors = {}
        for name, *_ in self.fields:
            owners = arrays.get(f"vectors/{name}/rows", range(count))
            prefix = f"vectors/{name}/"
            values = self.buffered(name, arrays, prefix).tolist()
            if prefix + "tokens/offsets" in arrays:
                values = sets_of(values, arrays, prefix + "tokens/")
            vectors[name] = dict(zip(map(int, owners), values, strict=True))
        return records_of(arrays, arrays, columns, vectors)

    def buffered(self, name: str, arrays: Arrays, prefix: str) -> Any:
        """The vectors of one field in the write buffer."""
        if prefix + "codes" not in arrays:
            return arrays[prefix + "values"]
        spec = arrays[prefix + "spec"].tobytes().decode()
        [form] = [field[1:3] for field in self.fields if field[0] == name]
        [codec] = arrays[prefix + "codec"].tolist()
        trained = self.database.codec(codec, [name, spec, *form]) if codec else {}
        return decoded(spec, form, trained, columns_of(spec, form, arrays[prefix + "codes"]))

    def segment(self, info: list[Any]) -> list[Record]:
        """The rows of a segment, with the vectors of its finest representations."""
        folder = Segment(self, info)
        count, first, last = info[1:4]
        rows = folder.component("rows", "rows")
        assert (len(rows["seqs"]), rows["seqs"][0], rows["seqs"][-1]) == (count, first, last)
        expires = rows.get("expires", np.zeros(1, dtype=np.int64))
        assert min(expires[expires > 0].tolist(), default=0) == info[7]
        columns = {
            name: column(folder.component(file, "column"), "", count) for name, _, file in info[6]
        }
        vectors = {}
        for field in info[5]:
            name, _, _, owned, presence, representations, *tokens = field
            owners: Any = range(count)
            if presence:
                owners = folder.component(presence, "presence")["rows"].tolist()
            if owned:
                assert len(owners) == owned
                values = folder.vectors(field, representations[-1]).tolist()
                if tokens and tokens[0]:
                    assert len(values) == tokens[1]
                    values = sets_of(values, folder.component(tokens[0], "tokens"), "")
                vectors[name] = dict(zip(owners, values, strict=True))
        return records_of(rows, folder.component("payloads", "payloads"), columns, vectors)


def sets_of(values: list[Any], arrays: Arrays, prefix: str) -> list[Any]:
    """The vectors of each row, as they were given."""
    found, places = [], arrays.get(prefix + "places")
    for start, stop in pairwise(arrays[prefix + "offsets"].tolist()):
        order = range(stop - start) if places is None else np.argsort(places[start:stop])
        found.append([values[start + token] for token in order])
    return found


def records_of(
    rows: Arrays, payloads: Arrays, columns: dict[str, Any], vectors: dict[str, Any]
) -> list[Record]:
    count = len(rows["seqs"])
    expires = rows["expires"].tolist() if "expires" in rows else [0] * count
    ids, texts = strings(rows, "ids/"), strings(payloads, "payloads/")
    return [
        Record(
            seq,
            id_of(ids[row]),
            json.loads(texts[row]) if texts[row] else {},
            {name: values[row] for name, values in columns.items()},
            {name: owners[row] for name, owners in vectors.items() if row in owners},
            expires[row],
        )
        for row, seq in enumerate(rows["seqs"].tolist())
    ]


class Segment:
    """One folder."""

    def __init__(self, collection: Collection, info: list[Any]) -> None:
        self.database = collection.database
        self.folder = self.database.root / "segments" / f"{info[0]:016x}"
        self.files = {name: (size, own) for name, size, own in info[4]}
        assert sorted(self.files) == sorted(path.name for path in self.folder.iterdir())
        described = value(self.component("segment", "segment")["info"].tobytes())
        assert described[:4] + described[5:] == info[:4] + info[5:]

    def component(self, name: str, kind: str) -> Arrays:
        return component(self.folder / name, kind, *self.files[name])

    def vectors(self, field: list[Any], representation: list[Any]) -> Any:
        """The vectors of one representation of a field, float64 [n, D]."""
        spec, file, codec = representation
        trained = self.database.codec(codec, [field[0], spec, *field[1:3]]) if codec else {}
        kind = file.partition("-")[0]
        codes = self.component(file, kind)
        found = decoded(spec, (field[1], field[2]), trained, codes)
        if kind == "codes":
            return found
        assert kind == "listed"
        by_row = np.full_like(found, np.nan)
        by_row[codes["lists/order"]] = found
        return by_row
