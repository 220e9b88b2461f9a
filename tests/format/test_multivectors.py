"""A database with multivector fields stays readable: kept once, opened ever after."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.format import stranger
from tests.format.kept import FOLDER, write_missing
from tests.format.test_database import OPTIONS, PACKED_BYTES_MAX, lines, near, packed
from vecstore.errors import FormatVersionError
from vecstore.segment import manifest
from vecstore.types import Float32

DATABASE = FOLDER / "multivectors.zip"
ANSWERS = FOLDER / "multivectors.json"
NAME, OTHER = "pages", "other"
DIM = 8
COUNT = 24
DELETED = [2, 9, 21]
SCHEMA = vs.Schema(
    [
        vs.MultiVector("tokens", DIM, "cosine", ["float16"]),
        vs.MultiVector("views", DIM, "dot", ["int8", "float32"]),
        vs.Vector("text", DIM, "dot", ["bits2", "float32"]),
    ],
    [vs.Column("size", "int")],
)


def sets(rows: range, seed: int) -> list[Float32]:
    """Sets of 1 to 7 vectors, one for each row."""
    rng = np.random.default_rng(seed + rows.start)
    return [rng.standard_normal((1 + row * 5 % 7, DIM)).astype(np.float32) for row in rows]


def write(path: Path) -> None:
    """Fill a database: a segment, a batch in the write buffer, deleted records in both.

    Tokens have salience in the segment and none in the buffer; every third record has no views,
    a representation of which came later. A second collection has no sets of vectors.
    """
    with vs.open(path, options=OPTIONS) as database:
        collection = database.create_collection(NAME, SCHEMA)
        for rows in (range(COUNT - 6), range(COUNT - 6, COUNT)):
            tokens, views = sets(rows, 1), sets(rows, 2)
            given = np.concatenate(tokens)
            salience = np.random.default_rng(3).random(len(given)) if rows.start == 0 else None
            fields: dict[str, Any] = {
                "tokens": vs.Tokens(given, np.cumsum([0, *map(len, tokens)]), salience),
                "views": [None if row % 3 == 1 else views[row - rows.start] for row in rows],
                "text": np.random.default_rng(rows.start).standard_normal((len(rows), DIM)),
            }
            collection.upsert(list(rows), fields, [{"size": row} for row in rows])
            if rows.start == 0:
                collection.flush()
                collection.alter("views", ["float32"])
                collection.alter("views", ["int8", "float32"])
        collection.delete(DELETED)
        other = database.create_collection(OTHER, vs.Schema([vs.Vector("v", 2, "dot")]))
        other.upsert([1], [[1, 2]])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of the kept database."""
    write_missing(DATABASE, lambda: packed(tmp_path, write))
    with zipfile.ZipFile(DATABASE) as archive:
        archive.extractall(tmp_path / "kept")
    return tmp_path / "kept"


def plain(records: list[Any]) -> dict[str, Any]:
    """Records as JSON, by the text of their ids."""
    return {
        str(record.id): {
            "payload": record.payload,
            "vectors": {name: np.asarray(v).tolist() for name, v in record.vectors.items()},
        }
        for record in records
    }


@pytest.mark.parametrize("options", [OPTIONS, vs.Options()])
def test_kept_multivectors(kept: Path, options: vs.Options) -> None:
    """The kept database opens, is sound, and has the records that it had when it was made."""
    with vs.open(kept, options=options) as database:
        assert database.check() == []
        found = plain(list(database.collection(NAME).scroll(with_vectors=True)))
        write_missing(ANSWERS, lambda: lines(found))
    expected = json.loads(ANSWERS.read_text(encoding="utf-8"))
    assert found.keys() == expected.keys() == set(map(str, set(range(COUNT)) - set(DELETED)))
    for id_, record in expected.items():
        assert near(found[id_], record), id_


def test_kept_multivectors_hold_every_case(kept: Path) -> None:
    """The kept database is small; its tokens have an order, its buffer has sets of vectors."""
    assert DATABASE.stat().st_size <= PACKED_BYTES_MAX
    with vs.open(kept, read_only=True) as database:
        collection = database.collection(NAME)
        assert collection.schema == SCHEMA
        stats = collection.stats()
        assert (stats.segments, stats.buffered, stats.deleted) == (1, 5, 2)
        assert next(iter(stats.representations)).vectors == sum(map(len, sets(range(18), 1)))
    [info] = stranger.Database(kept).collection(NAME).segments
    folder = stranger.Segment(stranger.Database(kept).collection(NAME), info)
    assert folder.component("tokens-0", "tokens").keys() == {"offsets", "places", "salience"}
    assert folder.component("tokens-1", "tokens").keys() == {"offsets"}


def test_kept_multivectors_are_written_on(kept: Path) -> None:
    """The kept database takes writes, a flush and a compaction, and is still sound."""
    with vs.open(kept, options=OPTIONS) as database:
        collection = database.collection(NAME)
        before = plain(list(collection.scroll(with_vectors=True)))
        collection.upsert([100], {"tokens": [np.eye(DIM)]})
        collection.flush()
        collection.compact()
        after = plain(list(collection.scroll(with_vectors=True)))
        assert after.pop("100")["vectors"]["tokens"] == np.eye(DIM).tolist()
        assert after == before
        assert database.check() == []


def test_stranger_reads_kept_multivectors(kept: Path) -> None:
    """A reader written from FORMAT.md alone finds every record as vecstore says it is."""
    expected = json.loads(ANSWERS.read_text(encoding="utf-8"))
    records = stranger.Database(kept).collection(NAME).records(0)
    found = plain(records)
    assert found.keys() == expected.keys()
    for id_, record in expected.items():
        assert found[id_]["payload"] == record["payload"]
        assert found[id_]["vectors"].keys() == record["vectors"].keys()
        for name, vectors in record["vectors"].items():
            np.testing.assert_allclose(found[id_]["vectors"][name], vectors, atol=2e-4)


def test_versions_without_multivectors_refuse_them(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads stored values up to version 1 refuses such a collection, and opens the others."""
    monkeypatch.setattr(manifest, "_VERSION_MAX", 1)
    with vs.open(kept, options=OPTIONS) as database:
        with pytest.raises(FormatVersionError, match="open it with a newer vecstore"):
            database.collection(NAME)
        assert database.collection(OTHER).count() == 1
        assert any("newer vecstore" in text for text in database.check())
