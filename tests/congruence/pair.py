"""Runs the same call on an embedded and on a remote database, and compares what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.errors import VecstoreError
from vecstore.types import Hits

VARIES = {"milliseconds"}


@dataclass
class Pair:
    """Two databases, or two collections, that were given the same calls."""

    embedded: Any
    remote: Any

    def __call__(self, method: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of both; what they answer or raise must be equal, and is returned."""
        return self.run(lambda item: getattr(item, method)(*args, **keywords))

    def run(self, call: Callable[[Any], Any]) -> Any:
        """The outcome of a call on both, as plain data."""
        here, there = outcome(call, self.embedded), outcome(call, self.remote)
        assert there == here
        return here

    def collection(self, method: str, *args: Any) -> Pair:
        """The collections that a method of both databases gives, of equal name, id and schema."""
        here, there = (getattr(item, method)(*args) for item in (self.embedded, self.remote))
        assert (there.name, there.id, there.schema) == (here.name, here.id, here.schema)
        return Pair(here, there)


def outcome(call: Callable[[Any], Any], item: Any) -> Any:
    """What a call gives as plain data; of an error its type and text."""
    try:
        return plain(call(item))
    except VecstoreError as error:
        return type(error), str(error)


def plain(value: Any) -> Any:
    """A result as values that compare exactly: arrays as dtype, shape and bytes."""
    if isinstance(value, np.ndarray):
        data = value.tolist() if value.dtype == object else value.tobytes()
        return value.dtype.str, value.shape, data
    if isinstance(value, Hits):
        hits = [plain(hit) for hit in value]
        return plain(value.ids), plain(value.scores), hits, value.partial, plain(value.explain)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name not in VARIES
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Iterator):
        return [plain(item) for item in value]
    return type(value).__name__, value
