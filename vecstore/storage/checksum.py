"""CRC32C (Castagnoli), the checksum of everything stored."""

from __future__ import annotations

from google_crc32c import extend, value

from vecstore.types import Uint8

# The CRC32C of any bytes followed by their own CRC32C, little-endian, is this constant.
RESIDUE = 0x48674BC7


def crc32c(data: bytes | Uint8, crc: int = 0) -> int:
    """CRC32C of `data`, continuing from `crc`.

    Args:
        data: bytes, or a contiguous uint8 array, which is read in place.
        crc: of the bytes before `data`.
    """
    found: int = extend(crc, data) if crc else value(data)
    return found
