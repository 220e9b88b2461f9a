"""Verification of stored codes before they are read, and what an error about them says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecstore.errors import CorruptionError
from vecstore.segment.format import Component
from vecstore.segment.layout import Arrays
from vecstore.segment.manifest import SegmentInfo
from vecstore.types import Int64


class StoredTouch:
    """Verifies codes of a segment, `place`: its folder and what is in it.

    An array of codes has an item for each row, or for 2, 4, 8 ... rows.
    """

    __slots__ = ("_component", "_folder", "_info", "_shifts")

    def __init__(
        self, place: tuple[Path, SegmentInfo], component: Component, parts: Arrays, rows: int
    ) -> None:
        self._component = component
        self._folder, self._info = place
        self._shifts = {
            name: _shift(len(array) if array.ndim else 0, rows) for name, array in parts.items()
        }

    @property
    def needless(self) -> bool:
        """Whether nothing is left to do for whoever reads rows here and there."""
        return self._component.scattered and self._shifts.keys() <= self._component.verified

    def __call__(self, rows: Int64 | None = None) -> None:
        """Verify what is stored at some positions, or at all."""
        self._component.expect(rows)
        if self._shifts.keys() <= self._component.verified:
            return
        with self._blaming():
            for name, shift in self._shifts.items():
                if rows is None or shift is None:
                    self._component.touch(name)
                else:
                    self._component.touch(name, rows if not shift else rows // (1 << shift))

    def spans(self, starts: Int64, stops: Int64) -> None:
        """Verify what is stored at the positions [start, stop) of each span."""
        if self._shifts.keys() <= self._component.verified:
            return
        with self._blaming():
            for name, shift in self._shifts.items():
                if shift == 0:
                    self._component.touch_spans(name, starts, stops)
                else:
                    self._component.touch(name)

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except CorruptionError as error:
            blame(error, self._folder, self._info)
            raise


def blame(error: CorruptionError, folder: Path, info: SegmentInfo) -> None:
    """Let an error say which segment is damaged, and what is in it."""
    if not error.folder:
        error.folder = str(folder)
        error.args = (f"{error}; {holds(info)}",)


def holds(info: SegmentInfo) -> str:
    """What is lost with a segment, and what helps."""
    return (
        f"segment {info.id} holds the seqs {info.seq_min} to {info.seq_max}; "
        "repair() makes good what it can, or restore a snapshot"
    )


def _shift(items: int, rows: int) -> int | None:
    """The s for which each of the items stands for 2**s rows; None where there is no such s."""
    for shift in range(rows.bit_length() + 1):
        if (rows + (1 << shift) - 1) >> shift == items:
            return shift
    return None
