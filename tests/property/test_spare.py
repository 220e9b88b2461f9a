"""Whatever is written, deleted, read beside and given back, LMDB holds what a dict does."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vecstore import options
from vecstore.storage.kv import Kv, Txn
from vecstore.storage.pages import damaged_pages

LIMITS = {"SPARE_BYTES_MIN": 1, "SPARE_SHARE_MIN": 0.0, "HOLE_BYTES_MIN": 4096}
METAS = 2 * 4096
KEYS = st.integers(0, 30).map(lambda number: b"key %02d" % number)
SIZES = st.sampled_from([1, 700, 3_000, 5_000, 20_000, 90_000])


class Holes(RuleBasedStateMachine):
    """An environment, a dict, and transactions that are still open with what they must read."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.kept = {name: getattr(options, name) for name in LIMITS}
        for name, value in LIMITS.items():
            setattr(options, name, value)
        self.path = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.kv = self.opened()
        self.held: dict[bytes, bytes] = {}
        self.readers: list[tuple[Any, Txn, dict[bytes, bytes]]] = []

    def opened(self) -> Kv:
        return Kv.open(self.path, databases=("meta", "values"), map_bytes=1 << 28)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=8), size=SIZES, byte=st.binary(min_size=1))
    def put(self, keys: list[bytes], size: int, byte: bytes) -> None:
        with self.kv.write() as txn:
            for key in keys:
                self.held[key] = byte[:1] * size
                txn.put("values", key, self.held[key])
            txn.put("meta", b"key", b"value")

    @rule(start=KEYS, stop=KEYS)
    def delete(self, start: bytes, stop: bytes) -> None:
        with self.kv.write() as txn:
            txn.delete_range("values", start, stop)
        self.held = {key: value for key, value in self.held.items() if not start <= key < stop}

    @rule()
    def give_back(self) -> None:
        file, copy = self.path / "data.mdb", self.path / "copy"
        metas, blocks = file.read_bytes()[:METAS], os.stat(file).st_blocks
        assert self.kv.give_back() >= 0
        if not self.readers:
            assert os.stat(file).st_blocks <= blocks + 128  # of its own commit
        copy.write_bytes(metas + file.read_bytes()[METAS:])
        assert damaged_pages(copy) == []  # were the record of that one lost

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def begin(self) -> None:
        reading = self.kv.read()
        self.readers.append((reading, reading.__enter__(), dict(self.held)))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        reading, _, _ = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))
        reading.__exit__(None, None, None)

    @precondition(lambda self: not self.readers)
    @rule()
    def reopen(self) -> None:
        self.kv.close()
        self.kv = self.opened()

    @invariant()
    def equals(self) -> None:
        assert self.kv.damaged_pages() == []
        with self.kv.read() as txn:
            assert dict(txn.scan("values")) == self.held
        for _, txn, expected in self.readers:
            assert dict(txn.scan("values")) == expected

    def teardown(self) -> None:
        for reading, _, _ in self.readers:
            reading.__exit__(None, None, None)
        self.kv.close()
        self.stack.close()
        for name, value in self.kept.items():
            setattr(options, name, value)


Holes.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


class TestHoles(Holes.TestCase):
    """Any order of writes, deletes, reads and holes."""
