"""What a collection holds: vector fields, columns, and the rules for their names.

A schema is a frozen value, checked when it is made, so that a wrong one fails in the caller's
process with the same words whether the database is embedded or remote. Whether a representation
is known is checked by the engine, which knows the codecs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from vecstore import options
from vecstore.errors import NotFoundError, SchemaError
from vecstore.types import ColumnType, Metric

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def check_name(kind: str, name: object) -> str:
    """Return `name` if it may name a collection, field or column, else raise SchemaError."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise SchemaError(
            f"{kind} name is {name!r}, expected 1 to 128 letters, digits, '_', '.' or '-', "
            "not starting with '.' or '-'"
        )
    return name


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector per record.

    Attributes:
        name: what queries and records call it.
        dim: dimensions D, 1 to 65,536.
        metric: "cosine" (vectors are stored at unit length), "dot", or "l2" (scores are the
            negated squared distance, so that bigger is better everywhere).
        representations: a list of specs such as "bits1", "prefix128/bits4" or "float16". Empty
            means the default ladder.
    """

    name: str
    dim: int
    metric: Metric = "cosine"
    representations: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name("vector field", self.name)
        if not _is_int(self.dim) or not 1 <= self.dim <= options.DIM_MAX:
            raise SchemaError(
                f"vector field {self.name!r} has dim {self.dim!r}, "
                f"expected an int from 1 to {options.DIM_MAX:,}"
            )
        if self.metric not in get_args(Metric):
            raise SchemaError(
                f"vector field {self.name!r} has metric {self.metric!r}, "
                f"expected one of {', '.join(map(repr, get_args(Metric)))}"
            )
        if isinstance(self.representations, str):
            raise SchemaError(
                f"vector field {self.name!r} has representations {self.representations!r}, "
                f"expected a list such as [{self.representations!r}]"
            )
        if not isinstance(self.representations, list | tuple):
            raise SchemaError(
                f"vector field {self.name!r} has representations {self.representations!r}, "
                "expected a list or a tuple"
            )
        specs = _tuple_of("representations", self.representations, str)
        if len(specs) > options.REPRESENTATIONS_MAX or len(set(specs)) != len(specs):
            raise SchemaError(
                f"vector field {self.name!r} has representations {list(specs)}, "
                f"expected at most {options.REPRESENTATIONS_MAX}, each once"
            )
        object.__setattr__(self, "representations", specs)

    @property
    def multi(self) -> bool:
        """Whether a record has several vectors."""
        return False

    def representation(self, spec: str | None) -> str:
        """The representation of that spec, of those spelled out; the finest one for None.

        Raises:
            NotFoundError: there is none.
        """
        if spec is None:
            return self.representations[-1]
        if spec not in self.representations:
            raise NotFoundError(
                f"no representation {spec!r} of vector field {self.name!r}; it has "
                f"{', '.join(map(repr, self.representations))}"
            )
        return spec


@dataclass(frozen=True, slots=True)
class MultiVector(Vector):
    """Several vectors per record, 1 to 65,535: tokens of a text, patches of a page, chunks, views.

    A record scores MaxSim: the sum, over the vectors of the query, of the largest similarity that
    one of its own has.

    Attributes:
        name, dim, metric: as in `Vector`; metric is "cosine" or "dot".
        representations: a list of specs such as "ids", "res2", "ternary", "int8" or "float16".
            Empty means the default.
        pruning: which tokens of a record are kept: "" (all), or a policy such as "first128",
            "salience0.5" or "coverage0.5"; see `vecstore.multivector.policy`.
        pooling: how similar tokens of a record become one: "" (not at all), or a policy such as
            "ward3", after pruning.
    """

    pruning: str = ""
    pooling: str = ""

    def __post_init__(self) -> None:
        Vector.__post_init__(self)
        if self.metric == "l2":
            raise SchemaError(
                f"multivector field {self.name!r} has metric 'l2', expected 'cosine' or 'dot'"
            )
        for name, policy in (("pruning", self.pruning), ("pooling", self.pooling)):
            if not isinstance(policy, str):
                raise SchemaError(
                    f"multivector field {self.name!r} has {name} {policy!r}, expected a string"
                )

    @property
    def multi(self) -> bool:
        """Whether a record has several vectors."""
        return True


def with_policies(field: Vector, pruning: str | None, pooling: str | None) -> Vector:
    """A field with other policies; None stands for the one that it has.

    Raises:
        SchemaError: it is no multivector field, or a policy is no text.
    """
    if not isinstance(field, MultiVector):
        if pruning is None and pooling is None:
            return field
        raise SchemaError(
            f"vector field {field.name!r} has one vector a record, and no pruning or pooling; "
            "multivector fields have"
        )
    return replace(
        field,
        pruning=field.pruning if pruning is None else pruning,
        pooling=field.pooling if pooling is None else pooling,
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A typed, filterable payload value: the payload key of the same name.

    Attributes:
        name: the payload key.
        type: "int", "float", "bool", "keyword" (a string) or "timestamp" (ISO 8601 text, or
            microseconds since 1970 as an int), or a list of one of them: "list[keyword]".
    """

    name: str
    type: ColumnType

    def __post_init__(self) -> None:
        check_name("column", self.name)
        if self.type not in get_args(ColumnType):
            raise SchemaError(
                f"column {self.name!r} has type {self.type!r}, "
                f"expected one of {', '.join(map(repr, get_args(ColumnType)))}"
            )


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a collection: lists of Vector, MultiVector and Column, kept as tuples.

    Attributes:
        vectors: its vector fields and multivector fields.
        columns: its columns.
        ttl_s: seconds after which a record expires, as if deleted, counted from its last upsert;
            None means never. `upsert` can say otherwise for each record.
    """

    vectors: Sequence[Vector]
    columns: Sequence[Column] = ()
    ttl_s: float | None = None
    _by_name: dict[str, Vector] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        vectors = _tuple_of("vectors", self.vectors, Vector)
        columns = _tuple_of("columns", self.columns, Column)
        if not 1 <= len(vectors) <= options.VECTOR_FIELDS_MAX:
            raise SchemaError(
                f"schema has {len(vectors)} vector fields, "
                f"expected 1 to {options.VECTOR_FIELDS_MAX}"
            )
        if len(columns) > options.COLUMNS_MAX:
            raise SchemaError(
                f"schema has {len(columns)} columns, expected at most {options.COLUMNS_MAX}"
            )
        for kind, items in (("vector field", vectors), ("column", columns)):
            names = [item.name for item in items]
            for name in names:
                if names.count(name) > 1:
                    raise SchemaError(f"schema has two {kind}s named {name!r}")
        check_ttl("schema", self.ttl_s)
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "_by_name", {item.name: item for item in vectors})

    def vector(self, name: str) -> Vector:
        """The vector field of that name, or NotFoundError."""
        found = self._by_name.get(name) if isinstance(name, str) else None
        if found is None:
            raise NotFoundError(
                f"no vector field {name!r}; the collection has "
                f"{', '.join(repr(item.name) for item in self.vectors)}"
            )
        return found


def check_ttl(what: str, ttl_s: object) -> None:
    """Raise SchemaError for what is neither None nor seconds that a record may live."""
    if ttl_s is None:
        return
    number = isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool)
    if not number or not 0 < ttl_s <= options.TTL_S_MAX:  # type: ignore[operator]
        raise SchemaError(
            f"{what} has ttl_s {ttl_s!r}, expected seconds above 0, up to {options.TTL_S_MAX:,}"
        )


def _tuple_of(name: str, items: object, kind: type) -> tuple[Any, ...]:
    if isinstance(items, kind):
        raise SchemaError(f"{name} is one {kind.__name__}, expected a list of them")
    if not isinstance(items, Iterable):
        raise SchemaError(f"{name} is {items!r}, expected a list of {kind.__name__}")
    found = tuple(items)
    for item in found:
        if not isinstance(item, kind):
            raise SchemaError(f"{name} holds {item!r}, expected {kind.__name__}(...)")
    return found


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
