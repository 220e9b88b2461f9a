"""The one place that makes and parses the names of files.

    <root>/
        data.mdb, lock.mdb       LMDB
        writer.lock              who writes
        segments/<id>/<component>
        segments/<id>.tmp/       being written, or left behind by a crash
        codecs/<id>              a trained codec
        codecs/<id>.tmp
        readers/<random>         what a reader process still reads; see pins.py

Ids are numbers, written as 16 hexadecimal digits. Names given by users never become part of a
path: fields and columns are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vecstore.errors import CorruptionError

_ID = re.compile(r"[0-9a-f]{16}")
_COMPONENT = re.compile(
    r"segment|rows|payloads|(column|presence|tokens)-[0-9]{1,4}|(codes|listed)-[0-9]{1,4}-[0-9]{1,4}"
)
_FILE = re.compile(
    rf"data\.mdb|segments/{_ID.pattern}/(?:{_COMPONENT.pattern})|codecs/{_ID.pattern}"
)
_TEMPORARY = ".tmp"
_OWN = frozenset({"data.mdb", "lock.mdb", "writer.lock", "segments", "codecs", "readers"})

SEGMENT = "segment"
ROWS = "rows"
PAYLOADS = "payloads"
LISTED = "listed"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the parts of the database in `root` lie."""

    root: Path

    @property
    def data(self) -> Path:
        """LMDB's file."""
        return self.root / "data.mdb"

    @property
    def lmdb_lock(self) -> Path:
        """LMDB's own lock file, never copied."""
        return self.root / "lock.mdb"

    @property
    def unfinished(self) -> Path:
        """In a directory that is to become a copy of a database: locked by who makes it."""
        return self.root / "unfinished"

    @property
    def writer_lock(self) -> Path:
        """Held by the one process that writes."""
        return self.root / "writer.lock"

    @property
    def segments(self) -> Path:
        """The directory of all segments."""
        return self.root / "segments"

    @property
    def codecs(self) -> Path:
        """The directory of all trained codecs."""
        return self.root / "codecs"

    @property
    def readers(self) -> Path:
        """The directory where reader processes say what they read."""
        return self.root / "readers"

    def segment(self, segment_id: int) -> Path:
        """The directory of one segment."""
        return self.segments / _name(segment_id)

    def segment_temporary(self, segment_id: int) -> Path:
        """Where a segment is written before it is renamed into place."""
        return self.segments / (_name(segment_id) + _TEMPORARY)

    def codec(self, codec_id: int) -> Path:
        """The file of one trained codec."""
        return self.codecs / _name(codec_id)

    def codec_temporary(self, codec_id: int) -> Path:
        """Where a codec is written before it is renamed into place."""
        return self.codecs / (_name(codec_id) + _TEMPORARY)

    def name_of(self, path: Path) -> str:
        """What snapshots call a file of this database: its path below the root, with "/"."""
        return path.relative_to(self.root).as_posix()

    def named(self, name: str) -> Path | None:
        """The inverse of `name_of`; None for what names no file that a snapshot can hold."""
        return self.root / name if _FILE.fullmatch(name) else None


def component_path(folder: Path, component: str) -> Path:
    """The file of a component in a segment's directory.

    Raises:
        CorruptionError: no component has that name; it would lead elsewhere.
    """
    if not _COMPONENT.fullmatch(component):
        raise CorruptionError(
            f"{folder} is said to have a component {component!r}, expected a name of the format"
        )
    return folder / component


def column_component(column: int) -> str:
    """The component of the column of that number."""
    return f"column-{column}"


def presence_component(field: int) -> str:
    """The component that lists which rows have the field of that number."""
    return f"presence-{field}"


def tokens_component(field: int) -> str:
    """The component that says where the tokens of each row of the field of that number lie."""
    return f"tokens-{field}"


def codes_component(field: int, representation: int) -> str:
    """The component of one representation of the field of that number."""
    return f"codes-{field}-{representation}"


def listed_component(field: int, representation: int) -> str:
    """The same where the codes are in the order of inverted lists.

    It has another name, so that a version that knows no lists refuses it.
    """
    return f"{LISTED}-{field}-{representation}"


def kind_of(component: str) -> str:
    """What a component of that name holds: the first word of the name."""
    return component.partition("-")[0]


def parse_id(name: str) -> int | None:
    """The id that names a segment's directory or a codec's file, or None for another name."""
    return int(name, 16) if _ID.fullmatch(name) else None


def is_temporary(name: str) -> bool:
    """Whether the name is one that a crash may leave in `segments` or `codecs`."""
    return name.endswith(_TEMPORARY) and parse_id(name.removesuffix(_TEMPORARY)) is not None


def strangers(names: Iterable[str]) -> list[str]:
    """The names in a root directory that no database has."""
    return [name for name in names if name not in _OWN]


def _name(number: int) -> str:
    assert 0 <= number < 1 << 64, number
    return f"{number:016x}"
