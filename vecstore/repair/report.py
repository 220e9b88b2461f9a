"""What a repair did, as it comes to know it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vecstore.segment.ids import decode_id


@dataclass(slots=True)
class Findings:
    """What was made again and what is gone, in words; of one collection or of none.

    Attributes:
        where: "collection 'name': ", or empty.
        rebuilt: what was made again from something as good.
        lost: what is gone.
    """

    where: str = ""
    rebuilt: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def made(self, text: str) -> None:
        """Something was made again."""
        self.rebuilt.append(self.where + text)

    def gone(self, text: str) -> None:
        """Something is gone."""
        self.lost.append(self.where + text)

    def gone_of(self, ids: Iterable[bytes], what: str) -> None:
        """Something of some records is gone; `what` goes on from "record 7"."""
        self.lost += [f"{self.where}record {decode_id(id_)!r}{what}" for id_ in ids]
