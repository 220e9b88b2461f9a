"""What a search asks for: the request and the stages of an explicit plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.types import Float32, Progress


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
class Cascade:
    """The stages of a query: one Scan or Probe, then Rescores, finer, that keep ever fewer."""

    stages: Sequence[Scan | Probe | Rescore]

    def __post_init__(self) -> None:
        if not isinstance(self.stages, Iterable):
            raise RequestError(f"plan is {self.stages!r}, expected a list of stages")
        stages = tuple(self.stages)
        if not 1 <= len(stages) <= options.STAGES_MAX:
            raise RequestError(f"plan has {len(stages)} stages, expected 1 to {options.STAGES_MAX}")
        for position, stage in enumerate(stages):
            if not isinstance(stage, (Scan, Probe) if position == 0 else Rescore):
                raise RequestError(
                    f"plan has {stage!r} as stage {position + 1}, "
                    "expected one Scan(...) or Probe(...) first and Rescore(...) after it"
                )
            if position and stage.keep > stages[position - 1].keep:
                raise RequestError(
                    f"plan keeps {stage.keep} rows in stage {position + 1} of "
                    f"{stages[position - 1].keep} handed on, expected no more than these"
                )
        object.__setattr__(self, "stages", stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One or many queries of one field, checked for shape and range by the facade.

    Attributes:
        field: the vector field.
        queries: float32 [Q, D].
        limit: hits wanted for each query.
        where: a filter, or None.
        plan: explicit stages, or None for the planner's choice.
        exact: score every row with the finest representation.
        with_payload: hits carry payloads.
        with_vectors: hits carry vectors.
        explain: hits carry stage reports.
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


def check_progress(progress: Progress | None) -> None:
    """Raise RequestError for what cannot be told how far work has come."""
    if progress is not None and not callable(progress):
        raise RequestError(
            f"progress is {progress!r}, expected a function of what, done and total, or None"
        )


def check_count(name: str, value: object, maximum: int) -> int:
    """Return `value` if it is an int from 1 to `maximum`, else raise RequestError."""
    if type(value) is int and 1 <= value <= maximum:  # nearly always
        return value
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise RequestError(f"{name} is {value!r}, expected an int from 1 to {maximum:,}")
    return value
