"""Fuzz what reads bytes and text from outside: a typed error or a value, and never a crash.

python -m tests.fault.fuzz TARGET SECONDS       TARGET: segment, forged, packed, manifest, filter

Needs atheris (`pip install 'vecstore[fault]'`). Prints how many inputs were tried.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from inspect import isclass
from pathlib import Path
from types import FunctionType
from typing import Any
from unittest.mock import patch

import atheris
import numpy as np

import vecstore as vs
from vecstore.errors import VecstoreError
from vecstore.search.where import parse_where
from vecstore.segment import format as segment_format
from vecstore.segment.alone import open_segment
from vecstore.segment.catalog import CodecInfo, CollectionInfo
from vecstore.segment.format import Component, pack_arrays, unpack_arrays
from vecstore.segment.manifest import Manifest, SegmentInfo, from_bytes, to_bytes
from vecstore.storage.files import RealFiles

INSTRUMENTED = ("vecstore", "lark")
PREFIX = "vecstore-fuzz-"
COLUMNS = [vs.Column("year", "int"), vs.Column("lang", "keyword"), vs.Column("tags", "list[int]")]
FILTERS = [
    "year >= 2015 AND lang IN ('en', 'fr')",
    "NOT (tags CONTAINS 3 OR year IS NULL) AND lang <> 'it''s'",
    "year BETWEEN -1 AND 2e3",
]


def instrument() -> None:
    """Have the functions of what is loaded report what they reach.

    Not at import, as an editable install is imported by a loader that atheris passes over.
    """
    found: dict[int, FunctionType] = {}
    for name, module in list(sys.modules.items()):
        if not _ours(name):
            continue
        spaces = [vars(module), *(vars(each) for each in vars(module).values() if isclass(each))]
        for value in (value for space in spaces for value in space.values()):
            inner = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(inner, FunctionType) and _ours(inner.__module__):
                found[id(inner)] = inner
    for function in found.values():
        atheris.instrument_func(function)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in INSTRUMENTED


def small_arrays() -> dict[str, Any]:
    """Arrays of several types."""
    return {"a": np.arange(5, dtype=np.uint64), "b": np.zeros((2, 3), np.float16)}


class Believed:
    """A checksum that equals any other, as that of whoever makes a file to do harm."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def fuzz_component(folder: Path, data: bytes) -> None:
    """Open bytes as a component, and read all of it."""
    path = folder / "component"
    path.write_bytes(data)
    for kind in ("codes", "segment", "rows", "column"):
        try:
            component = Component.open(RealFiles(), path, kind, None)
        except VecstoreError:
            continue
        for name in component.arrays:
            component.whole(name)
        component.verify()


def fuzz_segment(folder: Path, data: bytes) -> None:
    """Open bytes as the description of a segment, and as a component."""
    fuzz_component(folder, data)
    (folder / "segment").write_bytes(data)
    segment = open_segment(RealFiles(), folder)
    segment.verify()


def fuzz_forged(folder: Path, data: bytes) -> None:
    """The same, of bytes whose checksums are right."""
    with patch.object(segment_format, "crc32c", lambda *_: Believed()):
        fuzz_segment(folder, data)


def fuzz_manifest(folder: Path, data: bytes) -> None:
    """Decode every stored value."""
    for kind in (Manifest, SegmentInfo, CodecInfo):
        try:
            from_bytes(kind, data)
        except VecstoreError:
            continue
    CollectionInfo.from_bytes("name", data)


def fuzz_filter(folder: Path, data: bytes) -> None:
    """Parse a filter."""
    parse_where(data.decode("utf-8", "replace"), COLUMNS)


def fuzz_packed(folder: Path, data: bytes) -> None:
    """Unpack arrays."""
    unpack_arrays(data)


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "segment": fuzz_segment,
    "forged": fuzz_forged,
    "packed": fuzz_packed,
    "manifest": fuzz_manifest,
    "filter": fuzz_filter,
}


def seeds(target: str, folder: Path) -> Iterator[bytes]:
    """Sound inputs to start from."""
    if target == "filter":
        yield from (text.encode() for text in FILTERS)
    elif target == "packed":
        yield pack_arrays(small_arrays())
    elif target in {"segment", "forged"}:
        with vs.open(folder / "db") as db:
            fields = [vs.Vector("v", 4), vs.MultiVector("sets", 4)]
            items = db.create_collection("items", vs.Schema(fields, COLUMNS))
            one = np.eye(4, dtype=np.float32)
            vectors = {"v": one[:2], "sets": vs.Tokens(one, [0, 3, 4], [1, 0, 2, 0])}
            items.upsert([1, "a"], vectors, [{"year": 1}, None])
            items.flush()
        for name in sorted((folder / "db" / "segments").glob("*/*")):
            yield name.read_bytes()
    else:
        yield to_bytes(Manifest())
        yield CollectionInfo(1, "name", vs.Schema([vs.Vector("v", 4)], COLUMNS)).to_bytes()


def main() -> None:
    """Fuzz one target for some seconds."""
    target, seconds = sys.argv[1], sys.argv[2]
    memory = Path("/dev/shm")
    place = memory if memory.exists() else Path(tempfile.gettempdir())
    for left in place.glob(PREFIX + "*"):  # the fuzzer ends without cleaning up
        shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(target, folder)):
        (corpus / str(number)).write_bytes(seed)
    run = TARGETS[target]

    def one(data: bytes) -> None:
        try:
            run(folder, data)
        except VecstoreError:
            return

    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=65536", str(corpus)]
    instrument()
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
