"""Runs the same call on an embedded and on a remote database, and compares what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
import vecstore_server
from vecstore.errors import VecstoreError
from vecstore.types import Hits
from vecstore_server.telling import Tell, without_roots

VARIES = {"milliseconds", "exact_milliseconds", "created_at", "measured_at"}


@dataclass
class Pair:
    """Two databases, or two collections, that were given the same calls.

    Attributes:
        embedded: one of them.
        remote: the other.
        tell: takes out of a text of the embedded one what clients are not told.
    """

    embedded: Any
    remote: Any
    tell: Tell = str

    def __call__(self, method: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of both; what they answer or raise must be equal, and is returned."""
        return self.run(lambda item: getattr(item, method)(*args, **keywords))

    def run(self, call: Callable[[Any], Any]) -> Any:
        """The outcome of a call on both, as plain data."""
        here, there = outcome(call, self.embedded, self.tell), outcome(call, self.remote)
        assert there == here, f"remote: {there}\nembedded: {here}"
        return here

    def collection(self, method: str, *args: Any) -> Pair:
        """The collections that a method of both databases gives, of equal name, id and schema."""
        here, there = (getattr(item, method)(*args) for item in (self.embedded, self.remote))
        assert (there.name, there.id, there.schema) == (here.name, here.id, here.schema)
        return Pair(here, there, self.tell)


def folders(folder: Path) -> tuple[Path, Path]:
    """Where the two databases lie that `paired` opens."""
    return folder / "embedded", folder / "served"


@contextmanager
def paired(
    folder: Path, options: vs.Options, connect: Callable[[str], Any] = vs.connect
) -> Iterator[Pair]:
    """An embedded and a remote database."""
    mine, other = folders(folder)
    with ExitStack() as opened:
        server = vecstore_server.serve(other, port=0, options=options)
        opened.callback(server.stop)
        remote = opened.enter_context(connect(server.address))
        embedded = opened.enter_context(vs.open(mine, options=options))
        yield Pair(embedded, remote, without_roots(mine))


def outcome(call: Callable[[Any], Any], item: Any, tell: Tell = str) -> Any:
    """What a call gives as plain data; of an error its type and text."""
    try:
        return plain(call(item), tell)
    except VecstoreError as error:
        return type(error), tell(str(error))


def plain(value: Any, tell: Tell = str) -> Any:
    """A result as values that compare exactly: arrays as dtype, shape and bytes."""
    if isinstance(value, np.ndarray):
        data = value.tolist() if value.dtype == object else value.tobytes()
        return value.dtype.str, value.shape, data
    if isinstance(value, Hits):
        rest = [value.ids, value.scores, value.partial, value.explain, value.matches]
        return [plain(hit) for hit in value], plain(rest)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, {
            field.name: plain(getattr(value, field.name), tell)
            for field in dataclasses.fields(value)
            if field.name not in VARIES
        }
    if isinstance(value, Mapping):
        return {key: plain(item, tell) for key, item in value.items()}
    if isinstance(value, list | tuple | Iterator):
        return [plain(item, tell) for item in value]
    return type(value).__name__, tell(value) if isinstance(value, str) else value
