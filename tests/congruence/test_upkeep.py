"""Jobs, damage, checks and repairs: the same on an embedded database and on one behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.congruence.pair import Pair, folders, paired

SCHEMA = vs.Schema(
    vectors=[vs.Vector("text", 16, representations=["bits4", "float32"])],
    columns=[vs.Column("year", "int")],
)
COMPONENTS = ["rows", "payloads", "column-0", "codes-0-0", "codes-0-1", "segment"]
ROWS = np.random.default_rng(5).standard_normal((60, 16)).astype(np.float32)


def fill(pair: Pair, *sizes: int) -> Pair:
    """A collection with a segment of each size."""
    books = pair.collection("create_collection", "books", SCHEMA)
    start = 0
    for size in sizes:
        ids = list(range(start, start + size))
        books("upsert", ids, ROWS[:size], [{"year": id_} for id_ in ids])
        books("flush")
        start += size
    return books


def flip(folder: Path, component: str) -> None:
    """Change a byte of a component of the first segment."""
    segment = min((folder / "segments").iterdir(), key=lambda path: path.name)
    path = segment / component
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@contextmanager
def damaged(folder: Path, component: str) -> Iterator[Pair]:
    """Two databases whose collection "books" has a damaged segment, and a sound one."""
    with paired(folder, vs.Options(background=False)) as pair:
        fill(pair, 40, 20)
    for path in folders(folder):
        flip(path, component)
    with paired(folder, vs.Options(background=False)) as pair:
        yield pair


def told(database: Any, method: str) -> dict[str, tuple[int, int]]:
    """The last that was told of each step, in their order."""
    found: dict[str, tuple[int, int]] = {}

    def progress(what: str, done: int, total: int) -> None:
        assert list(found)[-1:] == [what] or what not in found
        found[what] = (done, total)

    getattr(database, method)(progress=progress)
    return found


def test_jobs_are_listed_held_up_and_taken_back(tmp_path: Path) -> None:
    """A paused alteration is listed, goes on when resumed, and can be taken back."""
    with paired(tmp_path, vs.Options()) as pair:
        books = fill(pair, 40)
        pair("pause_jobs")
        books("alter", "text", ["bits2", "float16"], wait=False)
        jobs = pair("jobs")
        assert [job[1]["state"][1] for job in jobs] == ["paused"]
        assert books("stats")[1]["jobs"] == jobs
        books("alter", "text", ["bits4", "float32"])
        assert pair("jobs") == []
        books("alter", "text", ["bits2", "float16"], wait=False)
        pair("resume_jobs")
        books("alter", "text", ["bits2", "float16"])
        books.run(lambda item: item.schema)
        books("stats")
        books("search", ROWS[3], explain=True)
        assert pair("check") == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_damage_is_met_alike(tmp_path: Path, component: str) -> None:
    """Whatever is damaged, both give the same results and errors, and say what is wrong."""
    with damaged(tmp_path, component) as pair:
        books = pair.collection("collection", "books")
        for _ in range(2):
            books("search", ROWS[3], limit=50)
            books("search_batch", ROWS[:3], limit=2, where="year >= 20", exact=True)
            books("get", [1], with_vectors=True)
            books("get", [41], with_vectors=True)
            books("scroll", where="year < 70")
            books("count", "year < 3")
            books("stats")
        books("delete", where="year < 3")
        books("delete", [41])
        books("upsert", [7], ROWS[:1])
        books("compact")
        books("alter", "text", ["bits1"])
        books("stats")
        pair("check")


def test_hits_of_a_damaged_segment_are_missing(tmp_path: Path) -> None:
    """Searches pass over a damaged segment and say so, and stats name its file."""
    with damaged(tmp_path, "codes-0-1") as pair:
        books = pair.collection("collection", "books")
        books("search", ROWS[3], limit=50)
        for collection in (books.embedded, books.remote):
            found = collection.search(ROWS[3], limit=50)
            assert found.partial
            assert sorted(found.ids.tolist()) == list(range(40, 60))
        (text,) = books("stats")[1]["quarantined"]
        assert " segments/0000000000000001/codes-0-1 " in text[1]


def test_hits_of_damaged_payloads_are_missing(tmp_path: Path) -> None:
    """Reading damaged payloads of hits fails once; the next search passes over the segment."""
    with damaged(tmp_path, "payloads") as pair:
        books = pair.collection("collection", "books")
        error, text = books("search", ROWS[3], limit=50)
        assert error is vs.errors.CorruptionError
        assert "payloads" in text
        books("search", ROWS[3], limit=50)
        for collection in (books.embedded, books.remote):
            assert collection.search(ROWS[3], limit=50).partial
        assert len(books("stats")[1]["quarantined"]) == 1


@pytest.mark.parametrize("method", ["check", "repair"])
def test_progress_is_told(tmp_path: Path, method: str) -> None:
    """A check and a repair tell the same steps, and how far each came."""
    with damaged(tmp_path, "rows") as pair:
        found = pair.run(lambda database: told(database, method))
        assert any("'books'" in what for what in found)


@pytest.mark.parametrize("method", ["check", "repair"])
def test_progress_that_raises_ends_the_work(tmp_path: Path, method: str) -> None:
    """What progress raises comes back to the caller, and the work can be done again."""

    def fail(what: str, done: int, total: int) -> None:
        raise ZeroDivisionError(what)

    with damaged(tmp_path, "payloads") as pair:
        for database in (pair.embedded, pair.remote):
            with pytest.raises(ZeroDivisionError):
                getattr(database, method)(fail)
        pair.remote.repair()
        pair.embedded.repair()
        assert pair("check") == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_repair_says_what_it_did(tmp_path: Path, component: str) -> None:
    """A repair reports the same, and afterwards both hold the same."""
    with damaged(tmp_path, component) as pair:
        kind, found = pair("repair")
        assert kind == "RepairReport"
        assert found["rebuilt"] or found["lost"]
        assert pair("repair") == (kind, {"rebuilt": [], "lost": [], "remaining": []})
        books = pair.collection("collection", "books")
        books("scroll", with_vectors=True)
        books("stats")
        books("search", ROWS[3], limit=50)
        assert pair("check") == []
