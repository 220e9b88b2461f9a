"""What a search asks for: the request and the stages of an explicit plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as made_with
from typing import Literal, TypeAlias, TypedDict, get_args

import numpy as np

from vecstore import options
from vecstore.errors import NotFoundError, RequestError
from vecstore.schema import Schema
from vecstore.types import Float32, Progress

TokenQueries: TypeAlias = Mapping[str, Sequence[Float32]]
"""Multivector field -> the vectors of each of the Q queries, float32 [n, D]; n may differ."""

Aggregate: TypeAlias = Literal["maxsim", "max"]
"""How a record with many vectors scores; see `SearchRequest`."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Score every allowed row with `representation`; hand on the best `keep`."""

    representation: str
    keep: int

    def __post_init__(self) -> None:
        keep = check_count("keep of Scan", self.keep, options.KEEP_MAX)
        object.__setattr__(self, "keep", keep)


@dataclass(frozen=True, slots=True)
class Probe:
    """As Scan, but score only the rows of the `nprobe` inverted lists nearest to the query.

    In each segment whose codes of `representation` are stored as lists; other rows are all scored.
    More lists are visited where those hold less than their share of the rows that a filter passes.
    """

    representation: str
    nprobe: int
    keep: int

    def __post_init__(self) -> None:
        nprobe = check_count("nprobe of Probe", self.nprobe, options.NPROBE_MAX)
        keep = check_count("keep of Probe", self.keep, options.KEEP_MAX)
        object.__setattr__(self, "nprobe", nprobe)
        object.__setattr__(self, "keep", keep)


@dataclass(frozen=True, slots=True)
class Rescore:
    """Score the candidates again with a finer `representation`; hand on the best `keep`.

    Where the stage before gives error bounds, rows whose upper bound cannot reach the best
    `keep` are not read.
    """

    representation: str
    keep: int

    def __post_init__(self) -> None:
        keep = check_count("keep of Rescore", self.keep, options.KEEP_MAX)
        object.__setattr__(self, "keep", keep)


@dataclass(frozen=True, slots=True)
class MaxSim:
    """Score records by the vectors of a multivector `field`; hand on the best `keep`.

    A record scores the sum, over the vectors of the query, of the largest similarity that one of
    its own has (Khattab and Zaharia, ColBERT, section 3.3). As the first stage it scores every
    allowed record; later the candidates of the stage before, whichever field found them: those
    without `field` drop out.

    Attributes:
        field: the multivector field.
        keep: records to hand on.
        representation: what to read of it; None means the finest.
        token_budget: vectors of a record that are read, the most important first; None means what
            the search says, or all.
        nprobe: of the first stage, where it reads `ids` or `ids256`: score only records that look
            good by the centroids nearest to each vector of the query, so many of them; None, or
            with a token budget: all.
    """

    field: str
    keep: int
    representation: str | None = None
    token_budget: int | None = None
    nprobe: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.field, str):
            raise RequestError(f"field of MaxSim is {self.field!r}, expected the name of a field")
        if not isinstance(self.representation, str | None):
            raise RequestError(
                f"representation of MaxSim is {self.representation!r}, expected a spec or None"
            )
        keep = check_count("keep of MaxSim", self.keep, options.KEEP_MAX)
        object.__setattr__(self, "keep", keep)
        budget = check_budget("token_budget of MaxSim", self.token_budget)
        object.__setattr__(self, "token_budget", budget)
        if self.nprobe is not None:
            nprobe = check_count("nprobe of MaxSim", self.nprobe, options.NPROBE_MAX)
            object.__setattr__(self, "nprobe", nprobe)


@dataclass(frozen=True, slots=True)
class Cascade:
    """The stages of a query, which keep ever fewer.

    One Scan or Probe, then Rescores, finer, then MaxSims; or MaxSims alone.
    """

    stages: Sequence[Scan | Probe | Rescore | MaxSim]

    def __post_init__(self) -> None:
        if not isinstance(self.stages, Iterable):
            raise RequestError(f"plan is {self.stages!r}, expected a list of stages")
        stages = tuple(self.stages)
        if not 1 <= len(stages) <= options.STAGES_MAX:
            raise RequestError(f"plan has {len(stages)} stages, expected 1 to {options.STAGES_MAX}")
        for position, stage in enumerate(stages):
            before = stages[position - 1] if position else None
            if not isinstance(stage, _following(before)):
                raise RequestError(
                    f"plan has {stage!r} as stage {position + 1}, expected one Scan(...) or "
                    "Probe(...) first and Rescore(...) after it, then MaxSim(...), or that alone"
                )
            if before is not None and isinstance(stage, MaxSim) and stage.nprobe is not None:
                raise RequestError(
                    f"plan has {stage!r} as stage {position + 1}, expected nprobe=None: it scores "
                    "the candidates of the stage before"
                )
            if before is not None and stage.keep > before.keep:
                raise RequestError(
                    f"plan keeps {stage.keep} rows in stage {position + 1} of "
                    f"{before.keep} handed on, expected no more than these"
                )
        object.__setattr__(self, "stages", stages)


