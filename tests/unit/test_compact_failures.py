"""Compactions that end before they are done."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import vecstore as vs
from tests.unit.compaction import FOREGROUND, SCHEMA, TRAINED, fill, state_of_files
from vecstore import errors
from vecstore.database import Database
from vecstore.storage.files import RealFiles


class Full(RealFiles):
    """Files of a disk that becomes full after some bytes."""

    left = 0

    def create(self, path: Path, size: int) -> Any:
        """Refuse what does not fit."""
        if size > self.left:
            raise errors.DatabaseFullError(f"cannot write {path}: no space")
        self.left -= size
        return super().create(path, size)


@pytest.mark.parametrize("left", [0, 1000, 3000])
def test_full_disk(foreground: Database, tmp_path: Path, left: int) -> None:
    """A compaction that finds no space changes nothing and leaves nothing; with space it works."""
    items = foreground.create_collection("items", TRAINED)
    fill(items, 60, segments=4)
    items.delete(range(10))
    before, names = state_of_files(tmp_path), items._store.snapshot().manifest
    files = Full()
    files.left = left
    foreground._environment.files = files
    with pytest.raises(errors.DatabaseFullError):
        items.compact()
    assert items._store.snapshot().manifest == names
    assert state_of_files(tmp_path) == before
    assert items.count() == 50
    files.left = 1 << 30
    items.compact()
    assert items.stats().segments == 1


def test_damaged_segment_is_left_alone(tmp_path: Path) -> None:
    """A segment whose codes are damaged is quarantined where it is; the others merge."""
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        items = db.create_collection("items", SCHEMA)
        fill(items, 50, segments=5)
        segment = items._store.snapshot().manifest.segments[2]
    path = tmp_path / "db" / "segments" / f"{segment.id:016x}" / "codes-0-1"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        items = db.collection("items")
        items.compact()
        after = items._store.snapshot().manifest.segments
        assert [item.rows for item in after] == [20, 10, 20]
        assert after[1].id == segment.id
        assert len(items.stats().quarantined) == 1
        assert path.read_bytes() == data


def test_closing_ends_a_compaction(tmp_path: Path) -> None:
    """close() on another thread ends compact() with ClosedError, and leaves no file of it."""
    db = vs.open(tmp_path / "db", options=FOREGROUND)
    items = db.create_collection("items", SCHEMA)
    fill(items, 40, segments=4)
    closing = Thread(target=db.close)

    class Files(RealFiles):
        def create(self, path: Path, size: int) -> Any:
            if not db._environment.closed:
                closing.start()
                while not db._environment.closed:
                    time.sleep(0.001)
            return super().create(path, size)

    db._environment.files = Files()
    with pytest.raises(errors.ClosedError):
        items.compact()
    closing.join()
    assert len(state_of_files(tmp_path)) == 4
    with vs.open(tmp_path / "db", options=FOREGROUND) as again:
        assert again.check() == []
        assert again.collection("items").stats().segments == 4
