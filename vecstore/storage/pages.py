"""The pages of LMDB's file, looked at without LMDB, which trusts them: a damaged one may crash it.

LMDB 0.9 (format v1), little-endian. The file is pages of one size, the first two of them metas:

    page    number u64 | pad u16 | flags u16 | lower u16 | upper u16 | offsets of nodes u16 | nodes
            of an overflow, which holds one large value: number, pad, flags, count of pages u32
    node    size u16 u16 | flags u16 | bytes of the key u16 | key | value
            in a branch: page u48 | bytes of the key u16 | key, the least one of that page
    meta    after 16 bytes: magic u32 | version u32 | address u64 | map u64 | tree of free pages |
            tree of databases | last page u64 | commit u64
    tree    page bytes u32 | flags u16 | depth u16 | branches u64 | leaves u64 | overflow u64 |
            entries u64 | root u64

Values are not looked at: `kv` checks each when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vecstore.errors import CorruptionError, NotADatabaseError
from vecstore.storage.files import RealFiles
from vecstore.storage.txn import KEY_BYTES_MAX
from vecstore.types import Int64, Uint8

_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_BIG, _TREE = 1, 2  # flags of nodes: the value lies in overflow pages; it is a tree
_NONE = (1 << 64) - 1  # the root of an empty tree
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE = struct.Struct("<QHHHH")
_NODE_BYTES = 8
_META_HEAD = struct.Struct("<IIQQ")
_TREE_FORM = struct.Struct("<IHHQQQQQ")
_NUMBERS = struct.Struct("<QQ")
_INTEGER_KEYS = 8  # a flag of a tree
_DEPTH_MAX = 32
_PAGE_BYTES_MIN = 512
_SLACK = 1 << 20  # pages that were never written may be counted at the end of the file


class _Tree(NamedTuple):
    name: str
    page_bytes: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class _Meta(NamedTuple):
    free: _Tree
    main: _Tree
    last: int
    commit: int


class _Nodes(NamedTuple):
    """The nodes of a page, int64 [n] each.

    Attributes:
        page: its bytes.
        places: where each begins.
        flags: of each; of a branch part of what it leads to.
        lengths: of the keys.
        numbers: bytes of the values; of a branch the pages it leads to.
    """

    page: bytes
    places: Int64
    flags: Int64
    lengths: Int64
    numbers: Int64

    def key(self, node: int) -> bytes:
        """The key of a node."""
        start = int(self.places[node]) + _NODE_BYTES
        return self.page[start : start + int(self.lengths[node])]

    def keys(self) -> list[bytes]:
        """All keys."""
        starts = (self.places + _NODE_BYTES).tolist()
        ends = (self.places + _NODE_BYTES + self.lengths).tolist()
        return [self.page[start:end] for start, end in zip(starts, ends, strict=True)]


class _Damage(Exception):  # noqa: N818 - it never leaves this file
    """What is wrong with a page."""


def check_metas(path: Path) -> None:
    """Look at the first two pages of a file: they lead to everything else.

    LMDB writes them in turn, so that their commits follow each other. A flipped bit in the number
    of a commit would make LMDB go back to the one before.

    Raises:
        NotADatabaseError: they are no such pages.
        CorruptionError: they cannot both have been written.
    """
    _last(path, RealFiles().map(path))


class PageDamage(NamedTuple):
    """Something that is wrong.

    Attributes:
        tree: the key space, "databases" or "free pages".
        text: in words.
        order: nothing is wrong but that keys are not in order: they are all there to be read.
    """

    tree: str
    text: str
    order: bool


def damaged_pages(
    path: Path, *, without_leaves: Collection[str] = (), ordered: bool = True
) -> list[PageDamage]:
    """What is wrong with the pages of the last commit; nothing where all is well.

    Args:
        path: the file; nobody writes it, or a transaction is open, so that its pages stay.
        without_leaves: key spaces of which only branches are looked at.
        ordered: look at the order of keys, too.

    Raises:
        NotADatabaseError, CorruptionError: as for `check_metas`.
    """
    last = _last(path, RealFiles().map(path))
    # Mapped again: a writer may have made the file longer before that commit.
    return list(_Walk(path, RealFiles().map(path), last, without_leaves, ordered=ordered).run())


class FreePages(NamedTuple):
    """The pages that LMDB holds free, as the last commit says.

    Attributes:
        page_bytes: of each page.
        commit: its number.
        pages: how many it counts, used and free.
        lists: commit -> the pages that it freed, int64 [n], descending.
    """

    page_bytes: int
    commit: int
    pages: int
    lists: dict[int, Int64]


def free_pages(path: Path) -> FreePages:
    """The free pages of the last commit; a transaction is open, so that their lists stay.

    Raises:
        CorruptionError: their lists are damaged.
    """
    last = _last(path, RealFiles().map(path))
    walk = _Walk(path, RealFiles().map(path), last, (), ordered=True)
    for damage in walk.free():
        raise CorruptionError(f"{damage.text}; restore a snapshot")
    return FreePages(last.free.page_bytes, last.commit, last.last + 1, walk.freed)


def _last(path: Path, data: Uint8) -> _Meta:
    """The meta page of the last commit."""
    attempts = 3  # a writer may be writing one of them
    while True:
        try:
            found = _metas(path, data)
            even, odd = (meta.commit for meta in found)
            if (even, odd) != (0, 0) and (even % 2 or abs(even - odd) != 1):
                raise CorruptionError(
                    f"{path} says that its last commits were {even} and {odd}, which do not "
                    "follow each other; restore a snapshot"
                )
            return max(found, key=lambda meta: meta.commit)
        except (CorruptionError, NotADatabaseError):
            attempts -= 1
            if not attempts:
                raise


def _metas(path: Path, data: Uint8) -> list[_Meta]:
    size = (
        _tree("", data[:512].tobytes(), 16 + _META_HEAD.size).page_bytes if len(data) >= 512 else 0
    )
    if size not in {1 << shift for shift in range(9, 16)} or len(data) < 2 * size:
        raise NotADatabaseError(f"{path} is not a vecstore database: it has no pages of LMDB")
    found = []
    for number in range(2):
        page = data[number * size : (number + 1) * size].tobytes()
        own, _, flags, _, _ = _PAGE.unpack_from(page)
        magic, version, _, _ = _META_HEAD.unpack_from(page, 16)
        if (own, flags & _META, magic, version) != (number, _META, _MAGIC, _VERSION):
            raise NotADatabaseError(
                f"{path} is not a vecstore database: its page {number} is no meta page"
            )
        start = 16 + _META_HEAD.size
        free = _tree("free pages", page, start)
        main = _tree("databases", page, start + _TREE_FORM.size)
        last, commit = _NUMBERS.unpack_from(page, start + 2 * _TREE_FORM.size)
        if free.flags & 0x3F != _INTEGER_KEYS or main.flags or last >= len(data) // size + _SLACK:
            raise CorruptionError(f"meta page {number} of {path} is damaged; restore a snapshot")
        found.append(_Meta(free, main, last, commit))
    return found


def _tree(name: str, page: bytes, place: int) -> _Tree:
    return _Tree(name, *_TREE_FORM.unpack_from(page, place))


class _Walk:
    """Follows every tree of one commit."""

    def __init__(
        self, path: Path, data: Uint8, meta: _Meta, skipped: Collection[str], *, ordered: bool
    ) -> None:
        self._path = path
        self._data = data
        self._meta = meta
        self._size = meta.free.page_bytes
        self._skipped = skipped
        self._ordered = ordered
        self._used = np.zeros(meta.last + 1, dtype=np.bool_)
        self._used[:2] = True
        self.freed: dict[int, Int64] = {}

    def free(self) -> Iterator[PageDamage]:
        """What is wrong with the lists of free pages; fills `freed`, as `run` does."""
        yield from self._follow(self._meta.free)

    def run(self) -> Iterator[PageDamage]:
        """What is wrong."""
        yield from self.free()
        yield from self._follow(self._meta.main)
        if not self._skipped and not self._used.all():
            page = np.argmin(self._used)
            text = f"page {page} of {self._path} is neither in use nor free"
            yield PageDamage(self._meta.free.name, text, order=False)

    def _follow(self, tree: _Tree) -> Iterator[PageDamage]:
        counts = {_BRANCH: 0, _LEAF: 0, _OVERFLOW: 0, 0: 0}
        whole = tree.name not in self._skipped
        deepest = tree.depth if whole else tree.depth - 1
        pending = [] if tree.root == _NONE or not deepest else [(tree.root, 1, b"", b"")]
        while pending:
            number, depth, least, beyond = pending.pop()
            where = f"page {number} of {self._path} ({tree.name}) is damaged"
            kind = _BRANCH if depth < tree.depth else _LEAF
            try:
                nodes = self._nodes(tree, number, kind)
                counts[kind] += 1
                keys = self._keys(tree, nodes)
                wrong = _disorder(keys[1:] if kind == _BRANCH else keys, least, beyond)
                if wrong:
                    yield PageDamage(tree.name, f"{where}: {wrong}", order=True)
                if kind == _BRANCH and depth == deepest:
                    continue
                if kind == _BRANCH:
                    bounds = [b""] * (len(nodes.places) + 1)
                    if keys and not wrong:
                        bounds = [least, *keys[1:], beyond]
                    children = zip(nodes.numbers.tolist(), pairwise(bounds), strict=True)
                    pending += [(child, depth + 1, *ends) for child, ends in children]
                    continue
                counts[0] += len(nodes.places)
                odd = np.ones_like(nodes.flags) if tree is self._meta.free else nodes.flags
                for node in np.flatnonzero(odd).tolist():
                    counts[_OVERFLOW] += self._value(tree, number, nodes, node)
                    if nodes.flags[node] & _TREE:
                        yield from self._follow(self._subtree(nodes, node))
            except _Damage as error:
                whole = False
                yield PageDamage(tree.name, f"{where}: {error}", order=False)
        told = (tree.branches, tree.leaves, tree.overflows, tree.entries)
        held = tuple(counts[kind] for kind in (_BRANCH, _LEAF, _OVERFLOW, 0))
        if whole and told != held:
            text = f"{self._path} ({tree.name}) has {held} pages and entries, expected {told}"
            yield PageDamage(tree.name, text, order=False)

    def _keys(self, tree: _Tree, nodes: _Nodes) -> list[bytes]:
        """The keys of a page as they are ordered, if their order is looked at."""
        keys = nodes.keys() if self._ordered else []
        return [key[::-1] for key in keys] if tree is self._meta.free else keys  # numbers

    def _nodes(self, tree: _Tree, number: int, kind: int) -> _Nodes:
        page = self._page(number, kind)
        lower, upper = _PAGE.unpack_from(page)[3:]
        if not 18 <= lower <= upper <= self._size or lower % 2:
            raise _Damage(f"its free space is from {lower} to {upper}")
        words = np.frombuffer(page, dtype="<u2").astype(np.int64)
        places = words[8 : lower // 2]
        if (places % 2).any() or places.max() > self._size - _NODE_BYTES:
            raise _Damage("a node is beyond the page")
        low, high, flags, lengths = words[places // 2 + np.arange(4)[:, None]]
        if lengths.max() > KEY_BYTES_MAX:
            raise _Damage(f"a key has {lengths.max()} bytes")
        numbers = low | high << 16
        stored = np.where(flags & _BIG, 8, numbers)
        if kind == _BRANCH:
            numbers, stored = numbers | flags << 32, np.zeros_like(numbers)
        elif (flags & ~(_BIG | _TREE if tree is self._meta.main else _BIG)).any():
            raise _Damage("a node has flags that it cannot have")
        ends = places + _NODE_BYTES + lengths + stored
        order = np.argsort(places)
        starts = np.append(places[order], self._size)
        # Each begins where another one ends.
        if not np.array_equal(starts, [upper, *(ends + ends % 2)[order]]):
            raise _Damage("its nodes are not end to end")
        return _Nodes(page, places, flags, lengths, numbers)

    def _page(self, number: int, kind: int) -> bytes:
        self._take(number, 1)
        page = self._data[number * self._size : (number + 1) * self._size].tobytes()
        own, _, flags, _, _ = _PAGE.unpack_from(page)
        if (own, flags & ~0x10) != (number, kind):  # 0x10: it was new in its commit
            raise _Damage(f"it says that it is page {own} with the flags {flags}")
        return page

    def _take(self, number: int, count: int) -> None:
        end = number + count
        if number < 2 or end > len(self._used) or end * self._size > len(self._data):
            raise _Damage(f"page {number} is beyond the file")
        if self._used[number:end].any():
            raise _Damage(f"page {number} is in use twice")
        self._used[number:end] = True

    def _value(self, tree: _Tree, number: int, nodes: _Nodes, node: int) -> int:
        """The overflow pages that a value takes; those of a list of free pages are looked at."""
        size, pages = int(nodes.numbers[node]), 0
        place = number * self._size + int(nodes.places[node] + nodes.lengths[node]) + _NODE_BYTES
        if nodes.flags[node] & _BIG:
            first = int.from_bytes(self._data[place : place + 8].tobytes(), "little")
            needed = (15 + size) // self._size + 1
            self._take(first, needed)
            place = first * self._size
            own, _, flags, low, high = _PAGE.unpack(self._data[place : place + 16].tobytes())
            pages = low | high << 16  # more than it needs, where a longer value was there before
            if (own, flags & ~0x10) != (first, _OVERFLOW) or pages < needed:
                raise _Damage(f"its value in page {first} does not say so")
            self._take(first + needed, pages - needed)
            place += 16
        if tree is self._meta.free:
            commit = int.from_bytes(nodes.key(node), "little")
            self.freed[commit] = self._release(self._data[place : place + size])
        return pages

    def _release(self, data: Uint8) -> Int64:
        """Take note of a list of free pages: its length, and their numbers, descending."""
        if len(data) < 8 or len(data) % 8:
            raise _Damage("a list of free pages has no such length")
        numbers = data.view("<u8") if not data.ctypes.data % 8 else data.copy().view("<u8")
        free = numbers[1:]
        if numbers[0] != len(free) or (free[1:] >= free[:-1]).any():
            raise _Damage("a list of free pages does not descend")
        if len(free) and (free[-1] < 2 or free[0] > self._meta.last):
            raise _Damage("a list of free pages leaves the file")
        places = free.astype(np.int64)
        if self._used[places].any():
            raise _Damage("a page is free and in use")
        self._used[places] = True
        return places

    def _subtree(self, nodes: _Nodes, node: int) -> _Tree:
        if nodes.numbers[node] != _TREE_FORM.size or nodes.flags[node] & _BIG:
            raise _Damage("a database is not described")
        start = int(nodes.places[node] + nodes.lengths[node]) + _NODE_BYTES
        tree = _tree(nodes.key(node).decode("ascii", "replace"), nodes.page, start)
        if (
            not 0 <= tree.depth <= _DEPTH_MAX
            or tree.flags
            or bool(tree.depth) == (tree.root == _NONE)
        ):
            raise _Damage(f"database {tree.name!r} is not described")
        return tree


def _disorder(keys: list[bytes], least: bytes, beyond: bytes) -> str:
    """What is wrong with the order of the keys of a page, all of which lie in [least, beyond)."""
    if any(one >= other for one, other in pairwise(keys)):
        return "its keys do not ascend"
    if keys and (keys[0] < least or (beyond and keys[-1] >= beyond)):
        return "its keys are not those of its place"
    return ""
