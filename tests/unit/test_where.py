"""The filter language: what parses to what, and what the errors say."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vecstore as vs
from vecstore.database import Database
from vecstore.errors import FilterError
from vecstore.schema import Column
from vecstore.search import answer as search_answer
from vecstore.search.mask import evaluate
from vecstore.search.nodes import And, Compare, Contains, In, IsNull, Node, Not, Or
from vecstore.search.where import parse_where
from vecstore.segment.columns import ColumnData
from vecstore.segment.snapshot import Live
from vecstore.types import Bool

COLUMNS = (
    Column("year", "int"),
    Column("price", "float"),
    Column("sold", "bool"),
    Column("lang", "keyword"),
    Column("time", "timestamp"),
    Column("tags", "list[keyword]"),
    Column("a.b", "int"),
    Column("my-col", "int"),
    Column("and", "int"),
    Column("2d", "int"),
)
BIG = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("year = 1", In("year", (1,))),
        ("year != 1", Not(In("year", (1,)))),
        ("year <> 1", Not(In("year", (1,)))),
        ("year<-1", Compare("year", "<", -1)),
        ("year >= +1", Compare("year", ">=", 1)),
        ("year in (1, 2.0, 3.5)", In("year", (1, 2))),
        ("year NOT IN (1)", Not(In("year", (1,)))),
        (
            "year BETWEEN 1 AND 2 AND sold = TRUE",
            And(
                (
                    And((Compare("year", ">=", 1), Compare("year", "<=", 2))),
                    In("sold", (True,)),
                )
            ),
        ),
        ("year IS NULL", IsNull("year")),
        ("year is not null", Not(IsNull("year"))),
        ("tags CONTAINS 'it''s'", Contains("tags", ("it's",))),
        ("lang = ''", In("lang", ("",))),
        ("a.b = 1", In("a.b", (1,))),
        ("2d = 1", In("2d", (1,))),
        ('"my-col" = 1 and "and" = 2', And((In("my-col", (1,)), In("and", (2,))))),
        ("price = 1", In("price", (1.0,))),
        ("price < 1e3", Compare("price", "<", 1000.0)),
        ("price > .5", Compare("price", ">", 0.5)),
        ("price = 9007199254740993", In("price", ())),
        ("time >= '1970-01-01T00:00:01'", Compare("time", ">=", 1_000_000)),
        ("time = 7", In("time", (7,))),
        ("sold = false", In("sold", (False,))),
        # OR binds less than AND, AND less than NOT.
        (
            "NOT year = 1 AND year = 2 OR year = 3",
            Or((And((Not(In("year", (1,))), In("year", (2,)))), In("year", (3,)))),
        ),
        (
            "year = 1 AND\n\t(year = 2 OR year = 3)",
            And((In("year", (1,)), Or((In("year", (2,)), In("year", (3,)))))),
        ),
        # Bounds between two ints move to the one that leaves the same ints.
        ("year > 2.5", Compare("year", ">", 2)),
        ("year >= 2.5", Compare("year", ">", 2)),
        ("year < 2.5", Compare("year", "<=", 2)),
        ("year <= -2.5", Compare("year", "<=", -3)),
        ("year < 1e30", Compare("year", "<=", BIG)),
        ("year >= 99999999999999999999", Compare("year", ">", BIG)),
        ("year <= -1e30", Compare("year", "<", -BIG - 1)),
        ("year > -1e30", Compare("year", ">=", -BIG - 1)),
        ("((((year = 1))))", In("year", (1,))),
    ],
)
def test_filters_parse(text: str, node: Node) -> None:
    """The text parses to the tree."""
    assert parse_where(text, COLUMNS) == node


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 0, "has the end, expected '(' or NOT or a column"),
        ("yaer = 1", 0, "did you mean 'year'?"),
        ("nothing = 1", 0, "column 'nothing', expected one of 'year', 'price', 'sold'"),
        ("year", 4, "has the end, expected BETWEEN or CONTAINS or IN or IS or NOT or a comparison"),
        ("year = ", 7, "the end, expected a value"),
        ("year == 1", 6, "has '=', expected a value"),
        ("year = NULL", 7, "has 'NULL', expected a value (a null is found by IS NULL)"),
        ("year = 1 year = 2", 9, "has 'year', expected AND or OR or the end"),
        ("year = 1 AND (sold = TRUE", 25, "the end, expected ')'"),
        ("year IN ()", 9, "has ')', expected a value"),
        ("and = 1", 0, "has 'and', expected"),
        ("1 < year", 0, "has '1', expected '(' or NOT or a column"),
        ("year # 1", 5, "has '#'"),
        ("lang = 'en", 7, "an open quote ', expected it to be closed"),
        ('"my-col = 1', 0, 'an open quote "'),
        ("year = '1'", 7, "has '1', expected a number for column 'year' of type int"),
        ("year = TRUE", 7, "has TRUE, expected a number"),
        ("year = 1e999", 7, "has 1e999, expected a number"),
        ("year = " + "9" * 5000, 7, "expected a number"),
        ("lang = 5", 7, "expected a string in single quotes for column 'lang' of type keyword"),
        ("sold = 1", 7, "expected TRUE or FALSE"),
        ("time > 1.5", 7, "expected ISO 8601 text"),
        ("time > 'yesterday'", 7, "has 'yesterday', expected ISO 8601 text"),
        ("lang IN ('en', 5)", 15, "has 5, expected a string"),
        ("tags = 'a'", 0, "column 'tags' of type list[keyword], expected CONTAINS or IS NULL"),
        ("lang CONTAINS 'a'", 0, "expected a list column, or = in place of CONTAINS"),
        ("tags CONTAINS 1", 14, "has 1, expected a string"),
    ],
)
def test_errors_point_at_the_place(text: str, place: int, words: str) -> None:
    """A malformed filter raises FilterError with the text, a caret and what was expected."""
    with pytest.raises(FilterError) as caught:
        parse_where(text, COLUMNS)
    message, shown, caret = str(caught.value).split("\n")
    assert words in message
    assert shown[4:].startswith(text[: place + 40][:40])
    assert caret == " " * (4 + place) + "^"


def test_errors_show_the_line() -> None:
    """Of a filter of many lines, the error shows the part around the place."""
    text = "year = 1 AND\n" + "year = 1 AND " * 20 + "yeer = 1\nAND year = 1"
    with pytest.raises(FilterError) as caught:
        parse_where(text, COLUMNS)
    _, shown, caret = str(caught.value).split("\n")
    assert shown[caret.index("^") :] == "yeer = 1"
    assert len(shown) <= 104


def test_columns_are_listed_only_so_far() -> None:
    """An unknown column lists at most 20 of those there are."""
    columns = tuple(Column(f"column{number}", "int") for number in range(30))
    with pytest.raises(FilterError, match="'column19' and 10 more"):
        parse_where("x = 1", columns)
    with pytest.raises(FilterError, match="there are none"):
        parse_where("x = 1", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("year = 1 OR " * 900 + "year = 1", "characters, expected at most 10,000"),
        (f"year IN ({','.join('1' * 1001)})", "more than 1,000 comparisons and values"),
        ("NOT " * 2000 + "year = 1", "more than 100 deep"),
        ("(year=1 OR(year=1 AND" * 400 + " year=1" + "))" * 400, "more than 100 deep"),
        (7, "where is 7, expected a str"),
        (None, "where is None, expected a str"),
    ],
)
def test_limits(text: str, words: str) -> None:
    """A filter that is too long, too deep or no text raises FilterError, never RecursionError."""
    with pytest.raises(FilterError, match=words):
        parse_where(text, COLUMNS)


def test_as_deep_as_allowed() -> None:
    """Filters within the limits parse and evaluate, however many brackets they have."""
    data = ColumnData.from_values("int", [1, 2, None])
    for text in ("NOT " * 99 + "year = 1", "(" * 3000 + "year != 1" + ")" * 3000):
        mask = evaluate(parse_where(text, COLUMNS), lambda _: data, 3)
        assert mask.tolist() == [False, True, False]
    many = " OR ".join(["year=2"] * 900)
    assert evaluate(parse_where(many, COLUMNS), lambda _: data, 3).tolist() == [False, True, False]


@given(st.text(max_size=40) | st.text("yearlang=<>!()'\" 19.,ANDORTI\n", max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """Any text either parses, or raises FilterError."""
    with suppress(FilterError):
        parse_where(text, COLUMNS)


def test_nulls_are_neither_true_nor_false() -> None:
    """A comparison with null passes neither as it is nor negated; OR with something true does."""
    data = {
        "year": ColumnData.from_values("int", [1, 2, None]),
        "tags": ColumnData.from_values("list[keyword]", [["a"], [], None]),
    }
    for text, expected in {
        "year = 1": [True, False, False],
        "NOT year = 1": [False, True, False],
        "year = 1 OR year IS NULL": [True, False, True],
        "NOT (year = 1 AND year IS NULL)": [True, True, False],
        "NOT tags CONTAINS 'a'": [False, True, False],
        "tags CONTAINS 'b'": [False, False, False],
    }.items():
        mask = evaluate(parse_where(text, COLUMNS), data.__getitem__, 3)
        assert mask.dtype == np.bool_
        assert mask.tolist() == expected, text


def test_a_filter_is_worked_out_once_for_what_is_there(
    foreground: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again where rows were written since, another filter was asked, or bits take too much room."""
    calls = []

    def counted(node: Node, live: Live) -> Bool:
        calls.append(node)
        return passing(node, live)

    passing = search_answer.passing
    monkeypatch.setattr(search_answer, "passing", counted)
    schema = vs.Schema([vs.Vector("v", 4)], columns=[vs.Column("n", "int")])
    items = foreground.create_collection("items", schema)

    def found(where: str) -> tuple[int, set[object]]:
        calls.clear()
        ids = items.search(np.ones(4, np.float32), where=where).ids
        return len(calls), set(ids.tolist())

    for round_, ids in enumerate(({0}, {0, 1})):
        items.upsert([round_], np.ones((1, 4), np.float32), [{"n": 1}])
        items.flush()
        assert found("n = 1") == (round_ + 1, ids)
        assert found("n = 1") == (0, ids)
        assert found("n = 2") == (round_ + 1, set())
        assert found("n = 1") == (0, ids)
    monkeypatch.setattr(search_answer, "FILTERS_BYTES_MAX", 0)
    assert found("n >= 1") == found("n >= 1") == (2, {0, 1})
    monkeypatch.setattr(search_answer, "FILTERS_BYTES_MAX", 5)
    for number in range(30):
        items.search(np.ones(4, np.float32), where=f"n >= 1 AND n < {number}")
    assert len(items._store.snapshot().filtered) <= 5
    assert len(items._store.snapshot().routes) <= 1
