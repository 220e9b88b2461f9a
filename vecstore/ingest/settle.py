"""Which representations a segment gets: of few tokens floats, until a codec of tokens can learn.

Such a codec has thousands of centroids. What few tokens teach it is of no use to those that come
later, so that a segment written before there are enough keeps floats in place of its codes, and so
does one whose tokens no codec suits. Once there are enough, or a codec that suits, compaction
writes such segments again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TypeAlias

from vecstore.codec import Spec, parse_spec
from vecstore.codec.centroid_training import tokens_max, tokens_min
from vecstore.schema import Schema, Vector
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.vectors import row_codes
from vecstore.segment.writer import Part

# What stands in: of vectors of any length, floats of any size.
_STAND_IN = {"cosine": "float16", "dot": "float32"}


Suits: TypeAlias = Callable[[Sequence[Part], Vector, str], bool]
"""Whether some trained codec suits the tokens of some rows."""


def settled(schema: Schema, parts: Sequence[Part], suits: Suits, *, eager: bool = False) -> Schema:
    """The schema with the representations that a segment of some rows can have by now.

    Args:
        schema: of the collection.
        parts: the rows.
        suits: asked where there are too few to learn from.
        eager: learn from as few tokens as can be; else wait until no more would be learned from.
    """
    vectors = []
    for vector in schema.vectors:
        tokens = sum(row_codes(part.source, vector.name, part.rows) for part in parts)
        can = partial(suits, parts, vector)
        coded = {spec for part in parts for spec in part.source.specs(vector.name)}
        held = [spec for spec in vector.representations if spec not in coded]
        ladder = (
            vector.representations
            if all(_can(parse_spec(spec, vector.dim), tokens, can, eager=eager) for spec in held)
            else _stand_in(vector)
        )
        vectors.append(replace(vector, representations=ladder))
    return replace(schema, vectors=vectors)


def upgrades(
    segments: Sequence[SegmentInfo],
    schema: Schema,
    suits: Callable[[Sequence[SegmentInfo], Vector, str], bool],
    *,
    eager: bool = False,
) -> Iterator[tuple[int, int]]:
    """Spans of adjacent segments with floats in place of codes that can have the codes by now."""
    place = 0
    for late, group in groupby(segments, partial(_late, schema)):
        run = tuple(group)
        for vector in late:
            tokens, can = sum(_tokens(item, vector) for item in run), partial(suits, run, vector)
            specs = (parse_spec(spec, vector.dim) for spec in vector.representations)
            if all(_can(spec, tokens, can, eager=eager) for spec in specs):
                yield place, place + len(run)
                break
        place += len(run)


def _late(schema: Schema, segment: SegmentInfo) -> tuple[Vector, ...]:
    """The fields that a segment has floats of in place of codes."""
    found = []
    for vector in schema.vectors:
        field = segment.field(vector.name)
        specs = () if field is None else tuple(item.spec for item in field.representations)
        if specs and specs != vector.representations and specs == _stand_in(vector):
            found.append(vector)
    return tuple(found)


def _tokens(segment: SegmentInfo, vector: Vector) -> int:
    field = segment.field(vector.name)
    return 0 if field is None else field.codes


def _can(spec: Spec, tokens: int, suits: Callable[[str], bool], *, eager: bool) -> bool:
    """Whether there is a representation of so many tokens."""
    least = tokens_min if eager else tokens_max
    return not spec.learns_from_tokens or tokens >= least(spec) or (tokens > 0 and suits(str(spec)))


def _stand_in(vector: Vector) -> tuple[str, ...]:
    """The ladder of a field without what has to learn from many tokens; not empty."""
    specs = [parse_spec(spec, vector.dim) for spec in vector.representations]
    rest = tuple(str(spec) for spec in specs if not spec.learns_from_tokens)
    return rest or (_STAND_IN[vector.metric],)
