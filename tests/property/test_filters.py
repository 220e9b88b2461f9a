"""Filters agree with the slow evaluator, for all types and any tree."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import filters
from vecstore.schema import Column
from vecstore.search.mask import evaluate
from vecstore.search.where import parse_where
from vecstore.segment.columns import ColumnData, is_list, item_type

COLUMNS = (
    Column("year", "int"),
    Column("price", "float"),
    Column("sold", "bool"),
    Column("lang-1", "keyword"),
    Column("a.time", "timestamp"),
    Column("years", "list[int]"),
    Column("prices", "list[float]"),
    Column("flags", "list[bool]"),
    Column("tags", "list[keyword]"),
    Column("times", "list[timestamp]"),
)

# Few and close values, so that they often meet; and those at which number types part.
INTS = st.sampled_from([0, 1, -1, 2, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
FLOATS = st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.5, 2.0, 2.0**53, 2.0**63, -(2.0**63), 1e300])
WORDS = st.sampled_from(["", "a", "ab", "b", "it's", "ß", "漢", "\U0001f600", "\uffff", '"'])
TIMES = st.sampled_from(
    [
        datetime(1970, 1, 1),
        datetime(1970, 1, 1, 0, 0, 0, 1),
        datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 2, 29, 10),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    ]
)
MOMENTS = TIMES | TIMES.map(filters.plain)
STORED = {
    "int": INTS,
    "float": FLOATS,
    "bool": st.booleans(),
    "keyword": WORDS,
    "timestamp": TIMES.map(filters.plain),
}
LITERALS: dict[str, st.SearchStrategy[Any]] = {
    **STORED,
    "int": INTS | FLOATS | st.sampled_from([2**63, -(2**63) - 1, 10**30]),
    "float": INTS | FLOATS | st.sampled_from([10**400, -(10**400), 2**53 - 1]),
    "timestamp": MOMENTS,
}


def _records() -> st.SearchStrategy[list[dict[str, Any]]]:
    values = {}
    for column in COLUMNS:
        item = STORED[item_type(column.type)]
        value = st.lists(item, max_size=3) if is_list(column.type) else item
        values[column.name] = st.none() | value
    return st.lists(st.fixed_dictionaries(values), max_size=12)


@st.composite
def _leaves(draw: st.DrawFn) -> tuple[Any, ...]:
    column = draw(st.sampled_from(COLUMNS))
    literal = LITERALS[item_type(column.type)]
    if draw(st.integers(0, 5)) == 0:
        return (draw(st.sampled_from(["null", "not null"])), column.name)
    if is_list(column.type):
        return ("contains", column.name, draw(literal))
    kinds = ["=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "not between"]
    kind = draw(st.sampled_from(kinds))
    if kind.endswith("in"):
        return (kind, column.name, draw(st.lists(literal, min_size=1, max_size=4)))
    if kind.endswith("between"):
        return (kind, column.name, draw(literal), draw(literal))
    return (kind, column.name, draw(literal))


def _grow(trees: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[tuple[Any, ...]]:
    several = st.lists(trees, min_size=2, max_size=4)
    return st.tuples(st.sampled_from(["and", "or"]), several) | st.tuples(st.just("not"), trees)


@settings(max_examples=300)
@given(records=_records(), tree=st.recursive(_leaves(), _grow, max_leaves=8))
def test_filters_agree_with_the_slow_evaluator(
    records: list[dict[str, Any]], tree: tuple[Any, ...]
) -> None:
    """A filter allows exactly the records for which the slow evaluator says True."""
    data = {
        column.name: ColumnData.from_values(
            column.type, [record[column.name] for record in records]
        )
        for column in COLUMNS
    }
    node = parse_where(filters.write(tree), COLUMNS)
    mask = evaluate(node, data.__getitem__, len(records))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [filters.passes(tree, record) is True for record in records]
