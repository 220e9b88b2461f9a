"""The grammar of policies: which tokens of a record are kept (pruning), which become one (pooling).

    first128          pruning: the first 128, as they were given
    share0.5          the most important half
    fixed32           the 32 most important
    coverage0.5       the half that covers all of them best, whatever their salience
    salience0.5       the fewest that have half of the salience
    salience+1.0std   those whose salience is at least its mean + 1.0 standard deviations
    ward3             pooling: a third as many, by Ward's method
    kmeans8           8, by k-means: pseudo-queries
    fixed32           32, by Ward's method

The most important are those of most salience, where it is known, else those that cover best.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, cast

from vecstore.errors import SchemaError
from vecstore.options import TOKENS_MAX

Work: TypeAlias = Literal["pruning", "pooling"]
Method: TypeAlias = Literal[
    "first", "share", "fixed", "coverage", "salience", "deviations", "ward", "kmeans"
]

_NUMBER = r"[0-9]{1,5}(?:\.[0-9]{1,6})?"
_PATTERNS = {
    "pruning": re.compile(
        rf"(?P<method>first|fixed|share|coverage|salience)(?P<amount>{_NUMBER})"
        rf"|salience(?P<deviations>[+-]{_NUMBER})std"
    ),
    "pooling": re.compile(rf"(?P<method>ward|kmeans|fixed)(?P<amount>{_NUMBER})"),
}
_EXPECTED = {
    "pruning": "first128, fixed32, share0.5, coverage0.5, salience0.5 or salience+1.0std",
    "pooling": "ward3, kmeans8 or fixed32",
}
_COUNTS = ("first", "fixed", "kmeans")
_SHARES = ("share", "coverage", "salience")
_FACTOR_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the text of a policy says.

    Attributes:
        text: as given.
        work: "pruning" keeps some tokens as they are, "pooling" makes means of several.
        method: how.
        amount: a number of tokens ("first", "fixed", "kmeans"), a share ("share", "coverage", of
            tokens; "salience", of salience), a number of standard deviations ("deviations") or a
            factor ("ward").
    """

    text: str
    work: Work
    method: Method
    amount: Fraction

    @property
    def needs_salience(self) -> bool:
        """Whether it can do nothing where salience is not known."""
        return self.method in {"salience", "deviations"}

    def count(self, tokens: int) -> int:
        """How many are left of so many tokens, where only their number decides; never 0 of some."""
        if self.method in _COUNTS:
            return min(tokens, int(self.amount))
        part = tokens / self.amount if self.method == "ward" else tokens * self.amount
        return -(-part.numerator // part.denominator)


def parse(text: str, work: Work) -> Policy | None:
    """Read a policy; "" is None: leave the tokens as they are.

    Raises:
        SchemaError: there is no such policy for this work.
    """
    if text == "":
        return None
    match = _PATTERNS[work].fullmatch(text)
    if match is None:
        raise SchemaError(f"unknown {work} policy {text!r}, expected {_EXPECTED[work]}")
    if work == "pruning" and match["deviations"] is not None:
        return Policy(
            text=text, work=work, method="deviations", amount=Fraction(match["deviations"])
        )
    method, amount = cast(Method, match["method"]), Fraction(match["amount"])
    if method in _SHARES:
        fits, expected = 0 < amount <= 1, "a share above 0 and at most 1"
    elif method in _COUNTS:
        fits = amount.denominator == 1 and 1 <= amount <= TOKENS_MAX
        expected = f"a whole number from 1 to {TOKENS_MAX:,}"
    else:
        fits, expected = 1 <= amount <= _FACTOR_MAX, f"a factor from 1 to {_FACTOR_MAX:,}"
    if not fits:
        raise SchemaError(f"{work} policy {text!r} says {match['amount']}, expected {expected}")
    return Policy(text=text, work=work, method=method, amount=amount)
