"""A database that does what a test tells it to, to serve without an engine."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.types import Hits, Record
from vecstore_server.app import Server

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 3)])


class FakeCollection:
    """Remembers what it was called with; `answers` maps a method to what it does."""

    schema = SCHEMA
    id = 1

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Callable[[], Any]] = {}
        self.records = [Record(row, {"text": "x" * 100}) for row in range(10)]

    def _do(self, method: str, *arguments: Any, otherwise: Any = None) -> Any:
        self.calls.append((method, arguments))
        return self.answers[method]() if method in self.answers else otherwise

    def upsert(
        self, ids: Any, vectors: Any = None, payloads: Any = None, *, ttl_s: Any = None
    ) -> Any:
        return self._do("upsert", ids, vectors, payloads, ttl_s, otherwise=len(ids))

    def delete(self, ids: Any = None, *, where: Any = None) -> Any:
        return self._do("delete", ids, where, otherwise=0)

    def get(self, ids: Any, *, with_vectors: bool = False) -> Any:
        return self._do("get", ids, with_vectors, otherwise=[self.records[id_] for id_ in ids])

    def scroll_page(self, after: int, limit: int, **_: Any) -> Any:
        page = self.records[after : after + limit]
        end = after + len(page)
        following = end if end < len(self.records) else None
        return self._do("scroll_page", after, limit, otherwise=(page, following))

    def count(self, where: Any = None) -> Any:
        return self._do("count", where, otherwise=5)

    def flush(self) -> Any:
        return self._do("flush")

    def compact(self) -> Any:
        return self._do("compact")

    def alter(self, field: str, representations: Any, *, wait: bool = True, **_: Any) -> Any:
        return self._do("alter", field, representations, wait)

    def stats(self) -> Any:
        return self._do("stats")

    def search(self, vectors: Any, **_: Any) -> Any:
        return self._do("search", vectors, otherwise=fake_hits(self.records))

    def search_batch(self, vectors: Any, **_: Any) -> Any:
        found = [fake_hits(self.records) for _ in vectors]
        return self._do("search_batch", vectors, otherwise=found)


class FakeDatabase:
    """One collection, whatever the name; `work` is what takes long."""

    def __init__(self) -> None:
        self.fake = FakeCollection()
        self.work: Callable[[Any], Any] = lambda progress: []
        self.waiting: list[Any] = []
        self.closed = threading.Event()

    def collection(self, name: str) -> Any:
        return self.fake

    def collections(self) -> list[str]:
        return ["fake"]

    def check(self, progress: Any = None) -> Any:
        return self.work(progress)

    def repair(self, progress: Any = None) -> Any:
        return self.work(progress)

    def snapshot(self, target: Any, *, progress: Any = None) -> Any:
        return self.work(progress)

    def jobs(self) -> Any:
        return self.waiting

    def close(self) -> None:
        self.closed.set()


Starter = Callable[..., tuple[FakeDatabase, Server]]


def fake_hits(records: list[Record]) -> Hits:
    """Records as hits."""

    class Loader:
        def ids(self) -> Any:
            return [record.id for record in records]

        def payloads(self) -> Any:
            return [record.payload for record in records]

        def raw_payloads(self) -> Any:
            return [b'{"text":"' + b"x" * 100 + b'"}' for _ in records]

        def vectors(self) -> Any:
            return [record.vectors for record in records]

        def matches(self) -> None:
            return None

    return Hits(np.ones(len(records), np.float32), Loader())


def run_python(code: str) -> str:
    """What a new interpreter prints that runs some code."""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()
