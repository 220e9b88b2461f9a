"""What can still be read of a damaged segment, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vecstore.codec import Codec
from vecstore.errors import CorruptionError
from vecstore.repair.salvage import Forms, Remains, Told, salvage, sized_forms, string_forms
from vecstore.repair.tokens import check_tokens, read_tokens, token_forms
from vecstore.schema import Column
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.columns import ColumnData
from vecstore.segment.environment import Environment
from vecstore.segment.forms import check_forms, code_forms
from vecstore.segment.lists import PLACING, Lists, check_centroids, listed_forms, read_lists
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, SegmentInfo
from vecstore.segment.ragged import Ragged
from vecstore.segment.stream import Shape
from vecstore.segment.tokens import TokenBounds
from vecstore.storage import paths as names
from vecstore.types import Array, Bool, Int64, Uint32, Uint64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FieldRemains:
    """What can be read of one vector field; N rows of the segment, n that have the field.

    Attributes:
        info: the field.
        rows: uint32 [n], the rows that have it, ascending; None where all have it. Made up where
            `unknown` says so.
        unknown: bool [N], rows that may have the field or not, or any of its tokens.
        unreadable: spec -> bool [N], the rows whose codes cannot be read; only of damaged ones.
        tokens: of a multivector field, where the tokens of rows that are not `unknown` lie.
        forgotten: what cannot be read of tokens besides, "places" or "salience" -> bool [N], the
            rows of which; only of damaged ones. `tokens` has them as they come, and 0.
    """

    info: FieldInfo
    rows: Uint32 | None
    unknown: Bool
    unreadable: Mapping[str, Bool]
    tokens: TokenBounds | None = None
    forgotten: Mapping[str, Bool] = field(default_factory=dict)

    def lost(self) -> Bool:
        """The rows that no representation can be read of, bool [N]."""
        if len(self.unreadable) < len(self.info.representations):
            return self.unknown
        found = self.unknown.copy()
        found |= np.logical_and.reduce(list(self.unreadable.values()))
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentRemains:
    """A segment, examined. Its arrays are not to be trusted where they are damaged.

    Attributes:
        info: what the manifest says of it.
        folder: where it lies.
        parts: component -> what is left of it.
        codecs: (field, spec) -> the codec that wrote a representation, where it can be had.
        placed: component -> the lists that its codes are in the order of, None where that is the
            one of rows; without those of which nobody can say where the codes of a row are.
    """

    info: SegmentInfo
    folder: Path
    parts: Mapping[str, Remains]
    codecs: Mapping[tuple[str, str], Codec] = field(default_factory=dict)
    placed: Mapping[str, Lists | None] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words."""
        return [text for part in self.parts.values() for text in part.problems]

    def damaged(self) -> frozenset[str]:
        """The components that are damaged."""
        return frozenset(name for name, part in self.parts.items() if part.problems)

    def array(self, component: str, name: str) -> Array:
        """An array of a component, empty where nothing is left."""
        found = self.parts[component].arrays.get(name)
        return np.empty(0, dtype=np.uint64) if found is None else found

    @cached_property
    def seqs(self) -> tuple[Uint64, Bool]:
        """The seqs, uint64 [N], and which of them are known."""
        info, part = self.info, self.parts[names.ROWS]
        known = ~part.bad("seqs", info.rows)
        seqs = np.zeros(info.rows, dtype=np.uint64)
        seqs[known] = self.array(names.ROWS, "seqs")[known] if known.any() else 0
        seqs[[0, -1]] = info.seq_min, info.seq_max
        known[[0, -1]] = True
        return seqs, known

    @cached_property
    def expires(self) -> tuple[Int64 | None, Bool]:
        """When each row expires, int64 [N], 0 where that is not known; and where it is."""
        info = self.info
        if not info.expires:
            return None, np.ones(info.rows, dtype=np.bool_)
        bad = self.parts[names.ROWS].bad("expires", info.rows)
        expires = np.zeros(info.rows, dtype=np.int64)
        expires[~bad] = self.array(names.ROWS, "expires")[~bad] if not bad.all() else 0
        return expires, ~bad

    @cached_property
    def ids(self) -> tuple[Ragged, Bool]:
        """Encoded ids, and which of them can be read, bool [N]."""
        return self.parts[names.ROWS].strings("ids", self.info.rows)

    @cached_property
    def payloads(self) -> tuple[Ragged, Bool]:
        """Payloads, and which of them can be read, bool [N]."""
        return self.parts[names.PAYLOADS].strings("payloads", self.info.rows)

    def column(self, column: Column) -> ColumnData | None:
        """A column, or None where it is damaged; nulls where it was added later."""
        for info in self.info.columns:
            if info.name == column.name:
                part = self.parts[info.component]
                whole = not part.problems
                return ColumnData.from_arrays(info.type, part.arrays, "") if whole else None
        return ColumnData.nulls(column.type, self.info.rows)

    def fields(self) -> Iterator[FieldRemains]:
        """The vector fields that some row has."""
        for info in self.info.fields:
            if info.count:
                rows, unknown = self._presence(info)
                found = None if not info.bounds else read_tokens(self.parts[info.bounds], info)
                bad = {item.spec: self._numbers(info, item) for item in info.representations}
                if found is not None:
                    unknown |= _rows(found.lost, rows, self.info.rows)
                    bad = {spec: found.owners(codes) for spec, codes in bad.items()}
                forgotten = {} if found is None else found.forgotten
                yield FieldRemains(
                    info=info,
                    rows=rows,
                    unknown=unknown,
                    unreadable=self._rows(bad, rows),
                    tokens=None if found is None else found.bounds,
                    forgotten=self._rows(forgotten, rows),
                )

    def _rows(self, bad: Mapping[str, Bool], rows: Uint32 | None) -> dict[str, Bool]:
        """Some masks of the rows that have a field as masks of all rows, without empty ones."""
        count = self.info.rows
        return {name: _rows(numbers, rows, count) for name, numbers in bad.items() if numbers.any()}

    def _presence(self, info: FieldInfo) -> tuple[Uint32 | None, Bool]:
        unknown = np.zeros(self.info.rows, dtype=np.bool_)
        if not info.presence:
            return None, unknown
        bad = self.parts[info.presence].bad("rows", info.count)
        rows = np.zeros(info.count, dtype=np.int64)
        rows[~bad] = self.array(info.presence, "rows")[~bad] if not bad.all() else 0
        for first, last in spans(bad):
            start = int(rows[first - 1]) + 1 if first else 0
            stop = int(rows[last]) if last < info.count else self.info.rows
            # Where there are as many as there is room for, these are they.
            rows[first:last] = np.arange(start, start + last - first)
            unknown[start:stop] = stop - start > last - first
        return rows.astype(np.uint32), unknown

    def _numbers(self, info: FieldInfo, item: RepresentationInfo) -> Bool:
        """Which codes cannot be read, bool [n], or of a multivector field [T]."""
        codec = self.codecs.get((info.name, item.spec))
        bad = np.zeros(info.codes, dtype=np.bool_)
        if codec is None or item.component not in self.placed:
            return ~bad
        for name, form in code_forms(codec, info.codes).items():
            items = self.parts[item.component].bad(name, form.shape[0])
            # Of how many codes an item is: a power of two.
            shared = 1 << (-(-info.codes // max(1, len(items))) - 1).bit_length()
            bad |= np.repeat(items, shared)[: info.codes]
        lists = self.placed[item.component]
        if lists is None or not bad.any():
            return bad
        numbers = np.zeros_like(bad)
        numbers[lists.order[bad]] = True
        return numbers


def examine(
    environment: Environment, shelf: CodecShelf, info: SegmentInfo, told: Told
) -> SegmentRemains:
    """Read every byte of a segment.

    Args:
        environment: the database.
        shelf: the codecs of the collection.
        info: what the manifest says of the segment.
        told: called with the bytes of each block that was read.
    """
    codecs: dict[tuple[str, str], Codec] = {}
    made: dict[str, tuple[FieldInfo, Codec]] = {}
    for owner in info.fields:
        for item in owner.representations:
            try:
                codec = shelf.load(owner, item)
            except CorruptionError:
                continue
            codecs[owner.name, item.spec] = codec
            made[item.component] = (owner, codec)
    folder = environment.paths.segment(info.id)
    parts = {}
    for component in info.components:
        name = component.name
        parts[name] = salvage(
            environment.files,
            names.component_path(folder, name),
            names.kind_of(name),
            component,
            told,
            lambda name=name: _forms(info, name, made),  # type: ignore[misc]
        )
    placed: dict[str, Lists | None] = {}
    for name, (owner, codec) in made.items():
        part = parts[name]
        try:
            placed[name] = lists = _lists(part, name, codec, owner.codes)
            if lists is not None:
                check_centroids(lists, codec, name)
        except CorruptionError as error:
            parts[name] = replace(part, problems=part.problems or (str(error),))
    for owner in info.fields:
        if owner.bounds and not parts[owner.bounds].problems:
            try:
                check_tokens(parts[owner.bounds], owner)
            except CorruptionError as error:
                parts[owner.bounds] = replace(parts[owner.bounds], problems=(str(error),))
    return SegmentRemains(info=info, folder=folder, parts=parts, codecs=codecs, placed=placed)


def spans(mask: Bool) -> list[tuple[int, int]]:
    """The runs of True in a mask: where each starts and ends."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _forms(
    info: SegmentInfo, name: str, made: Mapping[str, tuple[FieldInfo, Codec]]
) -> Sequence[Forms]:
    """The arrays that a component must hold."""
    number = np.dtype("<u8")
    if name == names.ROWS:
        fixed = {"seqs": Shape(number, (info.rows,))}
        if info.expires:
            fixed["expires"] = Shape(np.dtype("<i8"), (info.rows,))
        return string_forms(name, info.component(name), fixed, info.rows)
    if name == names.PAYLOADS:
        return string_forms(name, info.component(name), {}, info.rows)
    if name in made:
        owner, codec = made[name]
        if names.kind_of(name) != names.LISTED:
            return [code_forms(codec, owner.codes)]
        return sized_forms(
            names.LISTED,
            info.component(name),
            lambda lists: listed_forms(codec, owner.codes, lists),
        )
    for owner in info.fields:
        if owner.presence == name:
            return [{"rows": Shape(np.dtype("<u4"), (owner.count,))}]
        if owner.bounds == name:
            return token_forms(owner)
    return []


def _lists(part: Remains, name: str, codec: Codec, rows: int) -> Lists | None:
    """The lists that codes are in the order of, None where that is the one of rows.

    Raises:
        CorruptionError: nothing says where the codes of a row are.
    """
    check_forms(part.arrays, code_forms(codec, rows), name)
    if names.kind_of(name) != names.LISTED:
        return None
    if not PLACING.isdisjoint(part.damaged):
        raise CorruptionError(f"the order of the lists of {name} is damaged")
    return read_lists(part.arrays, rows, name)


def _rows(numbers: Bool, rows: Uint32 | None, count: int) -> Bool:
    """The rows of some codes, bool [N]; those between them that lack the field count, too."""
    if rows is None:
        return numbers
    found = np.zeros(count, dtype=np.bool_)
    for first, last in spans(numbers):
        found[rows[first] : int(rows[last - 1]) + 1] = True
    return found
