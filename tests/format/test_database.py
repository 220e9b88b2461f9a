"""A whole database of format version 1 stays readable: kept once, opened ever after."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.format.kept import FOLDER, WRITE, write_missing
from vecstore.collection import Collection
from vecstore.types import Float32

DATABASE = FOLDER / "database.zip"
ANSWERS = FOLDER / "database.json"
PACKED_BYTES_MAX = 64 << 10
OPTIONS = vs.Options(map_bytes=1 << 20, threads=1, background=False)
NAME = "items"
DIM = 16
SPECS = (
    "prefix8/bits4",
    "pca8/float16",
    "bits1",
    "bits2",
    "bits4",
    "int8",
    "bits8",
    "float16",
    "float32",
)
METRICS = ("cosine", "dot", "l2")
FILTERS = (
    None,
    "size > 20",
    "kind = 'even' AND size IS NOT NULL",
    "tags CONTAINS 'two' OR price < 3.5",
    "fresh = true AND at >= '2026-01-10T00:00:00Z'",
)
COUNT = 40
DELETED = [3, "row 9", 34]
EXPIRED = 12
LAST, LONG_S = 38, 99 * 366 * 86_400


def numbers(seed: int, count: int) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def ids_of(rows: range) -> list[int | str]:
    return [row if row % 2 == 0 or row == 3 else f"row {row}" for row in rows]


def payload(row: int) -> dict[str, Any] | None:
    if row % 11 == 0:
        return None
    found: dict[str, Any] = {"kind": ("even", "odd")[row % 2], "title": f"no {row} é"}
    found["at"] = f"2026-01-{1 + row % 28:02}T03:04:05Z"
    found |= {"price": row / 4, "fresh": row % 3 == 0, "tags": ["one", "two", "three"][: row % 4]}
    return found | ({"size": row} if row % 5 else {})


def write(path: Path) -> None:
    """Fill a database: a segment with every representation, tombstones, a batch in the buffer.

    One field gets two of its representations later; in the segment a record has expired, and in
    the buffer one will.
    """
    fewer = [spec for spec in SPECS if spec not in ("pca8/float16", "bits4")]
    ladders = {"cosine": SPECS, "dot": fewer, "l2": SPECS}
    vectors = [vs.Vector(metric, DIM, metric, ladders[metric]) for metric in METRICS]
    columns = [
        vs.Column("kind", "keyword"),
        vs.Column("size", "int"),
        vs.Column("price", "float"),
        vs.Column("fresh", "bool"),
        vs.Column("tags", "list[keyword]"),
        vs.Column("at", "timestamp"),
    ]
    with vs.open(path, options=OPTIONS) as database:
        collection = database.create_collection(NAME, vs.Schema(vectors=vectors, columns=columns))
        for rows in (range(COUNT - 10), range(COUNT - 10, COUNT)):
            fields: dict[str, Any] = {
                metric: list(numbers(100 * rows.start + seed, len(rows)))
                for seed, metric in enumerate(METRICS)
            }
            fields["l2"][1::4] = [None] * len(fields["l2"][1::4])
            ttl_s = [1e-6 if row == EXPIRED else LONG_S if row == LAST else None for row in rows]
            collection.upsert(ids_of(rows), fields, [payload(row) for row in rows], ttl_s=ttl_s)
            if rows.start == 0:
                collection.flush()
                collection.alter("dot", SPECS)
        collection.delete(DELETED)


def packed(folder: Path, write: Callable[[Path], None] = write) -> bytes:
    """The files of a new database, zipped; its locks are made again."""
    write(folder / "made")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "made").rglob("*")):
            if "lock" not in path.name:
                archive.write(path, path.relative_to(folder / "made"))
    return memory.getvalue()


def answers(collection: Collection) -> dict[str, Any]:
    """What the database says, as JSON: its records, and hits of every representation."""
    records = collection.get(ids_of(range(COUNT)), with_vectors=True)
    found: dict[str, Any] = {
        "records": [record and plain(record) for record in records],
        "counts": {str(where): collection.count(where) for where in FILTERS},
    }
    query = numbers(7, 1)[0]
    hits = {}
    for metric in METRICS:
        for where in FILTERS:
            hits[f"{metric}, {where}"] = collection.search({metric: query}, where=where)
        for spec in SPECS:
            plan = vs.Cascade([vs.Scan(spec, 10)])
            hits[f"{metric}, {spec}"] = collection.search({metric: query}, plan=plan)
    found["hits"] = {
        name: {"ids": list(map(plain_id, each.ids)), "scores": each.scores.tolist()}
        for name, each in hits.items()
    }
    return found


def plain_id(id_: Any) -> int | str:
    return id_ if isinstance(id_, str) else int(id_)


def plain(record: vs.Record) -> dict[str, Any]:
    vectors = {name: vector.tolist() for name, vector in record.vectors.items()}
    return {"id": record.id, "payload": record.payload, "vectors": vectors}


def lines(found: dict[str, Any]) -> bytes:
    """As JSON, one part a line."""
    parts = (f"{json.dumps(name)}: {json.dumps(part)}" for name, part in found.items())
    return ("{" + ",\n".join(parts) + "}\n").encode()


def near(found: Any, kept: Any) -> bool:
    """Whether two values of JSON are equal, numbers but nearly so: those of pca use BLAS."""
    if isinstance(kept, dict):
        same = isinstance(found, dict) and list(found) == list(kept)
        return same and all(near(found[key], kept[key]) for key in kept)
    if isinstance(kept, list):
        same = isinstance(found, list) and len(found) == len(kept)
        return same and all(map(near, found, kept))
    if isinstance(kept, float):
        return bool(found == pytest.approx(kept, rel=1e-5, abs=1e-5))
    return type(found) is type(kept) and bool(found == kept)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of the kept database."""
    write_missing(DATABASE, lambda: packed(tmp_path))
    with zipfile.ZipFile(DATABASE) as archive:
        archive.extractall(tmp_path / "kept")
    return tmp_path / "kept"


