"""What the allocator keeps of memory that was freed."""

from __future__ import annotations

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it


def trim() -> None:
    """Give freed memory back to the system: after work on many large arrays that is much."""
    if _trim is not None:
        _trim(0)
