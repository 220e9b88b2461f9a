"""What clients are told of the server's files: their paths inside the database, not where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from vecstore.reports import CollectionStats, Job, RepairReport

Tell: TypeAlias = Callable[[str], str]
"""Makes of a text with paths of files one that clients may read."""


def without_roots(*roots: str | os.PathLike[str] | None) -> Tell:
    """A function that takes directories and URLs of the server out of a text."""
    spellings = {name for root in roots if root is not None for name in _spellings(root)}
    if not spellings:
        return _readable
    names = "|".join(re.escape(name) for name in sorted(spellings, key=len, reverse=True))
    found = re.compile(rf"(?<![\w./-])(?:{names})(?:/|(?![\w-]))")
    return lambda text: _readable(
        found.sub(lambda match: "" if match[0].endswith("/") else "its directory", text)
    )


def tell_stats(stats: CollectionStats, tell: Tell) -> CollectionStats:
    """What a collection costs, for clients."""
    return replace(
        stats, quarantined=tuple(map(tell, stats.quarantined)), jobs=tell_jobs(stats.jobs, tell)
    )


def tell_jobs(jobs: Iterable[Job], tell: Tell) -> tuple[Job, ...]:
    """Background work, for clients."""
    return tuple(replace(job, message=tell(job.message)) for job in jobs)


def tell_repair(report: RepairReport, tell: Tell) -> RepairReport:
    """What a repair did, for clients."""
    return RepairReport(
        rebuilt=tuple(map(tell, report.rebuilt)),
        lost=tuple(map(tell, report.lost)),
        remaining=tuple(map(tell, report.remaining)),
    )


def _spellings(root: str | os.PathLike[str]) -> set[str]:
    if "://" in os.fsdecode(root):
        return {os.fsdecode(root).rstrip("/")}
    return {os.path.normpath(root), os.path.abspath(root), os.path.realpath(root)} - {"/", "."}


def _readable(text: str) -> str:
    """A text that a message can hold: what is not UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
