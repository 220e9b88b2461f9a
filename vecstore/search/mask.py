"""Filters over columns: which rows a tree of `where` allows.

SQL's three-valued logic: a comparison with a null is neither true nor false, and a row is allowed
only where the whole is true. So each node gives two masks: where it is true, where it is false.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np

from vecstore.search.nodes import And, Compare, Contains, In, IsNull, Node, Not, Or, Order
from vecstore.segment.columns import ColumnData, Value
from vecstore.segment.ragged import Ragged
from vecstore.types import Array, Bool

_ORDERS: dict[Order, Callable[[Array, Value], Bool]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def evaluate(node: Node, column: Callable[[str], ColumnData], rows: int) -> Bool:
    """The rows [rows] for which the filter is true.

    Args:
        node: what `parse_where` made.
        column: gives a column by name, each of `rows` rows.
        rows: how many rows there are.
    """
    return _evaluate(node, column, rows)[0]


def _evaluate(node: Node, column: Callable[[str], ColumnData], rows: int) -> tuple[Bool, Bool]:
    """Where the node is true [rows], and where it is false [rows]."""
    if isinstance(node, Not):
        true, false = _evaluate(node.term, column, rows)
        return false, true
    if isinstance(node, And | Or):
        true, false = _evaluate(node.terms[0], column, rows)
        for term in node.terms[1:]:
            also, never = _evaluate(term, column, rows)
            if isinstance(node, And):
                true, false = true & also, false | never
            else:
                true, false = true | also, false & never
        return true, false
    data = column(node.column)
    assert len(data) == rows
    if isinstance(node, IsNull):
        null = ~data.present
        return null, ~null
    hits = _hits(node, data)
    return hits & data.present, data.present & ~hits


def _hits(node: Compare | In | Contains, data: ColumnData) -> Bool:
    """Where the values compare so; anything where they are null."""
    if isinstance(node, Compare):
        if data.words is None:
            return _ORDERS[node.order](data.values, node.value)
        return _compare_words(node, data.values, data.words)
    found = _is_in(node.values, data)
    if data.offsets is None:
        return found
    # A list holds a value when the count of found items grows between its bounds.
    before = np.concatenate([[0], np.cumsum(found)])
    return before[data.offsets[1:]] > before[data.offsets[:-1]]


def _is_in(values: tuple[Value, ...], data: ColumnData) -> Bool:
    wanted = _find_words(values, data.words) if data.words is not None else values
    found: Bool
    if len(wanted) == 1:
        found = data.values == data.values.dtype.type(wanted[0])
    elif data.words is not None:
        named = np.zeros(max(1, len(data.words)), dtype=np.bool_)
        named[np.array(wanted, dtype=np.int64)] = True
        found = named[data.values]
    else:
        found = np.isin(data.values, np.array(wanted, dtype=data.values.dtype))
    return found


def _find_words(values: tuple[Value, ...], words: Ragged) -> tuple[int, ...]:
    """The codes of those values that are words."""
    texts = [_text(value) for value in values]
    places = [bisect_left(range(len(words)), text, key=words.get) for text in texts]
    return tuple(
        place
        for place, text in zip(places, texts, strict=True)
        if place < len(words) and words.get(place) == text
    )


def _compare_words(node: Compare, codes: Array, words: Ragged) -> Bool:
    """Compare keywords by their codes: words and codes ascend alike."""
    bisect = bisect_left if node.order in ("<", ">=") else bisect_right
    code = bisect(range(len(words)), _text(node.value), key=words.get)
    below: Bool = codes < code
    return below if node.order in ("<", "<=") else ~below


def _text(value: Value) -> bytes:
    # The surrogates that UTF-8 cannot hold are in no dictionary, but have a place in the order.
    return str(value).encode(errors="surrogatepass")