def _following(before: object) -> tuple[type, ...]:
    """The kinds of stages that may come after one, or first."""
    if before is None:
        return Scan, Probe, MaxSim
    return (MaxSim,) if isinstance(before, MaxSim) else (Rescore, MaxSim)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One or many queries of one field or several, checked for shape and range by the facade.

    Attributes:
        field: the vector field; "" where multivector fields alone are asked for.
        queries: float32 [Q, D], [Q, 0] without a vector field.
        limit: hits wanted for each query.
        where: a filter, or None.
        plan: explicit stages, or None for the planner's choice.
        exact: score every row with the finest representation.
        with_payload: hits carry payloads.
        with_vectors: hits carry vectors.
        explain: hits carry stage reports.
        token_queries: the queries of multivector fields, by field.
        token_budget: vectors of a record that a MaxSim reads which does not say; None: all.
        group_by: a column of which hits hold each value once, or None.
        agg: "maxsim", the sum over the vectors of a query of the best match; or "max", the best
            match of queries of one vector each.
    """

    field: str
    queries: Float32
    limit: int
    where: str | None = None
    plan: Cascade | None = None
    exact: bool = False
    with_payload: bool = True
    with_vectors: bool = False
    explain: bool = False
    token_queries: TokenQueries = made_with(default_factory=dict)
    token_budget: int | None = None
    group_by: str | None = None
    agg: Aggregate = "maxsim"

    def __post_init__(self) -> None:
        count, limit = len(self.queries), check_count("limit", self.limit, options.LIMIT_MAX)
        if limit is not self.limit:
            object.__setattr__(self, "limit", limit)
        if count > options.QUERIES_MAX:
            raise RequestError(
                f"search has {count:,} queries, expected at most {options.QUERIES_MAX:,} at a time"
            )
        if count * limit > options.RESULTS_MAX:
            raise RequestError(
                f"search asks for {count:,} x {limit:,} hits, expected at most "
                f"{options.RESULTS_MAX:,}; send fewer queries at a time"
            )
        if self.where is not None and not isinstance(self.where, str):
            raise RequestError(f"where is {self.where!r}, expected a string or None")
        if self.plan is not None and not isinstance(self.plan, Cascade):
            raise RequestError(f"plan is {self.plan!r}, expected Cascade([Scan(...), ...]) or None")
        if self.plan is not None and self.exact:
            raise RequestError("exact=True and plan= exclude each other, give one of them")
        if self.token_budget is not None:
            budget = check_budget("token_budget", self.token_budget)
            object.__setattr__(self, "token_budget", budget)
            if not self.token_queries:
                raise RequestError(
                    f"token_budget is {budget}, but no multivector field is asked for; leave it out"
                )
        if self.agg != "maxsim":
            if self.agg not in get_args(Aggregate):
                raise RequestError(f"agg is {self.agg!r}, expected 'maxsim' or 'max'")
            if not self.token_queries:
                raise RequestError(
                    f"agg is {self.agg!r}, but no multivector field is asked for; leave it out"
                )

    def part(self, rows: slice) -> SearchRequest:
        """The same request with some of the queries."""
        late = {name: queries[rows] for name, queries in self.token_queries.items()}
        return replace(self, queries=self.queries[rows], token_queries=late)


class SearchOptions(TypedDict):
    """The keywords of `search` and `search_batch`."""

    limit: int
    where: str | None
    plan: Cascade | None
    exact: bool
    token_budget: int | None
    group_by: str | None
    agg: Aggregate
    with_payload: bool
    with_vectors: bool
    explain: bool


def check_group(schema: Schema, name: object) -> None:
    """Raise for what is neither None nor the name of a column whose values hits may be grouped by.

    Raises:
        NotFoundError: there is no such column.
        RequestError: its values are lists, or floats, of which none need be equal.
    """
    if name is None:
        return
    types = {column.name: column.type for column in schema.columns}
    if not isinstance(name, str) or name not in types:
        raise NotFoundError(
            f"no column {name!r} to group by; the collection has "
            f"{', '.join(map(repr, types)) or 'none'}"
        )
    if types[name] not in ("int", "keyword", "bool", "timestamp"):
        raise RequestError(
            f"group_by is {name!r}, a column of type {types[name]!r}, expected one of type 'int', "
            "'keyword', 'bool' or 'timestamp'"
        )


def ranked_field(request: SearchRequest) -> str:
    """The field whose scores rank the hits of the default plan."""
    return next(iter(request.token_queries), request.field)


def check_recall(count: int, floats: int) -> None:
    """Raise RequestError for no queries, or more than recall is measured on.

    Args:
        count: of queries.
        floats: numbers that they have together.
    """
    if not 1 <= count <= options.RECALL_QUERIES_MAX or 4 * floats > options.RECALL_BYTES_MAX:
        raise RequestError(
            f"measure_recall has {count:,} queries of {4 * floats:,} bytes as float32, expected 1 "
            f"to {options.RECALL_QUERIES_MAX:,} of at most {options.RECALL_BYTES_MAX:,}; measure "
            "on a sample"
        )


def check_progress(progress: Progress | None) -> None:
    """Raise RequestError for what cannot be told how far work has come."""
    if progress is not None and not callable(progress):
        raise RequestError(
            f"progress is {progress!r}, expected a function of what, done and total, or None"
        )


def check_budget(name: str, value: object) -> int | None:
    """Return `value` if it is None or so many vectors as a record may have, else RequestError."""
    return None if value is None else check_count(name, value, options.TOKENS_MAX)


def check_count(name: str, value: object, maximum: int) -> int:
    """Return `value` if it is an int from 1 to `maximum`, else raise RequestError."""
    if type(value) is int and 1 <= value <= maximum:  # nearly always
        return value
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise RequestError(f"{name} is {value!r}, expected an int from 1 to {maximum:,}")
    return value
