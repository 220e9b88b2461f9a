"""Checks payloads: JSON objects in, their bytes and the values of columns out."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import msgspec
import numpy as np

from vecstore.errors import PayloadError
from vecstore.options import PAYLOAD_BYTES_MAX
from vecstore.schema import Column
from vecstore.segment.columns import ColumnData, is_list, item_type, parse_timestamp
from vecstore.segment.ragged import Ragged
from vecstore.types import Id

# Deeper ones could be written but, from a deeper stack, not be read again.
PAYLOAD_DEPTH_MAX = 100

# What JSON can say, besides floats and containers; a date comes back as ISO 8601 text.
_PLAIN = (str, int, date, np.bool_, np.integer)
_UNUSABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
_PYTHON_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "keyword": str}
_TYPE_WORDS = {
    "int": "an int of 64 bits",
    "float": "a number",
    "bool": "true or false",
    "keyword": "a string",
    "timestamp": "ISO 8601 text or an int of microseconds since 1970",
}


def check_payloads(
    payloads: Sequence[Any], ids: Sequence[Id], columns: Sequence[Column]
) -> tuple[Ragged, dict[str, ColumnData]]:
    """Encode payloads and read their columns.

    Args:
        payloads: N of a dict, JSON text of an object as bytes, or None.
        ids: the N ids, to name records in errors.
        columns: the columns to read from the payloads; absent or null is null.

    Raises:
        PayloadError: a payload is not a JSON object, or too large, or a column has another type.
    """
    encoder = msgspec.json.Encoder(enc_hook=_encode_scalar)
    decoder = msgspec.json.Decoder(dict)
    texts: list[bytes] = []
    objects: list[dict[str, Any]] = []
    for payload, id_ in zip(payloads, ids, strict=True):
        if payload is None:
            texts.append(b"")
            objects.append({})
            continue
        try:
            text = payload if isinstance(payload, bytes) else encoder.encode(payload)
            found = decoder.decode(text)
        except _UNUSABLE as error:
            raise _not_json(payload, id_, error) from None
        if len(text) > PAYLOAD_BYTES_MAX:
            raise PayloadError(
                f"payload of id {id_!r} has {len(text):,} bytes of JSON, "
                f"expected at most {PAYLOAD_BYTES_MAX:,}"
            )
        if text.count(b"[") + text.count(b"{") > PAYLOAD_DEPTH_MAX:
            _check_depth(found, id_)
        # What comes back equal was JSON; else look for what is not, such as NaN or an int key.
        if found != payload and not isinstance(payload, bytes):
            _check_value(payload, "payload", id_)
        texts.append(text)
        objects.append(found)
    read = {column.name: _read_column(column, objects, ids) for column in columns}
    return Ragged.from_list(texts), read


def _encode_scalar(value: object) -> object:
    if isinstance(value, np.bool_ | np.integer | np.floating | np.str_):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _not_json(payload: object, id_: Id, error: BaseException) -> PayloadError:
    if isinstance(payload, bytes):
        return PayloadError(
            f"payload of id {id_!r} is {payload[:40]!r} ({error}), expected the JSON of an object"
        )
    if not isinstance(payload, dict):
        return PayloadError(
            f"payload of id {id_!r} is a {type(payload).__name__}, expected a dict or None"
        )
    with suppress(RecursionError):
        _check_value(payload, "payload", id_)
    return PayloadError(f"payload of id {id_!r} cannot be JSON: {error}; expected JSON values only")


def _check_value(value: object, path: str, id_: Id) -> None:
    """Raise PayloadError for the first part of `value` that JSON would change or lose."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PayloadError(
                    f"{path} of id {id_!r} has the key {key!r}, expected only str keys"
                )
            _check_value(item, f"{path}[{key!r}]", id_)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _check_value(item, f"{path}[{place}]", id_)
    elif isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise PayloadError(f"{path} of id {id_!r} is {value}, expected a finite number or None")
    elif value is not None and not isinstance(value, _PLAIN):
        raise PayloadError(
            f"{path} of id {id_!r} is a {type(value).__name__}, expected a JSON value or a datetime"
        )


def _check_depth(value: dict[str, Any], id_: Id) -> None:
    level: list[Any] = [value]
    for _ in range(PAYLOAD_DEPTH_MAX):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise PayloadError(
        f"payload of id {id_!r} nests more than {PAYLOAD_DEPTH_MAX} deep, expected less"
    )


def _read_column(
    column: Column, objects: Sequence[dict[str, Any]], ids: Sequence[Id]
) -> ColumnData:
    """The column's values from decoded payloads."""
    name, type_ = column.name, column.type
    values = [found.get(name) for found in objects]
    # Nearly always each value is of the one right type, and together they are quick to check.
    if set(map(type, values)) <= {_PYTHON_TYPES.get(type_), type(None)}:
        with suppress(OverflowError):
            return ColumnData.from_values(type_, values)
    read = [
        None if value is None else _read_value(column, value, id_)
        for value, id_ in zip(values, ids, strict=True)
    ]
    return ColumnData.from_values(type_, read)


def _read_value(column: Column, value: object, id_: Id) -> object:
    kind = item_type(column.type)
    if not is_list(column.type):
        found = _coerce(value, kind)
        if found is not None:
            return found
    elif isinstance(value, list):
        items = [_coerce(item, kind) for item in value]
        if None not in items:
            return items
        value = value[items.index(None)]
    shown = repr(value)
    raise PayloadError(
        f"column {column.name!r} of id {id_!r} "
        f"{'holds' if is_list(column.type) else 'is'} "
        f"{shown if len(shown) <= 80 else shown[:77] + '...'} ({type(value).__name__}), "
        f"expected {'a list, each ' if is_list(column.type) else ''}{_TYPE_WORDS[kind]}"
    )


def _coerce(value: object, kind: str) -> int | float | str | None:
    """The value as the column keeps it; None where its type is another."""
    if kind == "timestamp" and isinstance(value, str):
        try:
            return parse_timestamp(value)
        except ValueError:
            return None
    if type(value) is int:
        if kind == "float":
            return float(value) if abs(value) <= sys.float_info.max else None
        if kind == "timestamp":
            kind = "int"
        if not -(1 << 63) <= value < 1 << 63:
            return None
    if isinstance(value, int | float | str) and type(value) is _PYTHON_TYPES.get(kind):
        return value
    return None
