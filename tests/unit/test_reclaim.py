"""Files that no commit names: when they go, and when they must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vecstore.errors import StorageError
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.reader import Segment
from vecstore.segment.reclaim import Reclaimer
from vecstore.storage.files import RealFiles
from vecstore.storage.paths import Paths


class Desk:
    """A reclaimer with segments and codecs that are empty folders and files."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.pinned: int | None = None
        self.files = RealFiles()
        self.reclaimer = Reclaimer(self.files, self.paths, lambda _: self.pinned)
        for folder in (self.paths.segments, self.paths.codecs):
            folder.mkdir()

    def segment(self, number: int) -> Segment:
        info = SegmentInfo(
            id=number, rows=1, seq_min=0, seq_max=0, components=(), fields=(), columns=()
        )
        folder = self.paths.segment(number)
        folder.mkdir()
        return Segment(self.files, folder, info, lambda *_: None)  # type: ignore[arg-type]

    def codec(self, number: int) -> int:
        self.paths.codec(number).touch()
        return number

    def left(self) -> list[int]:
        """The numbers of the segments that are there, then those of the codecs."""
        return [
            int(entry.name, 16)
            for folder in (self.paths.segments, self.paths.codecs)
            for entry in sorted(folder.iterdir())
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A reclaimer of an empty database."""
    return Desk(tmp_path)


def test_retired_files_go(desk: Desk) -> None:
    """What is retired and read by nobody goes at the next sweep, all else stays."""
    desk.segment(1)
    desk.reclaimer.retire([desk.segment(2)], [desk.codec(7)], txn=5)
    desk.codec(8)
    paths = {desk.paths.segment(2), desk.paths.codec(7)}
    assert desk.reclaimer.unnamed() == paths
    assert desk.reclaimer.sweep() == 2
    assert desk.left() == [1, 8]
    assert desk.reclaimer.unnamed() == frozenset()
    assert desk.reclaimer.sweep() == 0


def test_segments_in_use_stay(desk: Desk) -> None:
    """A segment stays for as long as this process holds it, and no longer."""
    used, unused = desk.segment(1), desk.segment(2)
    desk.reclaimer.retire([used, unused], [], txn=5)
    del unused
    assert desk.reclaimer.sweep() == 1
    assert desk.left() == [1]
    del used
    assert desk.reclaimer.sweep() == 1
    assert desk.left() == []


def test_codecs_go_last(desk: Desk) -> None:
    """A codec stays while a segment is held that was retired with it or before."""
    early = desk.segment(1)
    desk.reclaimer.retire([early], [], txn=5)
    desk.reclaimer.retire([desk.segment(2)], [desk.codec(7)], txn=6)
    late = desk.segment(3)
    desk.reclaimer.retire([late], [desk.codec(8)], txn=7)
    assert desk.reclaimer.sweep() == 1
    assert desk.left() == [1, 3, 7, 8]
    del early
    assert desk.reclaimer.sweep() == 2
    assert desk.left() == [3, 8]
    del late
    assert desk.reclaimer.sweep() == 2


def test_pins_of_other_processes(desk: Desk) -> None:
    """What a reader's commit may name stays until the reader went on to a later one."""
    desk.reclaimer.retire([desk.segment(1)], [desk.codec(7)], txn=5)
    for pinned, removed in ((0, 0), (4, 0), (5, 2)):
        desk.pinned = pinned
        assert desk.reclaimer.sweep() == removed
    assert desk.left() == []


def test_hold(desk: Desk) -> None:
    """Nothing goes while someone holds everything, also twice."""
    desk.reclaimer.retire([desk.segment(1)], [], txn=5)
    with desk.reclaimer.hold():
        with desk.reclaimer.hold():
            pass
        assert desk.reclaimer.sweep() == 0
    assert desk.reclaimer.sweep() == 1


def test_files_under_way(desk: Desk) -> None:
    """Files under way are known, and never removed."""
    path = desk.paths.segment(1)
    desk.reclaimer.begin(path)
    desk.segment(1)
    assert desk.reclaimer.unnamed() == {path}
    assert desk.reclaimer.sweep() == 0
    desk.reclaimer.finish([path, desk.paths.codec(1)])
    assert desk.reclaimer.unnamed() == frozenset()
    assert desk.left() == [1]


def test_what_cannot_be_removed_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be removed stays retired; the next sweep removes it."""
    desk.reclaimer.retire_paths([desk.paths.segment(1), desk.paths.segment(2)], txn=5)
    for number in (1, 2, 3):
        desk.segment(number)

    def refuse(path: Path) -> None:
        raise StorageError(f"cannot remove {path}")

    with monkeypatch.context() as patch:
        patch.setattr(desk.files, "remove", refuse)
        with pytest.raises(StorageError, match="cannot remove"):
            desk.reclaimer.sweep()
        desk.reclaimer.begin(desk.paths.segment(3))
        desk.reclaimer.abandon([desk.paths.segment(3)])
    assert len(desk.reclaimer.unnamed()) == 3
    assert desk.reclaimer.sweep() == 3
    assert desk.left() == []
