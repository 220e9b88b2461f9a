"""What a filter means: a typed tree. Values have the type of their column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vecstore.segment.columns import Value

Order: TypeAlias = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Compare:
    """column < value, and so on."""

    column: str
    order: Order
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """column IN (values); `=` is IN with one value, and with none it is false."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """The list holds one of the values."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """column IS NULL."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """NOT term."""

    term: Node


@dataclass(frozen=True, slots=True)
class And:
    """Every term."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one term."""

    terms: tuple[Node, ...]


Node: TypeAlias = Compare | In | Contains | IsNull | Not | And | Or
