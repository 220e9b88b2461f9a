"""Which representations a segment gets: of few tokens floats, until a codec of tokens can learn.

Such a codec has thousands of centroids. What few tokens teach it is of no use to those that come
later, so that a segment written before there are enough keeps floats in place of its codes. Once
there are enough, compaction writes such segments again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from vecstore.codec import parse_spec
from vecstore.codec.centroid_training import tokens_max, tokens_min
from vecstore.schema import Schema, Vector
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.manifest import SegmentInfo
from vecstore.segment.vectors import row_codes
from vecstore.segment.writer import Part

# What stands in: of vectors of any length, floats of any size.
_STAND_IN = {"cosine": "float16", "dot": "float32"}


def settled(
    schema: Schema, parts: Sequence[Part], known: Sequence[CodecInfo], *, eager: bool = False
) -> Schema:
    """The schema with the representations that a segment of some rows can have by now.

    Args:
        schema: of the collection.
        parts: the rows.
        known: the trained codecs of the collection.
        eager: learn from as few tokens as can be; else wait until no more would be learned from.
    """
    vectors = []
    for vector in schema.vectors:
        tokens = sum(row_codes(part.source, vector.name, part.rows) for part in parts)
        ladder = (
            vector.representations
            if _can(vector, tokens, known, eager=eager)
            else _stand_in(vector)
        )
        vectors.append(replace(vector, representations=ladder))
    return replace(schema, vectors=vectors)


def upgrades(
    segments: Sequence[SegmentInfo],
    schema: Schema,
    known: Sequence[CodecInfo],
    *,
    eager: bool = False,
) -> Iterator[tuple[int, int]]:
    """Spans of adjacent segments with floats in place of codes that can have the codes by now."""
    place = 0
    for late, group in groupby(segments, partial(_late, schema)):
        run = tuple(group)
        held = {vector.name: sum(_tokens(item, vector) for item in run) for vector in late}
        if any(_can(vector, held[vector.name], known, eager=eager) for vector in late):
            yield place, place + len(run)
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


def _can(vector: Vector, tokens: int, known: Sequence[CodecInfo], *, eager: bool) -> bool:
    """Whether each representation of a field is trained, or can be by so many tokens."""
    trained = {info.spec for info in known if info.field == vector.name}
    least = tokens_min if eager else tokens_max
    specs = [parse_spec(spec, vector.dim) for spec in vector.representations]
    return all(
        not spec.learns_from_tokens or str(spec) in trained or tokens >= least(spec)
        for spec in specs
    )


def _stand_in(vector: Vector) -> tuple[str, ...]:
    """The ladder of a field without what has to learn from many tokens; not empty."""
    specs = [parse_spec(spec, vector.dim) for spec in vector.representations]
    rest = tuple(str(spec) for spec in specs if not spec.learns_from_tokens)
    return rest or (_STAND_IN[vector.metric],)
