"""A policy at work."""

from __future__ import annotations

from vecstore.multivector.policy import Policy
from vecstore.multivector.pool import pool
from vecstore.multivector.prune import prune
from vecstore.multivector.sets import TokenSets
from vecstore.types import Metric


def apply(policy: Policy | None, sets: TokenSets, metric: Metric) -> TokenSets:
    """The tokens of each record that a policy leaves, at least one of some, most important first.

    Every record is worked on by itself, so the caller may bring them in blocks of any size. After
    this they need no order: they are in that of the tokens before, which fewer cannot tell.

    Args:
        policy: None leaves them as they are, in the order in which they are.
        sets: of some records; where they come from an earlier reduction, places are of what was
            given first.
        metric: that of the field; means are brought to unit length for "cosine".

    Raises:
        VectorError: the policy needs salience, and it is not known.
    """
    if policy is None:
        return sets
    return pool(policy, sets, metric) if policy.work == "pooling" else prune(policy, sets)
