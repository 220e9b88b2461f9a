"""Several digits in a byte, as the kernels of late interaction read them.

Byte b of B has the digits of dimensions b, b + B, b + 2 B ..., the lowest first. Of radix 3 it is
ceil(256 v / 243), where v has five digits, the highest first: each is what three times the rest
carries, so that nothing is divided.

Shapes  N tokens, D dimensions, B bytes.
"""

from __future__ import annotations

import numpy as np

from vecstore.types import Uint8

RADIXES = {"res1": 2, "ternary": 3, "res2": 4, "res4": 16}
# How many share a byte.
DIGITS = {2: 8, 3: 5, 4: 4, 16: 2}


def packed(digits: Uint8, radix: int) -> Uint8:
    """Digits [N, D] as bytes [N, B]."""
    count = DIGITS[radix]
    width = -(-digits.shape[1] // count)
    whole = np.zeros((len(digits), count * width), dtype=np.uint16)
    whole[:, : digits.shape[1]] = digits
    powers = (radix ** np.arange(count)).astype(np.uint16)
    if radix == 3:
        powers = powers[::-1]
    values = np.einsum("npb,p->nb", whole.reshape(len(digits), count, width), powers)
    if radix == 3:
        values = (values.astype(np.uint32) * 256 + 242) // 243
    found: Uint8 = values.astype(np.uint8)
    return found


def unpacked(codes: Uint8, radix: int, dim: int) -> Uint8:
    """Undo `packed`: digits [N, D]."""
    count = DIGITS[radix]
    rest = codes.astype(np.int16)
    found = np.empty((len(codes), count, codes.shape[1]), dtype=np.uint8)
    for place in range(count):
        if radix == 3:
            found[:, place], rest = divmod(3 * rest, 256)
        else:
            rest, found[:, place] = divmod(rest, radix)
    return found.reshape(len(codes), count * codes.shape[1])[:, :dim]
