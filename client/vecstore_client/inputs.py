"""What users pass, made ready to be sent, or refused in the words of the database.

Whatever a message can hold is sent as it is, for the server to judge. What no message can hold
(ragged lists, ids that are no ids, payloads that are not JSON) is refused here, by the functions
with which the embedded database refuses it; they are imported when needed, and need no storage.

Shapes  N records, Q queries, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np

from vecstore import options
from vecstore.errors import FilterError, InvalidInputError, RequestError, SchemaError
from vecstore.schema import Schema, check_name
from vecstore.types import Array, Id
from vecstore_proto.convert import ids_to_wire, payloads_to_wire
from vecstore_proto.results import spans
from vecstore_proto.tensors import as_numbers, field_vectors_to_wire
from vecstore_proto.v1 import common_pb2

Value = TypeVar("Value")
Fields = dict[str | None, Any]
"""Field (None for the only one) -> array [N, D], or a list with None for records that lack it."""


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch that can be sent, whole or in runs of records."""

    ids: Sequence[Id]
    fields: Fields
    payloads: list[bytes] | None

    def sizes(self) -> list[int]:
        """Bytes of each record, about; of nothing, where the lengths do not fit each other."""
        count = len(self.ids)
        columns = [*self.fields.values(), *([] if self.payloads is None else [self.payloads])]
        if any(_length(column) != count for column in columns):
            return []
        sizes = np.full(count, 16 + sum(map(_row_bytes, self.fields.values())))
        if self.payloads is not None:
            sizes += np.fromiter(map(len, self.payloads), np.int64, count)
        return list(sizes.tolist())

    def to_wire(self, start: int, stop: int) -> common_pb2.Records:
        """The records of a run; all of them, where there is only one run."""
        if stop == 0:
            start, stop = 0, len(self.ids)
        payloads = self.payloads
        if payloads is not None and len(payloads) == len(self.ids):
            payloads = payloads[start:stop]
        whole = stop - start == len(self.ids)
        return common_pb2.Records(
            ids=ids_to_wire(self.ids[start:stop]),
            vectors=[
                field_vectors_to_wire(field, values if whole else values[start:stop])
                for field, values in self.fields.items()
            ],
            payloads=None if payloads is None else common_pb2.Payloads(json=payloads),
        )