@pytest.mark.parametrize("options", [OPTIONS, vs.Options()])
def test_kept_database(kept: Path, options: vs.Options) -> None:
    """The kept database opens, is sound, and says what it said when it was made."""
    with vs.open(kept, options=options) as database:
        assert database.check() == []
        collection = database.collection(NAME)
        found = answers(collection)
        write_missing(ANSWERS, lambda: lines(found))
        expected = json.loads(ANSWERS.read_text(encoding="utf-8"))
        for part, values in expected.items():
            assert near(found[part], values), part


def test_kept_database_holds_every_case(kept: Path) -> None:
    """The kept database is small, and has a segment, a write buffer and rows deleted in both."""
    assert DATABASE.stat().st_size <= PACKED_BYTES_MAX
    with vs.open(kept, read_only=True) as database:
        collection = database.collection(NAME)
        assert [item.representations for item in collection.schema.vectors] == [SPECS] * 3
        stats = collection.stats()
        assert (stats.segments, stats.buffered, stats.deleted) == (1, 9, 3)
        assert stats.records == COUNT - len(DELETED) - 1
        l2 = {item.vectors for item in stats.representations if item.field == "l2"}
        assert max(l2) < COUNT - 10
    assert len(list((kept / "codecs").iterdir())) == 6


def test_kept_database_is_written_on(kept: Path) -> None:
    """The kept database takes writes and a flush, and is still sound."""
    with vs.open(kept, options=OPTIONS) as database:
        collection = database.collection(NAME)
        collection.upsert([3], {metric: numbers(9, 1) for metric in METRICS})
        collection.flush()
        assert collection.count() == COUNT - len(DELETED) - 1 + 1
        assert database.check() == []


def test_missing_golden_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing golden file fails its test, unless a new one was asked for."""
    path = tmp_path / "v1" / "new"
    monkeypatch.delenv(WRITE, raising=False)
    with pytest.raises(pytest.fail.Exception, match="golden file new is missing"):
        write_missing(path, lambda: b"x")
    assert not path.exists()
    monkeypatch.setenv(WRITE, "1")
    write_missing(path, lambda: b"x")
    write_missing(path, lambda: b"y")
    assert path.read_bytes() == b"x"
