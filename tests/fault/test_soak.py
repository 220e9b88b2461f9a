"""A short soak; `make fault` runs ten minutes of it."""

from __future__ import annotations

from pathlib import Path

from tests.fault.soak import soak


def test_short_soak(tmp_path: Path) -> None:
    """Ten seconds of writes, searches and scrolls leave nothing wrong and nothing growing."""
    assert soak(10, tmp_path / "db", lambda line: None) == []
