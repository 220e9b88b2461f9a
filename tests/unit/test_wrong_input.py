"""Whatever a caller gets wrong: a typed error that says got and expected, and nothing changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.storage import keys
from vecstore.storage.kv import Kv

DIM = 4
SCHEMA = vs.Schema(
    vectors=[vs.Vector("v", DIM), vs.Vector("w", DIM, "l2")],
    columns=[vs.Column("year", "int"), vs.Column("tags", "list[keyword]")],
)
ONE = np.ones((1, DIM), dtype=np.float32)
NAN = np.array([[1, math.nan, 0, 0]], dtype=np.float32)

WRITES: list[tuple[Callable[[Collection], Any], type[Exception], str]] = [
    (lambda c: c.upsert([1], {"v": np.ones((1, 5))}), errors.DimensionError, "4"),
    (lambda c: c.upsert([1, 2], {"v": ONE}), errors.DimensionError, "2"),
    (lambda c: c.upsert([1, 2], {"v": [[1, 2, 3, 4], [1, 2]]}), errors.DimensionError, "4"),
    (lambda c: c.upsert([1], {"v": [["a"] * 4]}), errors.VectorError, "dtype"),
    (lambda c: c.upsert(["ab"], {"v": NAN}), errors.VectorError, "ab"),
    (lambda c: c.upsert([1], {"v": ONE * math.inf}), errors.VectorError, "1"),
    (lambda c: c.upsert([1], {"w": ONE * 1e5}), errors.VectorError, "float32"),
    (lambda c: c.upsert([1], {"w": ONE.astype(np.float64) * 1e300}), errors.VectorError, ".+"),
    (lambda c: c.upsert([1], {"x": ONE}), errors.NotFoundError, "'v', 'w'"),
    (lambda c: c.upsert([1], ONE), errors.RequestError, "field"),
    (lambda c: c.upsert("ab", {"v": ONE}), errors.IdError, "list"),
    (lambda c: c.upsert([1.5], {"v": ONE}), errors.IdError, "1.5"),
    (lambda c: c.upsert([True], {"v": ONE}), errors.IdError, "True"),
    (lambda c: c.upsert([1 << 63], {"v": ONE}), errors.IdError, "63"),
    (lambda c: c.upsert([""], {"v": ONE}), errors.IdError, "255"),
    (lambda c: c.upsert(["x" * 256], {"v": ONE}), errors.IdError, "255"),
    (lambda c: c.upsert(["\ud800"], {"v": ONE}), errors.IdError, ".+"),
    (lambda c: c.upsert([1], {"v": ONE}, [{"year": "1999"}]), errors.PayloadError, "year"),
    (lambda c: c.upsert([1], {"v": ONE}, [{"year": True}]), errors.PayloadError, "year"),
    (lambda c: c.upsert([1], {"v": ONE}, [{"tags": "a"}]), errors.PayloadError, "tags"),
    (lambda c: c.upsert([1], {"v": ONE}, [{"a": math.nan}]), errors.PayloadError, ".+"),
    (lambda c: c.upsert([1], {"v": ONE}, [{"a": object()}]), errors.PayloadError, ".+"),
    (lambda c: c.upsert([1], {"v": ONE}, [[1]]), errors.PayloadError, ".+"),
    (lambda c: c.upsert([1], {"v": ONE}, [{}, {}]), errors.PayloadError, "2"),
    (lambda c: c.upsert([1], {"v": ONE}, {"a": 1}), errors.PayloadError, "list"),
    (lambda c: c.upsert(list(range(100_001))), errors.RequestError, "100,000"),
    (lambda c: c.delete(), errors.RequestError, "where"),
    (lambda c: c.delete([0], where="year = 1"), errors.RequestError, "one of"),
    (lambda c: c.delete(0), errors.IdError, "list"),
    (lambda c: c.delete(where="yaer = 1"), errors.FilterError, "year"),
]

READS: list[tuple[Callable[[Collection], Any], type[Exception], str]] = [
    (lambda c: c.search({"v": np.ones(3)}), errors.DimensionError, "4"),
    (lambda c: c.search({"v": ONE}), errors.DimensionError, "4"),
    (lambda c: c.search_batch({"v": ONE[0]}), errors.DimensionError, "4"),
    (lambda c: c.search({"v": NAN[0]}), errors.VectorError, ".+"),
    (lambda c: c.search({"x": ONE[0]}), errors.NotFoundError, "'v', 'w'"),
    (lambda c: c.search(ONE[0]), errors.RequestError, "field"),
    (lambda c: c.search({}), errors.RequestError, "one"),
    (lambda c: c.search({"v": ONE[0], "w": ONE[0]}), errors.RequestError, "one"),
    (lambda c: c.search({"v": ONE[0]}, limit=0), errors.RequestError, "10,000"),
    (lambda c: c.search({"v": ONE[0]}, limit=10_001), errors.RequestError, "10,000"),
    (lambda c: c.search({"v": ONE[0]}, limit=2.0), errors.RequestError, "2.0"),
    (lambda c: c.search({"v": ONE[0]}, limit=True), errors.RequestError, "True"),
    (lambda c: c.search({"v": ONE[0]}, where=3), errors.RequestError, "where"),
    (lambda c: c.search({"v": ONE[0]}, where="year = "), errors.FilterError, "\\^"),
    (lambda c: c.search({"v": ONE[0]}, where="year = 'x'"), errors.FilterError, "\\^"),
    (lambda c: c.search({"v": ONE[0]}, where="tags = 'x'"), errors.FilterError, "CONTAINS"),
    (lambda c: c.search({"v": ONE[0]}, where="(" * 5000 + "year = 1"), errors.FilterError, ".+"),
    (lambda c: c.search({"v": ONE[0]}, where="year = 1 OR " * 5000), errors.FilterError, ".+"),
    (lambda c: c.search({"v": ONE[0]}, plan="fast"), errors.RequestError, "Cascade"),
    (
        lambda c: c.search({"v": ONE[0]}, plan=vs.Cascade([vs.Scan("bits7", 5)])),
        errors.NotFoundError,
        "float16",
    ),
    (
        lambda c: c.search({"v": ONE[0]}, exact=True, plan=vs.Cascade([vs.Scan("float16", 5)])),
        errors.RequestError,
        "exact",
    ),
    (lambda c: c.count("year"), errors.FilterError, "\\^"),
    (lambda c: list(c.scroll(where="nope = 1")), errors.FilterError, "nope"),
    (lambda c: list(c.scroll(batch=0)), errors.RequestError, "batch"),
    (lambda c: c.get("ab"), errors.IdError, "list"),
    (lambda c: c.get([None]), errors.IdError, "None"),
]


@pytest.fixture
def items(database: Database) -> Collection:
    """One record in the buffer, one in a segment."""
    items = database.create_collection("items", SCHEMA)
    items.upsert([0], {"v": ONE, "w": ONE}, [{"year": 1}])
    items.flush()
    items.upsert([-1], {"v": ONE}, [{"tags": ["a"]}])
    return items


@pytest.mark.parametrize("number", range(len(WRITES)))
def test_wrong_write_changes_nothing(items: Collection, number: int) -> None:
    """A batch with anything wrong in it raises its error, and nothing of it is applied."""
    write, error, words = WRITES[number]
    with pytest.raises(error, match=words):
        write(items)
    assert [record.id for record in items.scroll()] == [0, -1]


@pytest.mark.parametrize("number", range(len(READS)))
def test_wrong_read_says_what_is_wrong(items: Collection, number: int) -> None:
    """A read that cannot be answered raises its error, also on an empty collection."""
    read, error, words = READS[number]
    with pytest.raises(error, match=words):
        read(items)
    items.delete([0, -1])
    with pytest.raises(error, match=words):
        read(items)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "-x", "x" * 129, 3, "ä"])
def test_names_that_look_like_paths_are_refused(database: Database, name: Any) -> None:
    """A name outside the grammar makes no collection, field or column."""
    with pytest.raises(errors.SchemaError, match="expected 1 to 128"):
        database.create_collection(name, SCHEMA)
    with pytest.raises(errors.SchemaError):
        vs.Vector(name, 4)
    with pytest.raises(errors.SchemaError):
        vs.Column(name, "int")
    assert database.collections() == []


def test_wrong_schemas_are_refused(database: Database) -> None:
    """A schema that cannot be says what it got and expected."""
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: vs.Vector("v", 0), "65,536"),
        (lambda: vs.Vector("v", 70_000), "65,536"),
        (lambda: vs.Vector("v", 4.0), "4.0"),
        (lambda: vs.Vector("v", 4, "euclid"), "'cosine', 'dot', 'l2'"),
        (lambda: vs.Vector("v", 4, representations="bits1"), "list"),
        (lambda: vs.Vector("v", 4, representations=["bits1", "bits1"]), "once"),
        (lambda: vs.Column("c", "date"), "'timestamp'"),
        (lambda: vs.Schema(vectors=[]), "1 to"),
        (lambda: vs.Schema(vectors=vs.Vector("v", 4)), "list"),
        (lambda: vs.Schema(vectors=[vs.Vector("v", 4)] * 2), "two"),
        (lambda: database.create_collection("c", {"v": 4}), "Schema"),
        (
            lambda: database.create_collection(
                "c", vs.Schema(vectors=[vs.Vector("v", 4, representations=["bits3"])])
            ),
            "bits4",
        ),
        (
            lambda: database.create_collection(
                "c", vs.Schema(vectors=[vs.Vector("v", 4, representations=["prefix4/bits1"])])
            ),
            "fewer",
        ),
    ]
    for make, words in wrong:
        with pytest.raises(errors.SchemaError, match=words):
            make()
    assert database.collections() == []


def test_unknown_and_existing_collections(database: Database) -> None:
    """A name that is taken, unknown or dropped is told apart."""
    items = database.create_collection("items", SCHEMA)
    with pytest.raises(errors.AlreadyExistsError, match="items"):
        database.create_collection("items", SCHEMA)
    with pytest.raises(errors.NotFoundError, match="'items'"):
        database.collection("item")
    with pytest.raises(errors.NotFoundError):
        database.drop_collection("item")
    database.drop_collection("items")
    for use in (items.count, items.flush, lambda: items.upsert([1], {"v": ONE})):
        with pytest.raises(errors.NotFoundError, match="dropped"):
            use()
    again = database.create_collection("items", SCHEMA)
    assert again.count() == 0


def test_use_after_close(tmp_path: Path) -> None:
    """After close() every call raises ClosedError; closing again is fine."""
    db = vs.open(tmp_path / "db")
    items = db.create_collection("items", SCHEMA)
    db.close()
    db.close()
    for use in (items.count, items.flush, db.collections, db.check, lambda: items.get([1])):
        with pytest.raises(errors.ClosedError):
            use()


def test_what_is_not_a_database(tmp_path: Path) -> None:
    """A file, a folder of other things and a foreign LMDB file are refused and left alone."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "lmdb").mkdir()
    (tmp_path / "lmdb" / "data.mdb").write_bytes(b"\0" * 8192)
    for path in (tmp_path / "photos", tmp_path / "photos" / "cat.jpg", tmp_path / "lmdb"):
        before = sorted(tmp_path.rglob("*.jpg"))
        with pytest.raises(errors.NotADatabaseError):
            vs.open(path)
        assert sorted(tmp_path.rglob("*.jpg")) == before
    assert [entry.name for entry in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A database of a newer format says so, and is not changed."""
    vs.open(tmp_path).close()
    kv = Kv.open(tmp_path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        txn.put(keys.META, keys.FORMAT, keys.pack_number(2))
    kv.close()
    with pytest.raises(errors.FormatVersionError, match="newer"):
        vs.open(tmp_path)
