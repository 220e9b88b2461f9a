"""The filter language: a small SQL expression to a typed tree.

    year >= 2015 AND (lang IN ('en', 'fr') OR NOT tags CONTAINS 'draft') AND "my-col" IS NOT NULL

A value is coerced to the type of its column here, so that evaluation compares equal types and is
exact: `year > 2000.5` becomes `year > 2000`, `year = 2000.5` becomes `year IN ()`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, cast

from vecstore.errors import FilterError
from vecstore.options import WHERE_CHARS_MAX, WHERE_TERMS_MAX
from vecstore.schema import Column
from vecstore.search.nodes import And, Compare, Contains, In, IsNull, Node, Not, Or, Order
from vecstore.segment.columns import Value, is_list, item_type, parse_timestamp

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

__all__ = ["Node", "parse_where"]

# How deep AND, OR and NOT may nest; a tree is built and evaluated by recursion.
WHERE_DEPTH_MAX = 100

_GRAMMAR = r"""
?start: or
?or: and ("OR"i and)*
?and: not ("AND"i not)*
?not: "NOT"i not -> negate
    | "(" or ")"
    | column ORDER value -> compare
    | column EQUAL value -> equal
    | column "IN"i "(" value ("," value)* ")" -> in
    | column "NOT"i "IN"i "(" value ("," value)* ")" -> not_in
    | column "BETWEEN"i value "AND"i value -> between
    | column "NOT"i "BETWEEN"i value "AND"i value -> not_between
    | column "IS"i "NULL"i -> null
    | column "IS"i "NOT"i "NULL"i -> not_null
    | column "CONTAINS"i value -> contains
