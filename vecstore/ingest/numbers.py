"""Numbers of segments and codecs, and where their files lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vecstore.segment.catalog import CodecInfo
from vecstore.segment.environment import Environment
from vecstore.segment.meta import next_number
from vecstore.storage import keys


def take_number(environment: Environment, counter: bytes) -> int:
    """A number that no file ever had, even one that a crash left behind."""
    with environment.writing() as txn:
        number = next_number(txn, counter)
    paths = environment.paths
    made = paths.segment(number) if counter == keys.NEXT_SEGMENT else paths.codec(number)
    environment.reclaimer.begin(made)
    return number


def made_paths(
    environment: Environment, segments: Iterable[int], codecs: Iterable[CodecInfo]
) -> list[Path]:
    """Where segments and codecs lie."""
    paths = environment.paths
    return [*map(paths.segment, segments), *(paths.codec(codec.id) for codec in codecs)]
