"""The numbers in "meta": the format of the database, and the counters that name things."""

from __future__ import annotations

import secrets

from vecstore.errors import FormatVersionError
from vecstore.storage import keys
from vecstore.storage.kv import Txn

FORMAT_VERSION = 1
_IDENTITY_BYTES = 16


def set_format(txn: Txn) -> None:
    """Say which format the database has, when it is made."""
    txn.put(keys.META, keys.FORMAT, keys.pack_number(FORMAT_VERSION))


def is_new(txn: Txn) -> bool:
    """Whether the database was just made: it has no format yet.

    Raises:
        FormatVersionError: a newer version wrote it.
    """
    stored = txn.get(keys.META, keys.FORMAT)
    version = FORMAT_VERSION if stored is None else keys.parse_number(stored)
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"the database has format version {version}, this vecstore reads up to "
            f"{FORMAT_VERSION}; open it with a newer vecstore"
        )
    return stored is None


def put_identity(txn: Txn) -> None:
    """Give the database an identity that no other one has."""
    txn.put(keys.META, keys.IDENTITY, secrets.token_bytes(_IDENTITY_BYTES))


def next_number(txn: Txn, counter: bytes) -> int:
    """The next number of a counter, from 1 on; each is given out once."""
    stored = txn.get(keys.META, counter)
    number = 1 if stored is None else keys.parse_number(stored)
    txn.put(keys.META, counter, keys.pack_number(number + 1))
    return number
