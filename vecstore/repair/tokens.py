"""What can still be read of where the tokens of a multivector field lie.

Shapes  n rows that have the field, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.options import TOKENS_MAX
from vecstore.repair.salvage import Forms, Remains
from vecstore.segment.manifest import FieldInfo
from vecstore.segment.stream import Shape
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Array, Bool

_OPTIONAL = {"places": np.dtype("<u2"), "salience": np.dtype("<f2")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenRemains:
    """Where tokens lie, as far as that is known.

    Attributes:
        bounds: not to be trusted for rows that are lost.
        lost: bool [n], the rows of which nobody can tell which tokens they have.
        forgotten: "places" or "salience" -> bool [n], the rows of some token of which they cannot
            be read; only where there are such.
    """

    bounds: TokenBounds
    lost: Bool
    forgotten: Mapping[str, Bool]

    def owners(self, tokens: Bool) -> Bool:
        """The rows of some tokens, bool [n], without those that are lost."""
        return _owners(self.bounds, self.lost, tokens)


def token_forms(info: FieldInfo) -> list[Forms]:
    """The arrays that the component may hold."""
    found: list[Forms] = []
    for names in (("places", "salience"), (), ("places",), ("salience",)):
        offsets = Shape(np.dtype("<u8"), (info.count + 1,))
        others = {name: Shape(_OPTIONAL[name], (info.tokens,)) for name in names}
        found.append({"offsets": offsets, **others})
    return found


def check_tokens(part: Remains, info: FieldInfo) -> None:
    """Raise CorruptionError where a component says what cannot be, though its checksums match."""
    bounds = TokenBounds.from_arrays(part.arrays, "")
    if (len(bounds), bounds.count) != (info.count, info.tokens):
        raise CorruptionError(
            f"{info.bounds} bounds {bounds.count} tokens of {len(bounds)} rows, expected "
            f"{info.tokens} of {info.count}"
        )


def read_tokens(part: Remains, info: FieldInfo) -> TokenRemains:
    """Read a component as far as it can be."""
    offsets, bad = _read(part, "offsets", Shape(np.dtype("<u8"), (info.count + 1,)))
    offsets[[0, -1]], bad[[0, -1]] = (0, info.tokens), False
    starts, stops = offsets[:-1], offsets[1:]
    sound = ~(bad[:-1] | bad[1:]) & (starts < stops) & (stops <= np.uint64(info.tokens))
    sound &= stops - starts <= np.uint64(TOKENS_MAX)  # wraps around where they do not ascend
    bounds, lost = TokenBounds(offsets=offsets), ~sound
    found: dict[str, Array] = {}
    forgotten: dict[str, Bool] = {}
    for name, dtype in _OPTIONAL.items():
        if name in part.arrays:
            found[name], bad = _read(part, name, Shape(dtype, (info.tokens,)))
            if bad.any():
                forgotten[name] = _owners(bounds, lost, bad)
    if "places" in forgotten:
        rows = np.flatnonzero(forgotten["places"])
        found["places"][bounds.rows(rows)] = bounds.take(rows).all_places()
    bounds = replace(bounds, places=found.get("places"), salience=found.get("salience"))
    return TokenRemains(bounds=bounds, lost=lost, forgotten=forgotten)


def _read(part: Remains, name: str, form: Shape) -> tuple[Array, Bool]:
    """An array, zero where it cannot be read, and where that is."""
    found, bad = np.zeros(form.shape, form.dtype), part.bad(name, form.shape[0])
    array = part.arrays.get(name)
    if array is None or (array.dtype, array.shape) != (form.dtype, form.shape):
        return found, np.ones_like(bad)
    found[~bad] = array[~bad]
    return found, bad


def _owners(bounds: TokenBounds, lost: Bool, tokens: Bool) -> Bool:
    before = np.concatenate([[0], np.cumsum(tokens)])
    starts, stops = (np.where(lost, 0, ends) for ends in (bounds.offsets[:-1], bounds.offsets[1:]))
    found: Bool = before[stops] > before[starts]
    return found
