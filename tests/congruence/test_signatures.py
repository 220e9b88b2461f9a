"""Both databases offer the same methods."""

from __future__ import annotations

import inspect

import pytest

from vecstore.collection import Collection
from vecstore.database import Database
from vecstore_client import RemoteCollection, RemoteDatabase
from vecstore_client.aio import AsyncCollection, AsyncDatabase

NARROWER = {("snapshot", "target"): "str"}
"""What a client may pass less of: a server is given the name of a snapshot, and no path."""


def _public(kind: type) -> dict[str, object]:
    return {
        name: inspect.signature(item) if inspect.isfunction(item) else type(item)
        for base in reversed(kind.__mro__[:-1])
        for name, item in vars(base).items()
        if not name.startswith("_") and not isinstance(item, classmethod)
    }


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (Database, RemoteDatabase),
        (Collection, RemoteCollection),
        (Database, AsyncDatabase),
        (Collection, AsyncCollection),
    ],
)
def test_methods_have_the_same_parameters(here: type, there: type) -> None:
    """Every public method has the same parameters and defaults, embedded and remote."""
    embedded, remote = _public(here), _public(there)
    assert embedded.keys() == remote.keys()
    for name, signature in embedded.items():
        if isinstance(signature, inspect.Signature):
            mine = remote[name]
            assert isinstance(mine, inspect.Signature)
            expected = [
                item.replace(annotation=NARROWER.get((name, item.name), item.annotation))
                for item in signature.parameters.values()
            ]
            assert list(mine.parameters.values()) == expected, name
