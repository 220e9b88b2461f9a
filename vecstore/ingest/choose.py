"""Which codec codes the rows of a segment: one that was trained before, or one that learns now.

A trained codec serves until there are many times the rows it was trained on, up to the most that
one learns from, or rows are unlike these. Of codecs of tokens all that there are compete for rows
that have floats: where each leaves too much of them and they are too few to learn from, the segment
keeps the floats; see settle.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vecstore.codec import Spec, parse_spec
from vecstore.codec.base import Rest
from vecstore.codec.centroid_training import tokens_max, tokens_min
from vecstore.codec.drift import drift, left_of_sample
from vecstore.ingest.jobs import Task
from vecstore.ingest.numbers import take_number
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import codecs_of
from vecstore.segment.encode import FieldPart
from vecstore.segment.sample import sample_rows, sample_vectors
from vecstore.segment.vectors import code_rows, owners, row_codes
from vecstore.segment.writer import Pace, Part, no_pace
from vecstore.storage import keys
from vecstore.types import Float32

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore

# The sample that a codec learns from takes one part in so many of Options.memory_bytes_max.
# Training takes up to 7 times the sample (int8, in float64), which shall be less than half.
SAMPLE_SHARE = 16
# How many times the rows that a codec learned from there must be for another to learn.
GROWTH, GROWTH_TOKENS = 2, 4
# Of so many rows, centroids may leave so many times what they left of their sample, and clipped
# ranges so many times what rounding leaves, which costs .01 of the overlap (see DECISIONS.md).
DRIFT_ROWS, DRIFT_MAX, CLIPPING_MAX = 4_096, 1.25, 4
# Tokens by which codecs are compared: each costs a product with all centroids of each.
COMPARED = 1_024


def choose_codecs(
    store: CollectionStore,
    parts: Sequence[Part],
    trained: list[CodecInfo],
    schema: Schema,
    pace: Pace = no_pace,
    *,
    growing: bool = False,
) -> dict[tuple[str, str], StoredCodec]:
    """The codec of each representation of the rows of all parts.

    One whose codes are all that there is of rows is hardly ever trained again: its codes are
    copied, byte for byte, and little could be learned from them.

    Args:
        store: the collection.
        parts: the rows to encode.
        trained: takes those that were trained just now, which nothing names yet.
        schema: the representations.
        pace: called now and then, with 0 bytes written.
        growing: whether more rows are to be expected, which codecs that learn now shall suit.

    Returns:
        (field, spec) -> codec, without fields that no row has.
    """
    infos = trained_codecs(store)
    budget = store.environment.options.memory_bytes_max // SAMPLE_SHARE
    chosen: dict[tuple[str, str], StoredCodec] = {}
    for vector in schema.vectors:
        own = field_parts(parts, vector.name)
        count = sum(len(part.numbers) for part in own)
        for spec in vector.representations if count else ():
            codec, parsed = 0, parse_spec(spec, vector.dim)
            if parsed.trained:
                enough = sample_rows(count, vector.dim, budget, parsed)
                known = _known(infos, vector.name, spec)
                codec = _serving(store, known, own, _coded(parts, vector.name, spec), enough)
                if not codec:
                    most = sample_rows(count, vector.dim, budget, parsed, growing=growing)
                    sample = sample_vectors(own, vector.name, most)
                    if isinstance(pace, Task):
                        pace.message = f"{vector.name}: {spec} learns from {most:,} vectors"
                    info = _train(store, vector, spec, sample, partial(pace, 0))
                    trained.append(info)
                    codec = info.id
            chosen[vector.name, spec] = store.shelf.stored(vector.name, spec, codec)
    return chosen


def suits(
    store: CollectionStore,
    known: Sequence[CodecInfo],
    parts: Sequence[Part],
    vector: Vector,
    spec: str,
) -> bool:
    """Whether some codec of tokens suits rows as it suits those that it learned from."""
    own = field_parts(parts, vector.name)
    found = _known(known, vector.name, spec)
    return any(each.drift <= DRIFT_MAX for each in _compared(store, found, own))


def trained_codecs(store: CollectionStore) -> list[CodecInfo]:
    """The trained codecs of a collection, oldest first."""
    with store.environment.kv.read() as txn:
        return codecs_of(txn, store.shelf.collection)


def field_parts(parts: Iterable[Part], field: str) -> list[FieldPart]:
    """The codes of the rows of some parts that have a field."""
    return [
        FieldPart(source, code_rows(source, field, owners(source, field, rows)[1]))
        for source, rows in parts
    ]


def _known(infos: Sequence[CodecInfo], field: str, spec: str) -> list[CodecInfo]:
    return [info for info in infos if (info.field, info.spec) == (field, spec)]


def _serving(
    store: CollectionStore,
    known: Sequence[CodecInfo],
    parts: Sequence[FieldPart],
    coded: int,
    enough: int,
) -> int:
    """The codec that goes on to serve; 0: one is to learn from so many rows, `enough`."""
    if not known:
        return coded
    spec, info = parse_spec(known[-1].spec, known[-1].dim), known[-1]
    tokens = spec.learns_from_tokens
    if coded:  # more must be gained than is lost by coding codes again
        found = [each for each in known if each.id == coded]
        outgrown = any(
            (tokens and _grown(spec, each, enough)) or _drifted(store, each, parts, enough)
            for each in found
        )
        return 0 if outgrown else coded
    if not tokens:
        outgrown = _grown(spec, info, enough) or _drifted(store, info, parts, enough)
        return 0 if outgrown else info.id
    compared = _compared(store, known, parts)
    best = min(compared, key=lambda each: (each.left, -each.info.id))
    suited = any(each.drift <= DRIFT_MAX for each in compared) or not _teaches(spec, parts)
    return best.info.id if suited and not _grown(spec, best.info, enough) else 0


def _coded(parts: Sequence[Part], field: str, spec: str) -> int:
    """The codec that coded the most rows which have nothing finer; 0: there are no such rows."""
    counts: dict[int, int] = {}
    for source, rows in parts:
        codec = source.codec_id(field, spec)
        if codec and source.specs(field)[-1] == spec:
            counts[codec] = counts.get(codec, 0) + row_codes(source, field, rows)
    return max(counts, key=lambda codec: (counts[codec], codec), default=0)


def _grown(spec: Spec, info: CodecInfo, enough: int) -> bool:
    """Whether there are many times the rows that a codec learned from, or the most of tokens."""
    if not spec.learns_from_tokens:
        return enough >= GROWTH * info.rows
    return info.rows < enough >= min(GROWTH_TOKENS * info.rows, tokens_max(spec))


def _teaches(spec: Spec, parts: Sequence[FieldPart]) -> bool:
    return sum(len(part.numbers) for part in parts) >= tokens_min(spec)


def _drifted(
    store: CollectionStore, info: CodecInfo, parts: Sequence[FieldPart], enough: int
) -> bool:
    """Whether the rows of all parts want another codec, and can teach it."""
    spec = parse_spec(info.spec, info.dim)
    if not spec.drifts or (spec.learns_from_tokens and not _teaches(spec, parts)):
        return False
    codec = store.shelf.stored(info.field, info.spec, info.id).codec
    found = drift(codec, sample_vectors(parts, info.field, min(enough, DRIFT_ROWS)))
    most = DRIFT_MAX if spec.learns_from_tokens else CLIPPING_MAX
    return found is not None and found > most


class _Compared(NamedTuple):
    """How well a codec of tokens suits some rows.

    Attributes:
        info: the codec.
        drift: how many times as much its centroids leave of them as of what it learned from.
        left: the share that is.
    """

    info: CodecInfo
    drift: float
    left: float


def _compared(
    store: CollectionStore, known: Sequence[CodecInfo], parts: Sequence[FieldPart]
) -> list[_Compared]:
    if not known:
        return []
    sample = sample_vectors(parts, known[0].field, COMPARED)
    found = []
    for info in known:
        codec = store.shelf.stored(info.field, info.spec, info.id).codec
        times = drift(codec, sample)
        times = 1.0 if times is None else times  # zeros suit any
        found.append(_Compared(info, times, times * left_of_sample(codec)))
    return found


def _train(
    store: CollectionStore, vector: Vector, spec: str, sample: Float32, rest: Rest
) -> CodecInfo:
    environment = store.environment
    number = take_number(environment, keys.NEXT_CODEC)
    try:
        with environment.guard():
            return store.shelf.train(number, vector, spec, sample, rest)
    except BaseException:
        environment.reclaimer.abandon([environment.paths.codec(number)])
        raise