?column: NAME | QUOTED
?value: NUMBER | STRING | TRUE | FALSE
TRUE: "TRUE"i
FALSE: "FALSE"i
ORDER: /[<>]=?/
EQUAL.2: /=|!=|<>/
NUMBER.2: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])/
NAME: /[a-z0-9_.]+/i
QUOTED: /"[^"]*"/
STRING: /'(?:[^']|'')*'/
%ignore /[ \t\r\n]+/
"""

_LITERALS = ("NUMBER", "STRING", "TRUE", "FALSE")
_EXPECTED = dict.fromkeys(_LITERALS, "a value") | {
    "NAME": "a column",
    "QUOTED": "a column",
    "ORDER": "a comparison",
    "EQUAL": "a comparison",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "$END": "the end",
}
_TYPE_WORDS = {
    "int": "a number",
    "float": "a number",
    "bool": "TRUE or FALSE",
    "keyword": "a string in single quotes",
    "timestamp": "ISO 8601 text in single quotes, or microseconds since 1970 as an int",
}


def parse_where(text: str, columns: Sequence[Column]) -> Node:
    """Parse a filter over the given columns.

    Raises:
        FilterError: it is malformed, too long or too deep, or does not fit the columns; the
            message points at the place.
    """
    if not isinstance(text, str):
        raise FilterError(f'where is {text!r}, expected a str such as "year >= 2015"')
    if len(text) > WHERE_CHARS_MAX:
        raise FilterError(
            f"where has {len(text):,} characters, expected at most {WHERE_CHARS_MAX:,}"
        )
    return _parse(text, tuple(columns))


@lru_cache(maxsize=256)
def _parse(text: str, columns: tuple[Column, ...]) -> Node:
    # Loaded with the first filter: lark takes longer to import than most databases to open.
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        tree = _parser().parse(text)
    except UnexpectedToken as error:
        token = error.token
        got, place = repr(str(token)), _start(token)
        if token.type == "$END":
            got, place = "the end", len(text)
        hint = " (a null is found by IS NULL)" if token.type == "NULL" else ""
        _fail(text, place, got, _name_tokens(error.accepts or error.expected) + hint)
    except UnexpectedCharacters as error:
        place = error.pos_in_stream or 0
        char = text[place]
        if char in "'\"":
            _fail(text, place, f"an open quote {char}", "it to be closed")
        _fail(text, place, repr(char), "a column, a value or an operator")
    return _Builder(text, columns).build(tree)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    from lark import Lark

    # The basic lexer keeps keywords reserved everywhere; double quotes make them names.
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


class _Builder:
    """Turns the parse tree of one text into nodes."""

    def __init__(self, text: str, columns: tuple[Column, ...]) -> None:
        self._text = text
        self._columns = {column.name: column for column in columns}
        self._terms = 0

    def build(self, tree: Tree[Token], depth: int = 1) -> Node:
        if depth > WHERE_DEPTH_MAX:
            raise FilterError(
                f"where nests AND, OR and NOT more than {WHERE_DEPTH_MAX} deep, expected less"
            )
        if tree.data in ("or", "and"):
            terms = tuple(self.build(child, depth + 1) for child in _subtrees(tree))
            return Or(terms) if tree.data == "or" else And(terms)
        if tree.data == "negate":
            return Not(self.build(_subtrees(tree)[0], depth + 1))
        return self._leaf(str(tree.data), _tokens(tree))

    def _leaf(self, kind: str, tokens: list[Token]) -> Node:
        if kind.startswith("not_"):
            return Not(self._leaf(kind[4:], tokens))
        self._count(tokens)
        column = self._column(tokens[0])
        if kind == "null":
            return IsNull(column.name)
        self._check_list(column, tokens[0], kind)
        if kind == "contains":
            return Contains(column.name, self._equals(column, tokens[1:]))
        if kind == "in":
            return In(column.name, self._equals(column, tokens[1:]))
        if kind == "equal":
            found = In(column.name, self._equals(column, tokens[2:]))
            return found if tokens[1] == "=" else Not(found)
        if kind == "compare":
            return self._compare(column, str(tokens[1]), tokens[2])
        assert kind == "between"
        return And((self._compare(column, ">=", tokens[1]), self._compare(column, "<=", tokens[2])))

    def _count(self, tokens: Sequence[Token]) -> None:
        self._terms += max(1, sum(token.type in _LITERALS for token in tokens))
        if self._terms > WHERE_TERMS_MAX:
            raise FilterError(
                f"where has more than {WHERE_TERMS_MAX:,} comparisons and values, expected fewer"
            )

    def _column(self, token: Token) -> Column:
        name = str(token)[1:-1] if token.type == "QUOTED" else str(token)
        if name not in self._columns:
            close = difflib.get_close_matches(name, self._columns, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            names = [repr(known) for known in self._columns]
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            known = f"one of {', '.join(names[:20])}{more}" if names else "none: there are none"
            _fail(self._text, _start(token), f"column {name!r}", known + hint)
        return self._columns[name]

    def _check_list(self, column: Column, token: Token, kind: str) -> None:
        if is_list(column.type) and kind != "contains":
            expected = "CONTAINS or IS NULL"
        elif kind == "contains" and not is_list(column.type):
            expected = "a list column, or = in place of CONTAINS"
        else:
            return
        _fail(self._text, _start(token), f"column {column.name!r} of type {column.type}", expected)

    def _compare(self, column: Column, order: str, token: Token) -> Compare:
        value = self._value(column, token)
        near = _nearest(value, item_type(column.type))
        # No column value lies between `near` and `value`: only which side `near` is on matters.
        if isinstance(near, int | float) and isinstance(value, int | float):
            if near < value:
                order = {"<": "<=", ">=": ">"}.get(order, order)
            elif near > value:
                order = {"<=": "<", ">": ">="}.get(order, order)
        return Compare(column.name, cast(Order, order), near)

    def _equals(self, column: Column, tokens: Sequence[Token]) -> tuple[Value, ...]:
        """The values that rows of the column can equal; `year = 2000.5` has none."""
        kind = item_type(column.type)
        values = [self._value(column, token) for token in tokens]
        return tuple(near for value in values if (near := _nearest(value, kind)) == value)

    def _value(self, column: Column, token: Token) -> Value:
        kind = item_type(column.type)
        value = _coerce(_literal(token), kind)
        if value is None:
            expected = f"{_TYPE_WORDS[kind]} for column {column.name!r} of type {column.type}"
            _fail(self._text, _start(token), str(token), expected)
        return value


def _coerce(value: Value | None, kind: str) -> Value | None:
    """The literal as a value that compares with a column of that kind; None if it cannot."""
    if kind == "timestamp" and isinstance(value, str):
        try:
            return parse_timestamp(value)
        except ValueError:
            return None
    if kind in ("int", "float") and isinstance(value, float):
        return value if math.isfinite(value) else None
    expected = {"bool": bool, "keyword": str}.get(kind, int)
    return value if type(value) is expected else None


def _literal(token: Token) -> Value | None:
    """The value of a literal; None for a number of too many digits."""
    if token.type == "STRING":
        return str(token)[1:-1].replace("''", "'")
    if token.type == "NUMBER":
        try:
            return int(token)
        except ValueError:
            return float(token) if not str(token).lstrip("+-").isdigit() else None
    return token.type == "TRUE"


def _nearest(value: Value, kind: str) -> Value:
    """The closest value that a column of that kind can hold: itself, or a neighbour."""
    if isinstance(value, bool | str):
        return value
    if kind == "float":
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return max(-(2**63), min(math.floor(value), 2**63 - 1))


def _name_tokens(names: set[str]) -> str:
    return " or ".join(sorted({_EXPECTED.get(name, name) for name in names}))


def _fail(text: str, place: int, got: str, expected: str) -> NoReturn:
    """Raise a FilterError that shows the line of `text` around `place`."""
    first = max(text.rfind("\n", 0, place) + 1, place - 60)
    last = text.find("\n", place)
    line = text[first : min(last if last >= 0 else len(text), place + 40)]
    line = "".join(char if char.isprintable() else " " for char in line)
    got = got if len(got) <= 80 else got[:77] + "..."
    raise FilterError(
        f"where has {got}, expected {expected}\n    {line}\n    {' ' * (place - first)}^"
    )


def _start(token: Token) -> int:
    return token.start_pos or 0


def _subtrees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if not isinstance(child, str)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, str)]
