"""The representations of a vector field, coarse to fine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vecstore.codec.spec import parse_spec, possible
from vecstore.errors import SchemaError
from vecstore.options import TOKEN_DIMS_MAX
from vecstore.schema import Schema, Vector

DEFAULT_LADDER = ("bits2", "float16")
DEFAULT_TOKENS = ("res4",)
WIDE_TOKENS = ("float16",)  # where there are more dimensions than its kernel takes


def resolve_schema(schema: Schema) -> Schema:
    """The schema with every ladder spelled out, canonical, and ordered coarse to fine.

    Raises:
        SchemaError: as `spelled_out`.
    """
    return replace(schema, vectors=tuple(_resolve(vector) for vector in schema.vectors))


def _resolve(vector: Vector) -> Vector:
    return replace(vector, representations=spelled_out(vector))


def spelled_out(vector: Vector) -> tuple[str, ...]:
    """The ladder of a field, coarse to fine; of a multivector field without what others contain.

    Raises:
        SchemaError: a representation is unknown, of fields of the other kind, or named twice.
    """
    multi = vector.multi
    given = vector.representations or _default(vector)
    specs = [parse_spec(text, vector.dim) for text in given]
    for spec in specs:
        if not spec.suits(multi=multi):
            raise SchemaError(
                f"{'multi' if multi else ''}vector field {vector.name!r} has representation "
                f"{str(spec)!r}, expected one of {', '.join(possible(multi=multi))}, or one of "
                "them after 'prefixN/' or 'pcaN/'"
            )
    ladder = tuple(str(spec) for spec in sorted(specs, key=lambda spec: spec.fineness))
    if len(set(ladder)) != len(ladder):
        raise SchemaError(
            f"vector field {vector.name!r} has representations "
            f"{list(vector.representations)}, expected each once"
        )
    if not multi:
        return ladder
    contained = {text for spec in specs for text in spec.contained}
    return tuple(text for text in ladder if text not in contained)


def _default(vector: Vector) -> tuple[str, ...]:
    if not vector.multi:
        return DEFAULT_LADDER
    return DEFAULT_TOKENS if vector.dim <= TOKEN_DIMS_MAX else WIDE_TOKENS


def float_dtype(vector: Vector) -> np.dtype[Any]:
    """How the write buffer holds a field whose ladder is spelled out.

    As what the finest representation keeps, so that a flush changes no exact score; as float32
    where the finest is coded, so that codes are made from what was given.
    """
    return np.dtype(np.float16 if vector.representations[-1] == "float16" else np.float32)
