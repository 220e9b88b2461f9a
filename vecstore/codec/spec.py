"""The grammar of representations: `codec`, `prefixN/codec` or `pcaN/codec`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vecstore.errors import SchemaError
from vecstore.options import DIM_MAX, PCA_DIMS_MAX

# Coarse to fine.
CODECS = ("bits1", "bits2", "bits4", "int8", "bits8", "float16", "float32")
_PATTERN = re.compile(rf"(?:(prefix|pca)([1-9][0-9]{{0,5}})/)?({'|'.join(CODECS)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A parsed representation; `str()` gives the spec string back.

    Attributes:
        transform: "", "prefix" (the first `dims` dimensions) or "pca" (the leading `dims`
            principal ones).
        dims: dimensions kept; None without a transform.
        codec: one of CODECS.
    """

    transform: str
    dims: int | None
    codec: str

    def __str__(self) -> str:
        return f"{self.transform}{self.dims}/{self.codec}" if self.transform else self.codec

    @property
    def fineness(self) -> tuple[int, int]:
        """Sorts the representations of one field, coarse to fine."""
        return (self.dims or DIM_MAX + 1, CODECS.index(self.codec))

    @property
    def trained(self) -> bool:
        """True if it needs a sample of vectors before it can encode."""
        return self.transform == "pca" or self.codec == "int8"

    def makes(self, other: Spec) -> bool:
        """True if `other` can be made from this one and be as good as its name says.

        Neither with more levels for a dimension, nor with dimensions that this one lacks.
        """
        if CODECS.index(other.codec) > CODECS.index(self.codec):
            return False
        if self.dims is None:
            return True
        return other.transform == self.transform and (other.dims or 0) <= self.dims


def parse_spec(text: str, dim: int) -> Spec:
    """Parse a representation of vectors of `dim` dimensions.

    Raises:
        SchemaError: the text is no representation, or keeps more dimensions than there are.
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise SchemaError(
            f"representation is {text!r}, expected one of {', '.join(CODECS)}, or one of them "
            "after 'prefixN/' or 'pcaN/', such as 'prefix128/bits4'"
        )
    transform, dims, codec = match.groups()
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
    return Spec(transform=transform or "", dims=int(dims) if dims else None, codec=codec)
