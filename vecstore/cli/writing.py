"""Writes files of records to a collection, and minds what is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from vecstore.cli.console import Report
from vecstore.cli.records import Chunk, Source
from vecstore.collection import Collection
from vecstore.errors import InvalidInputError, RequestError
from vecstore.types import Id

Rule: TypeAlias = Literal["refuse", "skip", "replace"]

LOOK_UP_IDS = 256  # at a time, as payloads of those found are read too


class Writer:
    """Writes records to one field of a collection.

    An upsert replaces a record whole, so a record whose id exists is written only by the rule
    "replace". "refuse" stops there and "skip" passes over it, so that an import goes on.

    Args:
        collection: where to.
        field: the vector field.
        rule: what becomes of a record whose id exists, or came before in the files.
        ttl_s: seconds after which they expire; None for those of the collection.

    Attributes:
        written: records written so far.
        skipped: records passed over so far.
    """

    def __init__(
        self, collection: Collection, field: str, rule: Rule, ttl_s: float | None = None
    ) -> None:
        self.written = 0
        self.skipped = 0
        self._collection = collection
        self._field = field
        self._rule = rule
        self._ttl_s = ttl_s
        self._before = collection.count()

    @property
    def summary(self) -> str:
        """What an import that is complete has done."""
        parts = [f"{self.written:,} records written"]
        replaced = self.written - (self._collection.count() - self._before)
        if replaced:
            parts.append(f"{replaced:,} of them in place of others")
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped, already there")
        return ", ".join(parts)

    @property
    def state(self) -> str:
        """What an import that ends early has done, and how it goes on."""
        if not self.written:
            return "Nothing is written"
        again = {
            "refuse": "the same command with --skip-existing goes on after them",
            "skip": "the same command goes on after them",
            "replace": "the same command writes them again and goes on",
        }
        return f"The {self.written:,} records before it are written; {again[self._rule]}"

    def write_all(self, sources: Sequence[Source], report: Report) -> None:
        """Write all records of files.

        Raises:
            InvalidInputError: a bad record, or one that is refused; those before it are written.
        """
        for source in sources:
            for chunk in source.chunks():
                self._write(source, chunk)
                report(source.path.name, chunk.done, source.size)

    def _write(self, source: Source, chunk: Chunk) -> None:
        """Write a chunk; where it is refused, its halves, up to the one record at fault."""
        count = len(chunk.ids)
        try:
            kept = self._kept(chunk)
            self._upsert(chunk if len(kept) == count else chunk.only(kept))
            self.skipped += count - len(kept)
        except InvalidInputError as error:
            if count <= 1:
                place = "".join(f" {source.unit} {number:,}" for number in chunk.places)
                raise type(error)(f"{source.path}{place}: {error}") from None
            self._write(source, chunk.only(range(count // 2)))
            self._write(source, chunk.only(range(count // 2, count)))

    def _kept(self, chunk: Chunk) -> Sequence[int]:
        """Positions of the records to write."""
        if self._rule == "replace":
            return range(len(chunk.ids))
        known = self._known(chunk.ids)
        if known and self._rule == "refuse":
            raise RequestError(
                f"id {chunk.ids[known[0]]!s} exists in {self._collection.name}; choose "
                "--skip-existing or --replace (or, for row numbers of .npy files, --first-id)"
            )
        passed = frozenset(known)
        return [position for position in range(len(chunk.ids)) if position not in passed]

    def _known(self, ids: Sequence[Id]) -> list[int]:
        """Positions of ids that the collection has, or that come earlier in `ids`."""
        known: list[int] = []
        seen: set[Id] = set()
        for start in range(0, len(ids), LOOK_UP_IDS):
            part = ids[start : start + LOOK_UP_IDS]
            for position, record in enumerate(self._collection.get(part), start):
                if record is not None or ids[position] in seen:
                    known.append(position)
                seen.add(ids[position])
        return known

    def _upsert(self, chunk: Chunk) -> None:
        if len(chunk.ids):
            self._collection.upsert(
                chunk.ids,
                vectors={self._field: chunk.vectors},
                payloads=chunk.payloads,
                ttl_s=self._ttl_s,
            )
            self.written += len(chunk.ids)
