"""Ids as bytes that sort as the ids do: every int before every string.

int     01  | 8 bytes: id + 2**63, big-endian
string  02  | 1 to 255 bytes of UTF-8
"""

from __future__ import annotations

import struct

import numpy as np

from vecstore.errors import CorruptionError, IdError
from vecstore.kernels import _kernels
from vecstore.options import ID_BYTES_MAX
from vecstore.segment.ragged import Ragged
from vecstore.types import Id, Int64

_INT, _STR = b"\x01", b"\x02"
_BIAS = 1 << 63
_NUMBER = struct.Struct(">cQ")


def encode_id(id_: object) -> bytes:
    """The bytes of an id: an int (or numpy integer) of 64 bits, or a str of 1 to 255 bytes.

    Raises:
        IdError: it is something else, such as a bool, or text that UTF-8 cannot hold.
    """
    if isinstance(id_, int | np.integer) and not isinstance(id_, bool):
        if -_BIAS <= id_ < _BIAS:
            return _NUMBER.pack(_INT, int(id_) + _BIAS)
    elif isinstance(id_, str):
        try:
            text = id_.encode()
        except UnicodeEncodeError:
            text = b""
        if 0 < len(text) <= ID_BYTES_MAX:
            return _STR + text
    shown = repr(id_)
    raise IdError(
        f"id is {shown if len(shown) <= 80 else shown[:77] + '...'} ({type(id_).__name__}), "
        f"expected an int from -2**63 to 2**63 - 1 or a str of 1 to {ID_BYTES_MAX} bytes of UTF-8"
    )


def decode_ids(strings: Ragged, rows: Int64) -> list[Id]:
    """The ids whose bytes some rows are, as `decode_id` gives each.

    Raises:
        CorruptionError: bounds of a row are damaged, or no id has its bytes.
    """
    found = _kernels.decode_ids(strings.offsets, strings.data, rows, ID_BYTES_MAX)
    return [decode_id(raw) for raw in strings.pick(rows)] if found is None else found


def decode_id(data: bytes) -> Id:
    """The id that `encode_id` made these bytes of.

    Raises:
        CorruptionError: no id has these bytes.
    """
    kind, text = data[:1], data[1:]
    if kind == _INT and len(text) == 8:
        return int.from_bytes(text, "big") - _BIAS
    if kind == _STR and 0 < len(text) <= ID_BYTES_MAX:
        try:
            return text.decode()
        except UnicodeDecodeError:
            pass
    raise CorruptionError(f"stored id is {data[:16]!r}, expected 01 + 8 bytes or 02 + UTF-8")
