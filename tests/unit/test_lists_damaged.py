"""Damage in codes with inverted lists: how far it reaches, and what is made good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import vecstore as vs
from tests.unit.compaction import FOREGROUND, rows
from tests.unit.damaged import flip
from vecstore import options
from vecstore.collection import Collection
from vecstore.reports import RepairReport
from vecstore.segment.format import Component
from vecstore.segment.manifest import to_bytes
from vecstore.segment.reader import Segment
from vecstore.segment.stream import write_component
from vecstore.storage import keys
from vecstore.storage import paths as names
from vecstore.storage.files import RealFiles
from vecstore.types import Array

DIM, ROWS = 64, 2000
BLOCK_ROWS = 65_536 // DIM  # of bits8
ALONE = ["bits8"]
LADDER = ["bits2", "bits8", "float16"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are worth lists."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", 1000)


def listed(path: Path, ladder: list[str]) -> None:
    """A database with ROWS records in one segment with lists."""
    with vs.open(path, options=FOREGROUND) as db:
        schema = vs.Schema(vectors=[vs.Vector("v", DIM, "cosine", ladder)])
        items = db.create_collection("items", schema)
        items.upsert(range(ROWS), rows(ROWS, DIM), [{"n": number} for number in range(ROWS)])
        items.flush()
        items.compact()


def kept(items: Collection) -> dict[object, list[float]]:
    """The vector of each record that has one."""
    found = {}
    for record in items.scroll(with_vectors=True):
        assert record.payload == {"n": record.id}
        if "v" in record.vectors:
            found[record.id] = record.vectors["v"].tolist()
    return found


def repaired(path: Path) -> tuple[dict[object, list[float]], RepairReport]:
    """Repair what is damaged; the vectors before nobody can tell, and those after."""
    with vs.open(path, options=FOREGROUND) as db:
        assert len(db.check()) == 1
        report = db.repair()
        assert report.remaining == ()
        assert db.check() == []
        items = db.collection("items")
        assert items.count() == ROWS
        return kept(items), report


def before(path: Path) -> dict[object, list[float]]:
    with vs.open(path, options=FOREGROUND) as db:
        return kept(db.collection("items"))


def component(path: Path, name: str = "listed-0-0") -> Component:
    [file] = path.glob(f"segments/*/{name}")
    return Component.open(RealFiles(), file, names.kind_of(name), None)


def flip_array(path: Path, array: str) -> None:
    """Flip a bit in the middle of an array of the first listed codes."""
    found = component(path)
    place = found._places[array]
    flip(found.path, place.start + place.used // 2)


def test_damage_in_lists_stays_in_its_block(tmp_path: Path) -> None:
    """Only the rows whose codes lie in a damaged block lose their vectors, and are listed."""
    listed(tmp_path, ALONE)
    sound = before(tmp_path)
    flip_array(tmp_path, "codes")
    after, report = repaired(tmp_path)
    assert after.items() <= sound.items()
    assert 0 < ROWS - len(after) <= BLOCK_ROWS
    gone = sound.keys() - after.keys()
    assert len(report.lost) == len(gone)
    assert {text.split("record ")[1].split()[0] for text in report.lost} == {
        str(number) for number in gone
    }


@pytest.mark.parametrize("place", [0, 20, 100, -1])
@pytest.mark.parametrize("ladder", [ALONE, LADDER])
def test_heads_of_lists_are_made_again(tmp_path: Path, ladder: list[str], place: int) -> None:
    """A damaged head or table of checksums takes no vector with it, however many lists it had."""
    listed(tmp_path, ladder)
    sound = before(tmp_path)
    [file] = tmp_path.glob("segments/*/listed-0-0")
    flip(file, place)
    after, report = repaired(tmp_path)
    assert after == sound
    assert report.lost == ()


def test_rows_need_no_centroids(tmp_path: Path) -> None:
    """Damaged codes of centroids are forgotten, and no vector with them."""
    listed(tmp_path, ALONE)
    sound = before(tmp_path)
    flip_array(tmp_path, "lists/centroids/codes")
    after, report = repaired(tmp_path)
    assert after == sound
    assert report.lost == ()


@pytest.mark.parametrize("array", ["lists/order", "lists/offsets"])
def test_without_their_order_no_vectors_are_kept(tmp_path: Path, array: str) -> None:
    """Where nothing says whose codes are where, records keep their payloads and lose vectors."""
    listed(tmp_path, ALONE)
    flip_array(tmp_path, array)
    after, report = repaired(tmp_path)
    assert after == {}
    assert len(report.lost) == ROWS


def rewrite(path: Path, name: str, change: Callable[[dict[str, Array]], None]) -> None:
    """Put other arrays in a component, with checksums that match."""
    with vs.open(path, options=FOREGROUND) as db:
        store = db.collection("items")._store
        manifest = store.snapshot().manifest
        [segment] = manifest.segments
        file = names.component_path(store.environment.paths.segment(segment.id), name)
        arrays = {key: np.array(array) for key, array in component(path, name).arrays.items()}
        change(arrays)
        file.unlink()
        made = write_component(store.environment.files, file, names.kind_of(name), arrays)
        parts = tuple(made if item.name == name else item for item in segment.components)
        other = msgspec.structs.replace(segment, components=parts)
        with store.environment.writing() as txn:
            manifest = msgspec.structs.replace(manifest, segments=(other,))
            txn.put(keys.MANIFESTS, keys.collection_key(store.id), to_bytes(manifest))


def without_centroids(arrays: dict[str, Array]) -> None:
    del arrays["lists/centroids/codes"]


def with_fewer_centroids(arrays: dict[str, Array]) -> None:
    arrays["lists/centroids/codes"] = arrays["lists/centroids/codes"][:-1]


def with_wider_centroids(arrays: dict[str, Array]) -> None:
    arrays["lists/centroids/scale"] = arrays["lists/centroids/scale"].astype(np.float64)


def with_an_order_of_another(arrays: dict[str, Array]) -> None:
    arrays["lists/order"][0] = arrays["lists/order"][1]


def with_shorter_codes(arrays: dict[str, Array]) -> None:
    arrays["codes"] = arrays["codes"][:, :-1]


def without_scale(arrays: dict[str, Array]) -> None:
    del arrays["scale"]


CHANGES = [
    without_centroids,
    with_fewer_centroids,
    with_wider_centroids,
    with_an_order_of_another,
    with_shorter_codes,
    without_scale,
]


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_that_nobody_wrote_are_damage(
    tmp_path: Path, change: Callable[[dict[str, Array]], None]
) -> None:
    """Arrays of another form are told and quarantined, though their checksums match; and made
    again.
    """
    listed(tmp_path, LADDER)
    sound = before(tmp_path)
    rewrite(tmp_path, "listed-0-0", change)
    probe = vs.Cascade([vs.Probe("bits2", nprobe=3, keep=50), vs.Rescore("float16", keep=5)])
    with vs.open(tmp_path, options=FOREGROUND) as db:
        items = db.collection("items")
        assert items.search(rows(1, DIM)[0], plan=probe).partial
        assert len(items.stats().quarantined) == 1
    after, report = repaired(tmp_path)
    assert after == sound
    assert report.lost == ()


@pytest.mark.parametrize("change", [with_shorter_codes, without_scale])
def test_codes_of_another_form_are_damage(
    tmp_path: Path, change: Callable[[dict[str, Array]], None]
) -> None:
    """What holds of codes in the order of lists holds of those in the order of rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "LISTS_ROWS_MIN", 10 * ROWS)
        listed(tmp_path, LADDER)
    sound = before(tmp_path)
    rewrite(tmp_path, "codes-0-0", change)
    with vs.open(tmp_path, options=FOREGROUND) as db:
        assert db.collection("items").search(rows(1, DIM)[0]).partial
    after, report = repaired(tmp_path)
    assert after == sound
    assert report.lost == ()


def test_lists_are_read_once_for_all_that_a_component_contains(tmp_path: Path) -> None:
    """What is contained in codes shares their lists; and is checked as a whole, whoever asks."""
    listed(tmp_path, ["lvq4x8"])
    with vs.open(tmp_path, options=FOREGROUND) as db:
        [live] = db.collection("items")._store.snapshot().segments
        coarse, fine = (live.source.codes("v", spec) for spec in ("lvq4", "lvq4x8"))
        assert coarse is not None
        assert fine is not None
        assert coarse.lists is fine.lists is not None
        second = set(fine.parts) - set(coarse.parts)

    def without_second(arrays: dict[str, Array]) -> None:
        del arrays[f"lists/centroids/{min(second)}"]

    rewrite(tmp_path, "listed-0-0", without_second)
    with vs.open(tmp_path, options=FOREGROUND) as db:
        [live] = db.collection("items")._store.snapshot().segments
        assert isinstance(live.source, Segment)
        with pytest.raises(vs.errors.CorruptionError, match=f"{min(second)}.*seqs") as raised:
            live.source.codes("v", "lvq4")
        assert raised.value.folder == str(live.source.folder)
