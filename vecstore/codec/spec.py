"""The grammar of representations: `codec`, `prefixN/codec` or `pcaN/codec`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vecstore.errors import SchemaError
from vecstore.options import (
    BOOKS_BYTES_MAX,
    DIM_MAX,
    PCA_DIMS_MAX,
    SUBQUANTIZERS_MAX,
    TOKEN_DIMS_MAX,
)

# Those whose names are fixed, coarse to fine, and the bits that each keeps of a dimension.
BITS = {
    "sign": 1,
    "bits1": 1,
    "bebr1": 1,
    "bits2": 2,
    "bebr2": 2,
    "bebr3": 3,
    "bits4": 4,
    "lvq4": 4,
    "bebr4": 4,
    "int8": 8,
    "bits8": 8,
    "lvq4x4": 8,
    "lvq8": 8,
    "lvq4x8": 12,
    "float16": 16,
    "float32": 32,
}
CODECS = tuple(BITS)
# Those of multivector fields alone, coarse to fine: the id of a centroid, and so many bits.
TOKENS = {"ids256": -2.0, "ids": -1.0, "res1": 1.0, "ternary": 1.6, "res2": 2.0, "res4": 4.0}
# Of CODECS, those that multivector fields may have too.
_OF_BOTH = ("sign", "int8", "float16", "float32")
# Those that are named by their number of subquantizers M.
TABLES = ("pqM", "opqM", "rqM", "pqMx4", "opqMx4")
_METHODS = ("pq", "opq", "rq")
_TABLE_BITS_MAX = 12
_FLOAT_BYTES = 4
_PATTERN = re.compile(
    r"(?:(?P<transform>prefix|pca)(?P<dims>[1-9][0-9]{0,5})/)?"
    rf"(?P<codec>{'|'.join(sorted((*CODECS, *TOKENS), key=len, reverse=True))}"
    r"|(?P<table>o?pq|rq)(?P<count>[1-9][0-9]{0,4})(?P<small>x4)?(?P<balanced>\+balanced)?)"
)
# What a codec's codes begin with, finest first: they can be read as if they were these.
_CONTAINED = {
    **dict.fromkeys(("res1", "ternary", "res2", "res4"), ("ids",)),
    "lvq4x4": ("lvq4",),
    "lvq4x8": ("lvq4",),
    "bebr2": ("bebr1",),
    "bebr3": ("bebr2", "bebr1"),
    "bebr4": ("bebr3", "bebr2", "bebr1"),
}

# Integers of 8 bytes and what they are made of, of up to two levels.
_QUERY_DIM_BYTES = 80
# Of a table, as inner products (rq: twice), as floats and as integers.
_QUERY_ENTRY_BYTES = 13
# Of a table of what centroids score with tokens of a query.
_QUERY_IDS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the name of a codec of the table family says.

    Attributes:
        method: "pq" (product quantization after a balanced PCA rotation), "opq" (after a learned
            one) or "rq" (residual quantization).
        count: subquantizers M.
        bits: of the index of each, 8 or 4.
        balanced: rows are dealt to the centroids so that each is used about as often.
        dims: dimensions D that it codes.
    """

    method: str
    count: int
    bits: int
    balanced: bool
    dims: int

    @property
    def fineness(self) -> tuple[float, int]:
        """Bits of a dimension, fewer than those of floats; of as many, the better code is last."""
        bits = min(self.count * self.bits / self.dims, _TABLE_BITS_MAX)
        return bits, len(_METHODS) * self.bits + _METHODS.index(self.method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A parsed representation; `str()` gives the spec string back.

    Attributes:
        transform: "", "prefix" (the first `dims` dimensions) or "pca" (the leading `dims`
            principal ones).
        dims: dimensions kept; None without a transform.
        codec: one of CODECS, or a name as in TABLES.
        table: what the name of a table codec says, None for others.
    """

    transform: str
    dims: int | None
    codec: str
    table: Table | None = None

    def __str__(self) -> str:
        return self._named(self.codec)

    def _named(self, codec: str) -> str:
        return f"{self.transform}{self.dims}/{codec}" if self.transform else codec

    @property
    def fineness(self) -> tuple[int, float, int]:
        """Sorts the representations of one field, coarse to fine.

        By dimensions kept, then by the bits kept of each; of as many, table codecs are finer.
        """
        dims = self.dims or DIM_MAX + 1
        if self.table is not None:
            bits, method = self.table.fineness
            return (dims, bits, len(CODECS) + method)
        if self.codec in TOKENS:
            return (dims, TOKENS[self.codec], len(CODECS))
        return (dims, BITS[self.codec], CODECS.index(self.codec))

    @property
    def trained(self) -> bool:
        """True if it needs a sample of vectors before it can encode."""
        if self.transform == "pca" or self.codec == "int8" or self.table is not None:
            return True
        return self.codec in TOKENS or self.codec.startswith("lvq")

    @property
    def coded(self) -> bool:
        """True if its codes are smaller than float16."""
        return self.codec not in {"float16", "float32"}

    def suits(self, *, multi: bool) -> bool:
        """True if a multivector field can have it or, without `multi`, a vector field."""
        if multi:
            return self.codec in possible(multi=True)
        return self.codec not in TOKENS

    @property
    def learns_from_tokens(self) -> bool:
        """True if it is of multivector fields alone: its centroids want many tokens."""
        return self.codec in TOKENS

    @property
    def drifts(self) -> bool:
        """True if it can be told that vectors are unlike those that were learned from."""
        return self.learns_from_tokens or self.codec == "int8"

    @property
    def contained(self) -> tuple[str, ...]:
        """Representations that its codes begin with, finest first; they can be read in its place.

        Of lvq4x8 that is lvq4, its first level; of bebr3 it is bebr2 and bebr1.
        """
        return tuple(self._named(codec) for codec in _CONTAINED.get(self.codec, ()))

    def query_bytes(self, dim: int) -> int:
        """The most that a query of D dimensions takes while it is prepared, about."""
        if self.codec.startswith("ids"):
            return _QUERY_DIM_BYTES * dim + _QUERY_IDS_BYTES
        if self.table is None:
            return _QUERY_DIM_BYTES * dim
        entries = self.table.count << self.table.bits
        return _QUERY_DIM_BYTES * dim + _QUERY_ENTRY_BYTES * entries

    def makes(self, other: Spec) -> bool:
        """True if `other` can be made from this one and be as good as its name says.

        Neither with more levels for a dimension, nor with dimensions that this one lacks.
        """
        if other.fineness[1:] > self.fineness[1:]:
            return False
        if self.dims is None:
            return True
        return other.transform == self.transform and (other.dims or 0) <= self.dims


def possible(*, multi: bool) -> tuple[str, ...]:
    """The codecs of a multivector field or, without `multi`, of a vector field."""
    return (*TOKENS, *_OF_BOTH) if multi else (*CODECS, *TABLES)


def parse_spec(text: str, dim: int) -> Spec:
    """Parse a representation of vectors of `dim` dimensions.

    Raises:
        SchemaError: the text is no representation, or keeps more dimensions than there are.
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise SchemaError(
            f"representation is {text!r}, expected one of {', '.join(possible(multi=False))}, M a "
            f"number of subquantizers, for multivector fields {', '.join(possible(multi=True))}, "
            "or one of them after 'prefixN/' or 'pcaN/', such as 'prefix128/bits4'"
        )
    transform, dims, codec = match["transform"] or "", match["dims"], match["codec"]
    if dims and int(dims) >= dim:
        raise SchemaError(
            f"representation {text!r} keeps {dims} dimensions of {dim}, expected fewer; "
            f"to keep them all, write {codec!r}"
        )
    if transform == "pca" and int(dims) > PCA_DIMS_MAX:
        raise SchemaError(
            f"representation {text!r} keeps {dims} principal dimensions, expected at most "
            f"{PCA_DIMS_MAX:,}"
        )
    kept = int(dims) if dims else None
    if codec in TOKENS and (kept or dim) > TOKEN_DIMS_MAX:
        raise SchemaError(
            f"representation {text!r} has {kept or dim:,} dimensions, expected at most "
            f"{TOKEN_DIMS_MAX:,}: write 'pca128/{codec}'"
        )
    table = _table(text, match, kept or dim) if match["table"] else None
    return Spec(transform=transform, dims=kept, codec=codec, table=table)


def _table(text: str, match: re.Match[str], dim: int) -> Table:
    method, count = match["table"], int(match["count"])
    most = SUBQUANTIZERS_MAX if method == "rq" else min(dim, SUBQUANTIZERS_MAX)
    if count > most:
        raise SchemaError(
            f"representation {text!r} has {count} subquantizers, expected at most {most} for "
            f"{dim} dimensions"
        )
    if method == "rq" and (match["small"] or match["balanced"]):
        raise SchemaError(f"representation {text!r} is unknown, expected 'rq{count}'")
    if method != "rq" and dim % count:
        near = max(each for each in range(1, count) if dim % each == 0)
        raise SchemaError(
            f"representation {text!r} has {count} subquantizers, which do not divide {dim} "
            f"dimensions; the next fewer that do are {near}"
        )
    if method == "opq" and dim > PCA_DIMS_MAX:
        raise SchemaError(
            f"representation {text!r} learns a rotation of {dim:,} dimensions, expected at most "
            f"{PCA_DIMS_MAX:,}; 'pq{count}' does without one"
        )
    if match["small"] and count % 2:
        raise SchemaError(
            f"representation {text!r} has {count} subquantizers of 4 bits, expected an even "
            "number, as two share a byte"
        )
    books = count * dim * 256 * _FLOAT_BYTES if method == "rq" else 0
    if books > BOOKS_BYTES_MAX:
        raise SchemaError(
            f"representation {text!r} has codebooks of {books:,} bytes for {dim:,} dimensions, "
            f"expected at most {BOOKS_BYTES_MAX:,}: write 'rq{BOOKS_BYTES_MAX * count // books}'"
        )
    return Table(
        method=method,
        count=count,
        bits=4 if match["small"] else 8,
        balanced=bool(match["balanced"]),
        dims=dim,
    )
