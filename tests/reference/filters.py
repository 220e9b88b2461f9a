"""Filters, slow and obvious: one record at a time, in SQL's three-valued logic.

A tree is made of plain tuples, and keeps literals as they are written:

    ("=" | "!=" | "<" | "<=" | ">" | ">=", column, literal)    ("contains", column, literal)
    ("in" | "not in", column, [literals])                      ("null" | "not null", column)
    ("between" | "not between", column, low, high)
    ("and" | "or", [trees])                                    ("not", tree)
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NEGATED = {True: False, False: True, None: None}


def passes(tree: tuple[Any, ...], record: Mapping[str, Any]) -> bool | None:
    """True, False, or None for unknown: what SQL makes of a filter for one record."""
    kind = tree[0]
    if kind in ("and", "or"):
        found = [passes(term, record) for term in tree[1]]
        decisive = bool(kind == "or")
        if decisive in found:
            return decisive
        return None if None in found else not decisive
    if kind == "not":
        return _NEGATED[passes(tree[1], record)]
    if kind.startswith("not "):
        return _NEGATED[passes((kind[4:], *tree[1:]), record)]
    value = record.get(tree[1])
    if kind == "null":
        return value is None
    if value is None:
        return None
    if kind == "contains":
        return any(plain(item) == plain(tree[2]) for item in value)
    if kind == "in":
        return any(plain(value) == plain(item) for item in tree[2])
    if kind == "between":
        return bool(plain(tree[2]) <= plain(value) <= plain(tree[3]))
    return bool(_OPERATORS[kind](plain(value), plain(tree[2])))


def plain(value: Any) -> Any:
    """A value that Python compares as SQL does: moments as microseconds, exact numbers."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def write(tree: tuple[Any, ...]) -> str:
    """The tree as text of the filter language, in parentheses where they are needed."""
    kind = tree[0]
    if kind in ("and", "or"):
        return "(" + f" {kind.upper()} ".join(write(term) for term in tree[1]) + ")"
    if kind == "not":
        return f"NOT {write(tree[1])}"
    column = f'"{tree[1]}"' if "-" in tree[1] else tree[1]
    if kind.endswith("null"):
        return f"{column} IS {kind.upper()}"
    if kind.endswith("in"):
        return f"{column} {kind.upper()} ({', '.join(write_literal(item) for item in tree[2])})"
    if kind.endswith("between"):
        low, high = write_literal(tree[2]), write_literal(tree[3])
        return f"{column} {kind.upper()} {low} AND {high}"
    return f"{column} {kind.upper()} {write_literal(tree[2])}"


def write_literal(value: Any) -> str:
    """The literal as text of the filter language."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
