"""Vectors <-> codes. Start at `parse_spec`, `train_codec` and `build_codec`."""

from vecstore.codec.base import Codec, Parts, Prepared
from vecstore.codec.build import build_codec, train_codec
from vecstore.codec.fingerprint import fingerprint_of
from vecstore.codec.spec import Spec, parse_spec

__all__ = [
    "Codec",
    "Parts",
    "Prepared",
    "Spec",
    "build_codec",
    "fingerprint_of",
    "parse_spec",
    "train_codec",
]
