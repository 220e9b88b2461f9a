"""Codes that are made elsewhere: how they are made, and what is checked when they come.

Whoever encodes asks a collection for the codec of a field, encodes with it wherever there is time,
and sends codes with its fingerprint. They are taken where the fingerprint is that of a codec that
the field has now, and kept byte for byte.

Shapes  N vectors, D dimensions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from vecstore import options
from vecstore.codec import Codec, build_codec, fingerprint_of, parse_spec
from vecstore.codec.base import SQUARED_LENGTH_MAX, Parts
from vecstore.errors import CodecError, DimensionError, RequestError, VectorError
from vecstore.ingest.vectors import to_vectors
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.rows import Encoding, FieldVectors
from vecstore.types import Array, Bool, Codes, Float32, Metric, Uint8

Current: TypeAlias = Callable[[Vector, str], Sequence[StoredCodec]]
"""Gives the codecs of a representation whose codes are taken, newest last."""

# What a vector of a cosine field may be longer or shorter than 1.
_UNIT_ERROR = 0.01
_FLOAT_BYTES = 4
# Far beyond what vectors make of factors of a row; and of three gains and one of the others, times
# 2 ** 16 for the integers of a code and a query, no float32 overflows.
_UNIT_FACTOR_MAX, _FACTOR_MAX = 2.0**16, 2.0**64
_NORM_MAX = 2 * SQUARED_LENGTH_MAX
_FACTORS_MAX = {"gain": 2.0**16, "norm": _NORM_MAX, "residual_norm": _NORM_MAX}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FieldCodec:
    """What makes the codes of a vector field; it needs no database, and does no I/O.

    The same arguments make the same codec anywhere: `params` can be stored (`numpy.savez`) and be
    handed to those who encode. Where one vecstore makes other codes than another for them, the
    fingerprints differ too.

    Attributes:
        field: the vector field, to be named in errors.
        spec: the representation.
        dim: dimensions D of the vectors.
        metric: of the field.
        params: what the codec learned, an array each; empty where nothing is trained.
        fingerprint: 64 hexadecimal digits that tell it from other codecs.
    """

    field: str
    spec: str
    dim: int
    metric: Metric = "cosine"
    params: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    fingerprint: str = dataclasses.field(init=False)
    _codec: Codec = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        vector = Vector(self.field, self.dim, self.metric, [self.spec])
        spec = parse_spec(self.spec, vector.dim)
        if spec.trained and not self.params:
            raise RequestError(
                f"codec {self.spec!r} has no params, expected what it learned: those of "
                f"collection.codec({self.field!r})"
            )
        made = fingerprint_of(str(spec), self.dim, self.metric, self.params)
        object.__setattr__(self, "_codec", build_codec(spec, self.dim, self.metric, self.params))
        object.__setattr__(self, "fingerprint", made)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return self._codec.code_bytes

    def encode(self, vectors: Any) -> Codes:
        """The codes of vectors [N, D], to be given to `upsert` in their place.

        Of the finest representation they are those that the database makes of the same vectors,
        but for the rounding of sums where `pca` reduces dimensions.
        Vectors of a cosine field are brought to unit length first.

        Raises:
            DimensionError, VectorError: what `upsert` raises for the vectors; for ids, rows.
        """
        vector = Vector(self.field, self.dim, self.metric, [self.spec])
        alone = not hasattr(vectors, "__len__") or getattr(vectors, "ndim", 1) == 0
        rows = range(0 if alone else len(vectors))
        dtype = np.dtype(np.float16 if self.spec == "float16" else np.float32)
        found = to_vectors(vector, vectors, rows, dtype)
        if found.rows is not None:
            raise VectorError(f"vectors of field {self.field!r} hold None, expected numbers")
        values = found.values.astype(np.float32, copy=False)
        return Codes(self.spec, self.fingerprint, self._codec.encode(values))

    def decode(self, codes: Codes) -> Float32:
        """Vectors [N, D] near the ones that were encoded; of unit length for cosine.

        Raises:
            CodecError: another codec made the codes.
            DimensionError: they are not of its size.
        """
        if codes.fingerprint != self.fingerprint:
            raise CodecError(
                f"codes have fingerprint {codes.fingerprint!r}, expected {self.fingerprint!r}: "
                "they were made by another codec"
            )
        _check_size(self.field, self._codec, codes)
        return self._codec.decode(codes.codes)


def take_codes(schema: Schema, vectors: object, current: Current) -> object:
    """What was given as vectors, with ready-made codes checked and copied.

    Args:
        schema: the fields of the collection.
        vectors: as for `upsert`; `Codes` may stand for the vectors of a field.
        current: the codecs of the fields.

    Raises:
        CodecError: the codes are not of the finest representation, another codec made them, or
            the field is a multivector field.
        DimensionError: a code has another size.
        VectorError: a code stands for no vector that could be stored.
        NotFoundError: no such vector field.
    """
    if isinstance(vectors, Codes) and len(schema.vectors) == 1:
        return _taken(schema.vectors[0], vectors, current)
    if not isinstance(vectors, Mapping):
        return vectors
    return {
        name: _taken(schema.vector(name), given, current) if isinstance(given, Codes) else given
        for name, given in vectors.items()
    }


def check_takes_codes(vector: Vector) -> None:
    """Raise CodecError for a multivector field, whose codes do not tell which record has them."""
    if vector.multi:
        raise CodecError(
            f"codes for multivector field {vector.name!r}, expected vectors: a list of arrays "
            f"(t, {vector.dim}), or Tokens; they are encoded here"
        )


def _taken(vector: Vector, given: Codes, current: Current) -> FieldVectors:
    check_takes_codes(vector)
    finest = vector.representations[-1]
    if given.spec != finest:
        raise CodecError(
            f"codes for field {vector.name!r} are {given.spec!r}, expected {finest!r}, its finest "
            "representation: coarser ones are made from it; encode vectors with "
            f"collection.codec({vector.name!r}), or alter the field"
        )
    codecs = current(vector, finest)
    made_by = next((item for item in codecs if item.fingerprint == given.fingerprint), None)
    if made_by is None:
        known = " or ".join(repr(item.fingerprint) for item in reversed(codecs)) or "none yet"
        raise CodecError(
            f"codes for field {vector.name!r} have fingerprint {given.fingerprint!r}, expected "
            f"{known}; get the codec with collection.codec({vector.name!r}) and encode again"
        )
    _check_size(vector.name, made_by.codec, given)
    codes = np.array(given.codes, order="C")
    step = max(1, options.CHUNK_BYTES // (_FLOAT_BYTES * vector.dim))
    for start in range(0, len(codes), step):
        _check_sound(vector, made_by.codec, codes[start : start + step], start)
    if finest in ("float16", "float32"):  # codes of which are the values
        dtype = np.dtype(finest).newbyteorder("<")
        return FieldVectors(rows=None, values=codes.view(dtype).astype(finest, copy=False))
    return FieldVectors(rows=None, values=codes, encoding=Encoding(finest, made_by.id))


def _check_size(name: str, codec: Codec, codes: Codes) -> None:
    if codes.codes.shape[1] != codec.code_bytes:
        raise DimensionError(
            f"codes of shape {codes.codes.shape} for field {name!r}, expected "
            f"{(len(codes), codec.code_bytes)}: {codec.spec!r} of {codec.dim} dimensions"
        )


def _check_sound(vector: Vector, codec: Codec, codes: Uint8, first: int) -> None:
    """Raise VectorError for the first of some codes that stands for no vector of the field.

    What else a code holds may make its scores wrong, but never infinite or NaN: a query of unit
    length gets a finite score and a finite error bound.
    """
    probe = np.where(np.arange(codec.dim) % 2, -1.0, 1.0) / np.sqrt(codec.dim)
    rows = np.arange(len(codes))
    with np.errstate(all="ignore"):
        vectors = codec.decode(codes)
        if codec.spec in ("float16", "float32"):
            vectors = codec.pack(codes)["values"].astype(np.float32)  # not brought to unit length
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
        parts, prepared = codec.pack(codes), codec.prepare(probe.astype(np.float32)[None])
        bound = prepared.bound(parts, 0, rows)
        finite = np.isfinite(prepared.score(parts, 0, rows)) & (squares <= SQUARED_LENGTH_MAX)
        finite &= _factors_small(parts, codec, vector.metric)
        if bound is not None:
            finite &= np.isfinite(bound)
    _refuse(vector, ~finite, first, "a finite vector, a finite score and a finite error bound")
    if vector.metric == "cosine":
        wrong = (np.abs(np.sqrt(squares) - 1) > _UNIT_ERROR) & (squares > 0)
        _refuse(vector, wrong, first, "a vector of unit length, or zeros")


def _factors_small(parts: Parts, codec: Codec, metric: Metric) -> Bool:
    """Whether what each row [N] brings is too small to make any score overflow."""
    small: Bool = np.ones(1, dtype=np.bool_)
    if parse_spec(codec.spec, codec.dim).table is not None:
        return small  # its factors come from codebooks
    for name, part in parts.items():
        if part.dtype.kind == "f" and name != "values":
            kind = name.rstrip("0123456789")
            most = _FACTORS_MAX.get(kind, _UNIT_FACTOR_MAX if metric == "cosine" else _FACTOR_MAX)
            small = small & (np.abs(part) <= most)
    return small


def _refuse(vector: Vector, wrong: Bool, first: int, expected: str) -> None:
    if wrong.any():
        raise VectorError(
            f"code {first + int(wrong.argmax())} for field {vector.name!r} does not stand for "
            f"{expected}; encode the vectors again with collection.codec({vector.name!r})"
        )
