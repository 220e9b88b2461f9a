"""Compaction and trained codecs: copied, trained again, dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from tests.unit.compaction import FOREGROUND, TRAINED, fill, rows
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.segment.codecs import codecs_of
from vecstore.segment.reader import Segment


def trained_on(items: Collection) -> list[int]:
    """Rows that the codec of each segment was trained on."""
    with items._store.environment.kv.read() as txn:
        trained = {info.id: info.rows for info in codecs_of(txn, items._store.shelf.collection)}
    return [
        trained[segment.fields[0].representations[0].codec]
        for segment in items._store.snapshot().manifest.segments
    ]


def codec_ids(db: Database, items: Collection) -> list[int]:
    with db._environment.kv.read() as txn:
        return [info.id for info in codecs_of(txn, items._store.shelf.collection)]


def test_codecs_are_trained_again_where_rows_doubled(foreground: Database, tmp_path: Path) -> None:
    """A merged segment with twice the rows gets a new codec, and the old one leaves the disk."""
    items = foreground.create_collection("items", TRAINED)
    fill(items, 120, segments=4)
    assert trained_on(items) == [30] * 4
    items.compact()
    assert trained_on(items) == [120]
    assert len(codec_ids(foreground, items)) == 1
    assert len(list((tmp_path / "db" / "codecs").iterdir())) == 1


def test_codes_are_copied_where_rows_did_not_double(foreground: Database) -> None:
    """A merged segment of fewer new rows keeps codec and codes, byte for byte."""
    items = foreground.create_collection("items", TRAINED)
    vectors = rows(130)
    items.upsert(range(100), vectors[:100])
    items.flush()
    for start in (100, 110, 120):
        items.upsert(range(start, start + 10), vectors[start : start + 10])
        items.flush()
    (codec,) = codec_ids(foreground, items)
    before = [code for live in items._store.snapshot().segments for code in codes_of(live.source)]
    items.compact()
    assert codec_ids(foreground, items) == [codec]
    (live,) = items._store.snapshot().segments
    assert codes_of(live.source) == before


def codes_of(source: Any) -> list[bytes]:
    assert isinstance(source, Segment)
    codes = source.codes("v", "pca8/int8")
    assert codes is not None
    return [row.tobytes() for row in codes.codec.unpack(codes.parts, np.arange(source.rows))]


def test_different_codecs_become_one(foreground: Database) -> None:
    """Segments that different codecs encoded get the newest one when they merge."""
    items = foreground.create_collection("items", TRAINED)
    vectors = rows(90)
    for start, stop in ((0, 20), (20, 80), (80, 90)):
        items.upsert(range(start, stop), vectors[start:stop])
        items.flush()
    assert trained_on(items) == [20, 60, 60]
    items.compact()
    assert trained_on(items) == [60]
    assert len(codec_ids(foreground, items)) == 1


def test_snapshot_of_before_finds_its_codec(tmp_path: Path) -> None:
    """A search that began before a compaction reads codes whose codec was dropped since."""
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        fill(db.create_collection("items", TRAINED), 120, segments=4)
    with vs.open(tmp_path / "db", options=FOREGROUND) as again:
        items = again.collection("items")
        snapshot = items._store.snapshot()
        items.compact()
        assert len(codec_ids(again, items)) == 1
        codes = snapshot.segments[0].source.codes("v", "pca8/int8")
        assert codes is not None
        assert codes.codec.spec == "pca8/int8"
