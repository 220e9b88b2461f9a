"""Inverted lists: codes stored in the order of their coarse centroid, so that a list is a range.

Shapes  n rows of the field, C lists, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore import options
from vecstore.codec import Codec, Parts, parse_spec
from vecstore.codec.lists import LISTS_DIM_MAX
from vecstore.errors import CorruptionError
from vecstore.segment.format import Component
from vecstore.segment.forms import check_forms, code_forms
from vecstore.segment.layout import Arrays, Form
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, SegmentInfo
from vecstore.segment.ragged import read_array
from vecstore.segment.stream import Shape
from vecstore.storage.paths import LISTED
from vecstore.types import Array, Float32, Int64, Uint16, Uint32, Uint64

_PREFIX = "lists/"
_OFFSETS, _ORDER = _PREFIX + "offsets", _PREFIX + "order"
_CENTROIDS = _PREFIX + "centroids/"
# The arrays that say which row the codes at each position are of.
PLACING = frozenset({_OFFSETS, _ORDER})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListOrder:
    """In which order codes are written.

    Attributes:
        centroids: float32 [C, D].
        offsets: uint64 [C + 1]: list l has the positions [offsets[l], offsets[l + 1]).
        order: uint32 [n]: the row of the field at each position; ascending within a list.
    """

    centroids: Float32
    offsets: Uint64
    order: Uint32

    @classmethod
    def of(cls, centroids: Float32, assigned: Int64 | Uint16) -> ListOrder:
        """The order of rows that belong to the lists `assigned` [n]; lists of none are left out."""
        sizes = np.bincount(assigned, minlength=len(centroids))
        used = sizes > 0
        offsets = np.concatenate([[0], np.cumsum(sizes[used])]).astype(np.uint64)
        order = np.argsort(assigned, kind="stable").astype(np.uint32)
        return cls(centroids=centroids[used], offsets=offsets, order=order)

    def arrays(self, codec: Codec) -> dict[str, Array]:
        """What a component holds beside the codes; centroids are coded as rows are."""
        centroids = codec.pack(codec.encode(self.centroids))
        return {
            _OFFSETS: self.offsets,
            _ORDER: self.order,
            **{_CENTROIDS + name: array for name, array in centroids.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lists:
    """The lists of stored codes.

    Attributes:
        offsets: as in ListOrder.
        order: as in ListOrder.
        positions: uint32 [n], where the codes of each row of the field lie.
        centroids: codes of the centroids, laid out for scanning.
    """

    offsets: Uint64
    order: Uint32
    positions: Uint32
    centroids: Parts

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows_of(self, probes: Int64) -> int:
        """How many rows some lists have together; -1 is none."""
        probes = probes[probes >= 0]
        return int((self.offsets[probes + 1] - self.offsets[probes]).sum())


def read_lists(arrays: Arrays, rows: int, where: str) -> Lists:
    """The lists among the arrays of a component with the codes of `rows` rows.

    Raises:
        CorruptionError: they do not hold each row once; `where` says what that is.
    """
    offsets: Uint64 = read_array(arrays, _OFFSETS, np.dtype(np.uint64))
    order: Uint32 = read_array(arrays, _ORDER, np.dtype(np.uint32))
    places = np.arange(rows, dtype=np.uint32)
    positions = np.zeros(rows, dtype=np.uint32)
    sound = len(order) == rows and len(offsets) > 1
    sound = sound and offsets[0] == 0 and offsets[-1] == rows
    sound = sound and not (offsets[1:] < offsets[:-1]).any() and not (order >= rows).any()
    if sound:
        positions[order] = places
        sound = bool((positions[order] == places).all())
    if not sound:
        raise CorruptionError(f"{where} has lists that do not hold each row once")
    centroids = {
        name.removeprefix(_CENTROIDS): array
        for name, array in arrays.items()
        if name.startswith(_CENTROIDS)
    }
    return Lists(offsets=offsets, order=order, positions=positions, centroids=centroids)


def check_centroids(lists: Lists, codec: Codec, where: str) -> None:
    """Raise CorruptionError unless there are codes of each centroid, which `codec` made."""
    check_forms(lists.centroids, code_forms(codec, len(lists)), where)


def stored_lists(component: Component, codec: Codec, rows: int) -> Lists:
    """The lists of a component that `codec` wrote, verified; CorruptionError for what cannot be."""
    for name in component.arrays:
        if name.startswith(_PREFIX):
            component.touch(name)
    lists = read_lists(component.arrays, rows, str(component.path))
    check_centroids(lists, codec, str(component.path))
    return lists


def listed_forms(codec: Codec, rows: int, lists: int) -> dict[str, Form]:
    """The arrays that the codes of `rows` rows become, in the order of so many lists."""
    return {
        _OFFSETS: Shape(np.dtype("<u8"), (lists + 1,)),
        _ORDER: Shape(np.dtype("<u4"), (rows,)),
        **{_CENTROIDS + name: form for name, form in code_forms(codec, lists).items()},
        **code_forms(codec, rows),
    }


def codes_of(arrays: Arrays) -> dict[str, Array]:
    """The arrays of a component without those of its lists."""
    return {name: array for name, array in arrays.items() if not name.startswith(_PREFIX)}


def is_listed(item: RepresentationInfo) -> bool:
    """Whether the codes of a representation are in the order of lists."""
    return item.component.startswith(LISTED)


def wants_lists(field: FieldInfo) -> bool:
    """Whether codes of a field are in the order of rows that are worth writing as lists."""
    return any(
        not field.bounds
        and may_be_listed(item.spec, field.dim, field.count)
        and not is_listed(item)
        for item in field.representations
    )


def may_be_listed(spec: str, dim: int, count: int) -> bool:
    """Whether the codes of `count` rows are worth writing as lists; floats never are."""
    fits = count >= options.LISTS_ROWS_MIN and dim <= LISTS_DIM_MAX
    return fits and parse_spec(spec, dim).coded


def lacks_lists(segment: SegmentInfo) -> bool:
    """Whether a segment has a field that is worth writing again as lists."""
    return any(map(wants_lists, segment.fields))
