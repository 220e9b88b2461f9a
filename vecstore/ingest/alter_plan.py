"""Whether a field can be altered: what is left of its vectors, how good it is, what is known of it.

A representation can be made from one that is as fine or finer. Of the vectors as they were given
nothing is left but the representations, so that what was dropped cannot come back.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vecstore import options
from vecstore.codec.centroid_training import tokens_min
from vecstore.codec.ladder import resolve_schema
from vecstore.codec.spec import parse_spec
from vecstore.errors import RequestError, SchemaError
from vecstore.ingest.tokens import check_policies
from vecstore.schema import MultiVector, Schema, Vector, with_policies
from vecstore.segment.base import Source
from vecstore.segment.reduction import Reduction
from vecstore.segment.snapshot import Live, Snapshot, live_field_rows, written_rows
from vecstore.segment.vectors import code_rows, code_spans, decode_rows, row_codes
from vecstore.types import Float32, Int64

# Rows that the error of a representation is measured on, at most.
SAMPLE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Order:
    """How a field shall be.

    Attributes:
        field: the vector field.
        representations: its whole ladder; empty means the default, None the one that it has.
        pruning: of a multivector field; None: the one that it has.
        pooling: likewise.
    """

    field: str
    representations: Sequence[str] | None = None
    pruning: str | None = None
    pooling: str | None = None

    def altered(self, schema: Schema) -> Schema:
        """A schema with that field, its ladder spelled out, coarse to fine.

        Raises:
            NotFoundError: no such vector field.
            SchemaError: a representation or a policy cannot be.
            RequestError: nothing is asked for.
        """
        wanted = schema.vector(self.field)
        if self.representations is None and self.pruning is None and self.pooling is None:
            raise RequestError(
                f"alter of {self.field!r} asks for nothing, expected representations, pruning or "
                "pooling"
            )
        wanted = with_policies(wanted, self.pruning, self.pooling)
        if self.representations is not None:
            alone = Schema([replace(wanted, representations=self.representations)])
            (wanted,) = resolve_schema(alone).vectors  # others stay in the order they are in
        vectors = tuple(wanted if own.name == self.field else own for own in schema.vectors)
        found = replace(schema, vectors=vectors)
        check_policies(found)
        return found


def told(field: Vector) -> str:
    """What may be altered of a field, as errors and progress tell it."""
    policies = (field.pruning, field.pooling) if isinstance(field, MultiVector) else ()
    return ", ".join((*field.representations, *filter(None, policies)))


def check_derivable(snapshot: Snapshot, wanted: Vector) -> None:
    """Raise SchemaError where a source has live vectors that are too coarse for a representation.

    Args:
        snapshot: the state to alter.
        wanted: the field with its new ladder, spelled out.
    """
    _check_learnable(snapshot, wanted)
    missing: set[str] = set()
    coarse: list[Live] = []
    for live in snapshot.sources:
        found = _missing(live.source, wanted) if live.allowed(wanted.name).count else []
        missing.update(found)
        if found:
            coarse.append(live)
    if coarse:
        raise SchemaError(_refusal(coarse, wanted, missing))


def _check_learnable(snapshot: Snapshot, wanted: Vector) -> None:
    """Raise SchemaError where there are too few tokens for what learns from many of them."""
    tokens = sum(
        row_codes(live.source, wanted.name, written_rows(live)) for live in snapshot.sources
    )
    had = snapshot.info.schema.vector(wanted.name).representations
    for spec in (parse_spec(text, wanted.dim) for text in wanted.representations):
        if not spec.learns_from_tokens or str(spec) in had:
            continue
        if 0 < tokens < tokens_min(spec):
            raise SchemaError(
                f"multivector field {wanted.name!r} cannot get {str(spec)!r} yet: it learns from "
                f"{tokens_min(spec):,} tokens at least, and there are {tokens:,}; write more first "
                "(a collection that is created with it keeps floats until there are enough)"
            )


def check_salience(sources: Sequence[Live], reduction: Reduction) -> None:
    """Raise SchemaError where policies need salience that some live record does not have.

    That is stored as zeros beside others that have it; of one token any policy makes one.
    """
    if not reduction.needs_salience:
        return
    name, missing = reduction.field.name, 0
    for live in sources:
        numbers, tokens = live_field_rows(live, name), live.source.tokens(name)
        if tokens is None:
            continue
        for some in code_spans(live.source, name, numbers, options.CHUNK_BYTES):
            own = tokens.take(some)
            missing += int((~own.weighed() & (np.diff(own.offsets) > 1)).sum())
    if missing:
        texts = " and ".join(repr(p.text) for p in reduction.policies if p.needs_salience)
        raise SchemaError(
            f"multivector field {name!r} cannot get {texts}: of {missing:,} records no salience is "
            "known; write them again with it, or choose coverage0.5 or share0.5"
        )


def source_errors(sources: Sequence[Live], vector: Vector) -> dict[str, float]:
    """How far the representations of a field are from the finest one of the same rows.

    Returns:
        spec -> mean relative error |x - y| / |x| of a sample of live rows, finest first; 0 where
        the representation is the finest that its rows have.
    """
    found: dict[str, list[Float32]] = {}
    for live, numbers in _sample(sources, vector.name):
        specs = live.source.specs(vector.name)[::-1]
        finest = _decoded(live.source, vector.name, specs[0], numbers)
        lengths = np.maximum(np.linalg.norm(finest, axis=1), np.finfo(np.float32).tiny)
        for spec in specs:
            near = _decoded(live.source, vector.name, spec, numbers)
            found.setdefault(spec, []).append(np.linalg.norm(finest - near, axis=1) / lengths)
    order = sorted(found, key=lambda spec: parse_spec(spec, vector.dim).fineness, reverse=True)
    return {spec: float(np.mean(np.concatenate(found[spec]))) for spec in order}


def _missing(source: Source, wanted: Vector) -> list[str]:
    """The representations that a source neither has nor can make."""
    specs = source.specs(wanted.name)
    finest = parse_spec(specs[-1], wanted.dim)
    return [
        spec
        for spec in wanted.representations
        if spec not in specs and not finest.makes(parse_spec(spec, wanted.dim))
    ]


def _refusal(coarse: Sequence[Live], wanted: Vector, missing: Container[str]) -> str:
    errors = source_errors(coarse, wanted)
    finest, *others = errors
    left = f"{finest!r}, the finest" + "".join(
        f", {spec!r} (mean relative error {errors[spec]:.2g} against it)" for spec in others
    )
    refused = ", ".join(repr(spec) for spec in wanted.representations if spec in missing)
    count = sum(live.allowed(wanted.name).count for live in coarse)
    return (
        f"vector field {wanted.name!r} cannot get {refused}: the original vectors are gone, and "
        f"of {count:,} records there is left {left}; ask for nothing finer than that, or write "
        "the records again"
    )


def _sample(sources: Sequence[Live], field: str) -> Iterator[tuple[Live, Int64]]:
    """Sources, and codes of the field in each: of live rows, evenly spread over all of them."""
    total = sum(live.allowed(field).count for live in sources)
    step = -(-total // SAMPLE_ROWS)
    for live in sources:
        rows = live_field_rows(live, field)
        if len(rows):
            numbers = code_rows(live.source, field, rows[::step])
            yield live, numbers[:: -(-len(numbers) // len(rows[::step]))]


def _decoded(source: Source, field: str, spec: str, numbers: Int64) -> Float32:
    codes = source.codes(field, spec)
    assert codes is not None
    return decode_rows(codes, numbers)
