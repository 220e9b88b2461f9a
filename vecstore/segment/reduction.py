"""Policies of a multivector field on tokens that are stored, or about to be.

Pruning keeps some tokens of a record, whose codes stay what they are; pooling makes new vectors.

Shapes  n records, T tokens of them, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from vecstore.multivector.policy import Policy, parse
from vecstore.multivector.reduce import apply
from vecstore.multivector.sets import TokenSets
from vecstore.schema import MultiVector, Schema, Vector
from vecstore.segment.rows import FieldVectors, Rows
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Array, Bool, Int64

_PLACES = 1 << 16


class Reduced(NamedTuple):
    """What policies leave of tokens.

    Attributes:
        values: float16 or float32 [T', D].
        bounds: where they lie.
        kept: int64 [T'], which of the tokens they are; None where pooling made new ones.
    """

    values: Array
    bounds: TokenBounds
    kept: Int64 | None


_Work: TypeAlias = Callable[[Array, TokenBounds], Reduced]


@dataclass(frozen=True, slots=True)
class Reduction:
    """What is to be done to all tokens of a multivector field.

    Attributes:
        field: as it will be.
        policies: to apply, in this order.
    """

    field: Vector
    policies: tuple[Policy, ...]

    @classmethod
    def between(cls, had: Vector, wanted: Vector) -> Reduction:
        """What makes tokens of a field fit for its new policies: those that are new."""
        if not isinstance(had, MultiVector) or not isinstance(wanted, MultiVector):
            return cls(wanted, ())
        pruning = wanted.pruning if wanted.pruning != had.pruning else ""
        pooling = wanted.pooling if wanted.pooling != had.pooling else ""
        found = (parse(pruning, "pruning"), parse(pooling, "pooling"))
        return cls(wanted, tuple(policy for policy in found if policy is not None))

    @classmethod
    def given(cls, field: MultiVector) -> Reduction:
        """What a field does to tokens as they were given."""
        return cls.between(replace(field, pruning="", pooling=""), field)

    @property
    def pools(self) -> bool:
        """Whether new vectors are made."""
        return any(policy.work == "pooling" for policy in self.policies)

    @property
    def needs_salience(self) -> bool:
        """Whether nothing can be done to records without."""
        return any(policy.needs_salience for policy in self.policies)

    def __bool__(self) -> bool:
        return bool(self.policies)

    def apply(self, values: Array, bounds: TokenBounds) -> Reduced:
        """What is left of the tokens of some records, most important first.

        They come in the order in which they were given, so that of equals the same ones stay as
        when they were written.

        Args:
            values: float16 or float32 [T, D].
            bounds: where those of each record lie.

        Raises:
            VectorError: a policy needs salience, and it is not known.
        """
        known = bounds.weighed()
        if known.all():
            return self._apply(values, bounds)
        if not known.any():
            return self._apply(values, replace(bounds, salience=None))
        return self._by_kind(values, bounds, known, self._apply_unknown)

    def apply_stored(self, values: Array, bounds: TokenBounds) -> Reduced:
        """The same of stored tokens; those without the salience that is needed stay.

        They belong to records that are dead, or have one token: of others it was asked before.
        """
        known = bounds.weighed()
        if known.all() or not self.needs_salience:
            return self.apply(values, bounds)
        return self._by_kind(values, bounds, known, _left_alone)

    def _apply_unknown(self, values: Array, bounds: TokenBounds) -> Reduced:
        return self._apply(values, replace(bounds, salience=None))

    def _by_kind(self, values: Array, bounds: TokenBounds, known: Bool, other: _Work) -> Reduced:
        """Reduce records whose salience is known; do something else to the others."""
        numbers = [np.flatnonzero(known), np.flatnonzero(~known)]
        rows = [bounds.rows(own) for own in numbers]
        found = [
            work(values[own], bounds.take(some))
            for work, own, some in zip((self._apply, other), rows, numbers, strict=True)
            if len(some)
        ]
        rows = [own for own in rows if len(own)]
        joined = TokenBounds.concat([each.bounds for each in found])
        back = np.argsort(np.concatenate(numbers))
        order = joined.rows(back)
        kept = [
            own[each.kept] for own, each in zip(rows, found, strict=True) if each.kept is not None
        ]
        return Reduced(
            np.concatenate([each.values for each in found])[order].astype(values.dtype, copy=False),
            joined.take(back),
            None if self.pools else np.concatenate(kept)[order],
        )

    def _apply(self, values: Array, bounds: TokenBounds) -> Reduced:
        order = bounds.as_given()
        places = salience = None
        if order is not None:
            values, places = values[order], bounds.all_places()[order]
        if bounds.salience is not None:
            salience = bounds.all_salience() if order is None else bounds.all_salience()[order]
        sets = TokenSets(vectors=values, offsets=bounds.offsets, places=places, salience=salience)
        for policy in self.policies:
            sets = apply(policy, sets, self.field.metric)
        left = TokenBounds(offsets=sets.offsets, places=sets.all_places(), salience=sets.salience)
        return Reduced(sets.vectors, left, None if self.pools else _kept(bounds, left))


def reduce_rows(rows: Rows, had: Schema, wanted: Schema, *, stored: bool = False) -> Rows:
    """Rows as the policies of a new schema leave them; `rows` itself where none is new.

    Args:
        rows: of a collection with a schema, reduced as that says.
        had: the schema.
        wanted: what it is now.
        stored: they are, and may lack salience.

    Raises:
        VectorError: a policy needs salience, and it is not known.
    """
    changed: dict[str, FieldVectors] = {}
    for vector in wanted.vectors:
        found = rows.vectors[vector.name]
        reduction = Reduction.between(had.vector(vector.name), vector)
        if reduction and found.tokens is not None and len(found):
            assert found.encoding is None  # codes of tokens are made here
            work = reduction.apply_stored if stored else reduction.apply
            left = work(found.values, found.tokens)
            changed[vector.name] = replace(found, values=left.values, tokens=left.bounds)
    return replace(rows, vectors={**rows.vectors, **changed}) if changed else rows


def _left_alone(values: Array, bounds: TokenBounds) -> Reduced:
    return Reduced(values, bounds, np.arange(bounds.count))


def _kept(before: TokenBounds, after: TokenBounds) -> Int64:
    """Which tokens are left; a record has no two at one place."""
    order = np.argsort(numbers := _numbers(before))
    found: Int64 = order[np.searchsorted(numbers, _numbers(after), sorter=order)]
    return found


def _numbers(bounds: TokenBounds) -> Int64:
    owners = np.repeat(np.arange(len(bounds)), np.diff(bounds.offsets).astype(np.int64))
    found: Int64 = owners * _PLACES + bounds.all_places()
    return found
