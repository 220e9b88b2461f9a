"""The demo's collection, and the ways to search it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from vecstore.codec.spec import parse_spec
from vecstore.demo.functions import Function
from vecstore.demo.measure import Way, alone
from vecstore.options import DIM_MAX
from vecstore.schema import Column, Schema, Vector
from vecstore.types import Float32, Payload

Progress: TypeAlias = Callable[[str, int, int], None]  # doing what, how much of it, of how much

COLLECTION = "functions"
# The field that a user would have, with the default ladder, and the same vectors in every way.
FIELD = "text"
COMPARED = "compared"
SPECS = (
    "bits1",
    "bits2",
    "bits4",
    "int8",
    "bits8",
    "float16",
    "float32",
    "prefix64/float16",
    "prefix128/bits4",
    "pca64/bits4",
    "pca128/bits2",
    "pca128/bits4",
)
BATCH_ROWS = 1_000


def specs_of(dim: int) -> tuple[str, ...]:
    """The representations of vectors of `dim` dimensions that are compared."""
    return tuple(spec for spec in SPECS if (parse_spec(spec, DIM_MAX).dims or 0) < dim)


def ways_to_search(dim: int) -> list[Way]:
    """Each representation alone, then the default plan, then exact search."""
    return [
        *(alone(spec, COMPARED) for spec in specs_of(dim)),
        Way(label="default plan", field=FIELD),
        Way(label="exact", field=COMPARED, exact=True),
    ]


def store(db: Any, functions: list[Function], vectors: Float32, progress: Progress) -> Any:
    """Write the functions and their vectors [N, D] to a new collection.

    One of the same name is dropped first.
    """
    if COLLECTION in db.collections():
        db.drop_collection(COLLECTION)
    dim = vectors.shape[1]
    schema = Schema(
        vectors=(Vector(FIELD, dim), Vector(COMPARED, dim, representations=specs_of(dim))),
        columns=(Column("module", "keyword"), Column("lines", "int")),
    )
    collection = db.create_collection(COLLECTION, schema)
    for start in range(0, len(functions), BATCH_ROWS):
        progress("writing", start, len(functions))
        batch = functions[start : start + BATCH_ROWS]
        rows = vectors[start : start + BATCH_ROWS]
        collection.upsert(
            [function.id for function in batch],
            vectors={FIELD: rows, COMPARED: rows},
            payloads=[_payload(function) for function in batch],
        )
    collection.flush()
    progress("writing", len(functions), len(functions))
    return collection


def _payload(function: Function) -> Payload:
    return {
        "name": function.name,
        "module": function.module,
        "file": function.file,
        "line": function.line,
        "lines": function.lines,
        "summary": function.summary,
    }
