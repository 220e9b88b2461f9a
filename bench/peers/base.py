"""What a suite asks of a library, whichever it is.

This file and the adapters beside it run in the library's own environment: they import the
standard library, numpy, and the library, and nothing of vecstore but in its own adapter.

Shapes  N rows, Q queries, D dimensions, T vectors of one document or query.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
# Dense: float32 [N, D]. Late interaction: of each of N documents, float32 [T, D].
Vectors: TypeAlias = Float32 | Sequence[Float32]
# What a search is tuned with: the library's own words for its own knobs.
Setting: TypeAlias = Mapping[str, int | float | str]

MARKS = 1_000  # a record's mark is 0 ... MARKS - 1, drawn evenly


Ability: TypeAlias = Literal["dense", "filter", "database", "late"]


@dataclass(frozen=True)
class Environment:
    """Where a library is installed: one made for it, or, with no requirements, this one.

    Attributes:
        name: of its folder.
        requirements: what pip installs, pinned.
        variables: of the process that holds the peer.
    """

    name: str
    requirements: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is known of a peer before its library is loaded: each adapter lists its PEERS.

    Attributes:
        name: in tables: the library, then how it is configured.
        kind: the class in the adapter's module.
        does: "dense": vectors, one a record; "filter": by mark; "database": inserts, deletes and
            reopens at any time, and says what is durable; "late": several vectors a record.
        options: keyword arguments of the class.
        slow: too slow to build at a million rows; left out there, and the table says so.
    """

    name: str
    kind: str
    does: tuple[Ability, ...] = ("dense",)
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    slow: bool = False


class UnsupportedError(Exception):
    """The library cannot do this; the text says what, and goes into the row."""


@dataclass(frozen=True)
class Shape:
    """What a peer will hold.

    Attributes:
        rows: how many rows are inserted before `finish`.
        dim: dimensions.
        metric: "cosine" (of vectors at unit length) or "dot".
        threads: threads that a build or a batch may use.
    """

    rows: int
    dim: int
    metric: str
    threads: int


class Peer(ABC):
    """One configuration of a library. A record's id is its row: 0, 1, ...

    Every call but `search` is made from one thread; `search` from several at a time.

    Attributes:
        modules: what is imported when it is made, so that no import is in a time.
        synced: of a database, whether what `insert` was given is on disk, safe from a loss of
            power, when it returns; or "no: " and when it is, or why not.
        cold: whether it was opened since it was last searched: what searches keep in memory is
            to be made before they are timed.
    """

    modules: tuple[str, ...] = ()
    synced: bool | str = False
    cold = False

    def __init__(self, folder: Path, shape: Shape) -> None:
        """`folder` is there and empty, or holds what the same peer left there."""
        for module in self.modules:
            importlib.import_module(module)
        self.folder = folder
        self.shape = shape

    def create(self) -> None:
        """Make what `insert` needs, in the empty folder."""

    @abstractmethod
    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        """Add records, or replace those of the same rows, as durably as the library does it.

        Args:
            rows: int64 [n].
            vectors: of each row.
            marks: int64 [n], an integer attribute of each record, to filter by.
            new: none of the rows is there, so that a library that has a plain insert, besides
                one that looks for what it replaces, is to use that.
        """

    def delete(self, rows: Int64) -> None:
        """Remove records."""
        raise UnsupportedError("no delete")

    @abstractmethod
    def finish(self) -> None:
        """Index what was inserted and write it down: afterwards `search` is at its best."""

    @abstractmethod
    def open(self) -> None:
        """Open what `finish` left in the folder, in a new process."""

    @abstractmethod
    def settings(self) -> list[Setting]:
        """What to try, from fast to thorough; each of the library's documented knobs."""

    @abstractmethod
    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        """The best rows of each query, int64 [Q, limit], best first, -1 where there are no more.

        One call of the library where it takes many queries. With `below`, only records whose
        mark is less: while searching, as the library recommends it.
        """

    def prepare(self, setting: Setting, threads: int) -> None:
        """Called before searches with this setting, each of which may use as many threads.

        What opens anything anew here sets `cold`.
        """

    def close(self) -> None:
        """Let go of files and threads."""


class Index(Peer):
    """A library that is given all rows at once, and whose index then stays as it is."""

    def create(self) -> None:
        self.vectors: Float32 = np.empty((self.shape.rows, self.shape.dim), dtype=np.float32)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        if not hasattr(self, "vectors"):
            raise UnsupportedError("no inserts once it is built")
        self.vectors[rows] = vectors

    def finish(self) -> None:
        self.build(self.vectors)
        del self.vectors

    @abstractmethod
    def build(self, vectors: Float32) -> None:
        """Train, add every row, and save to the folder; keep them only if searches need them."""


def padded(found: Sequence[Sequence[int]], limit: int) -> Int64:
    """Rows as `search` returns them, from lists that may be shorter."""
    out = np.full((len(found), limit), -1, dtype=np.int64)
    for to, rows in zip(out, found, strict=True):
        to[: len(rows)] = rows[:limit]
    return out
