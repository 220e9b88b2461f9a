"""The representations of a vector field, coarse to fine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vecstore.codec.spec import parse_spec
from vecstore.errors import SchemaError
from vecstore.schema import Schema, Vector

DEFAULT_LADDER = ("bits2", "float16")
DEFAULT_TOKENS = ("float16",)


def resolve_schema(schema: Schema) -> Schema:
    """The schema with every ladder spelled out, canonical, and ordered coarse to fine.

    Raises:
        SchemaError: a representation is unknown, or named twice.
    """
    return replace(schema, vectors=tuple(_resolve(vector) for vector in schema.vectors))


def _resolve(vector: Vector) -> Vector:
    specs = [parse_spec(text, vector.dim) for text in vector.representations or _default(vector)]
    ladder = tuple(str(spec) for spec in sorted(specs, key=lambda spec: spec.fineness))
    if len(set(ladder)) != len(ladder):
        raise SchemaError(
            f"vector field {vector.name!r} has representations "
            f"{list(vector.representations)}, expected each once"
        )
    return replace(vector, representations=ladder)


def _default(vector: Vector) -> tuple[str, ...]:
    return DEFAULT_TOKENS if vector.multi else DEFAULT_LADDER


def float_dtype(vector: Vector) -> np.dtype[Any]:
    """How the write buffer holds a field whose ladder is spelled out.

    As what the finest representation keeps, so that a flush changes no exact score; as float32
    where the finest is coded, so that codes are made from what was given.
    """
    return np.dtype(np.float16 if vector.representations[-1] == "float16" else np.float32)
