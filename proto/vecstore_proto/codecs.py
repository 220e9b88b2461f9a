"""A codec to messages and back, in parts where one message cannot hold what it learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vecstore.types import Array, Metric
from vecstore_proto import results
from vecstore_proto.convert import metric_from_wire, metric_to_wire
from vecstore_proto.status import AnswerTooLarge
from vecstore_proto.tensors import tensor_from_wire, tensor_to_wire
from vecstore_proto.v1 import codec_pb2 as pb


class CodecValues(NamedTuple):
    """What a codec is made from, and its fingerprint; see `FieldCodec`."""

    spec: str
    dim: int
    metric: Metric
    params: Mapping[str, Array]
    fingerprint: str


def codec_to_wire(codec: CodecValues, *, single: bool = False) -> Iterator[pb.GetCodecResponse]:
    """A codec as messages: one, unless it would be too large.

    With `single`, AnswerTooLarge is raised in place of more than one.
    """
    part, room = _empty(codec), results.PART_BYTES_MAX
    for name, array in codec.params.items():
        for piece in _pieces(array):
            if piece.nbytes > room and part.arrays:
                if single:
                    raise AnswerTooLarge
                yield part
                part, room = _empty(codec), results.PART_BYTES_MAX
            room -= piece.nbytes
            tensor_to_wire(piece, part.arrays.add(name=name).values)
    yield part


def codec_from_wire(parts: Sequence[pb.GetCodecResponse]) -> CodecValues:
    """The inverse."""
    pieces: dict[str, list[Array]] = {}
    for part in parts:
        for array in part.arrays:
            pieces.setdefault(array.name, []).append(tensor_from_wire(array.values))
    return CodecValues(
        spec=parts[0].spec,
        dim=parts[0].dim,
        metric=metric_from_wire(parts[0].metric),
        params={
            name: found[0] if len(found) == 1 else np.concatenate(found)
            for name, found in pieces.items()
        },
        fingerprint=parts[0].fingerprint,
    )


def _empty(codec: CodecValues) -> pb.GetCodecResponse:
    return pb.GetCodecResponse(
        spec=codec.spec,
        dim=codec.dim,
        metric=metric_to_wire(codec.metric),
        fingerprint=codec.fingerprint,
    )


def _pieces(array: Array) -> Iterator[Array]:
    """The array, cut along its first axis where a part cannot hold it."""
    if array.nbytes <= results.PART_BYTES_MAX or array.ndim < 1:
        yield array
        return
    step = max(1, results.PART_BYTES_MAX * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        yield array[start : start + step]
