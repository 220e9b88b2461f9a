"""Codes and codecs survive the wire, and messages that lie are refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.test_convert import field_vectors, read
from vecstore.errors import DimensionError, RequestError, VectorError
from vecstore.types import Codes
from vecstore_proto import codecs, convert, results, tensors
from vecstore_proto.status import AnswerTooLarge


def test_codes_survive() -> None:
    """Ready-made codes come back with what made them."""
    codes = Codes("bits1", "f00", np.arange(6, dtype=np.uint8).reshape(2, 3))
    message = read(field_vectors("f", codes))
    found = tensors.field_vectors_from_wire(message, 2)
    assert isinstance(found, Codes)
    assert (found.spec, found.fingerprint) == ("bits1", "f00")
    assert found.codes.tolist() == codes.codes.tolist()
    assert convert.vectors_from_wire([message], 2)["f"].fingerprint == "f00"
    part = field_vectors(None, codes[1:])
    assert tensors.field_vectors_from_wire(part, 1)[0:].codes.tolist() == [[3, 4, 5]]  # type: ignore[union-attr]


def test_codes_that_lie_are_refused() -> None:
    """Codes must be bytes in two axes, of every record, and are never an answer."""
    codes = Codes("bits1", "f00", np.zeros((2, 3), dtype=np.uint8))
    some = field_vectors("f", codes)
    some.rows.values.extend([0, 1])
    with pytest.raises(RequestError, match="expected one for each record"):
        tensors.field_vectors_from_wire(some, 2)
    for array in (np.zeros((2, 3), np.float32), np.zeros(6, np.uint8)):
        lying = field_vectors("f", array)
        lying.made_by.spec = "bits1"
        with pytest.raises((VectorError, DimensionError)):
            tensors.field_vectors_from_wire(lying, 2)
    with pytest.raises(RequestError, match="an answer has codes"):
        tensors.mappings_from_wire([field_vectors("f", codes)], 2)


def test_codecs_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec survives, in parts where one message cannot hold what it learned."""
    params = {
        "basis": np.arange(60, dtype=np.float32).reshape(20, 3),
        "low": np.arange(5, dtype=np.float32),
        "seed": np.array(7, dtype=np.uint64),
    }
    codec = codecs.CodecValues("pca3/int8", 20, "cosine", params, "f00")
    for room, count in ((1 << 20, 1), (100, 3)):
        monkeypatch.setattr(results, "PART_BYTES_MAX", room)
        parts = list(map(read, codecs.codec_to_wire(codec)))
        assert len(parts) == count
        found = codecs.codec_from_wire(parts)
        assert found._replace(params={}) == codec._replace(params={})
        assert found.params.keys() == params.keys()
        for name, array in params.items():
            assert found.params[name].dtype == array.dtype
            np.testing.assert_array_equal(found.params[name], array)
    with pytest.raises(AnswerTooLarge):
        next(codecs.codec_to_wire(codec, single=True))
