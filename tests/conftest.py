"""What all tests share: how Hypothesis runs, a database that must stay sound, optional data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from vecstore.database import Database

# "ci" tries the same examples on every run; "explore" looks for new ones:
# make test ARGS="--hypothesis-profile=explore tests/property"
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("ci")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database; when the test is over, what is on disk must still be sound."""
    import vecstore

    path = tmp_path / "database"
    opened = vecstore.open(path)
    yield opened
    opened.close()
    with vecstore.open(path) as reopened:
        assert reopened.check() == []


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real embeddings, which are too big and not licensed to be kept here."""
    named = os.environ.get("VECSTORE_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real embeddings; none in {folder}: set VECSTORE_DATA to their folder")
    return folder


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start, also where a shell has its background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests/fault recorded."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    figures = [line for report in reports for name, line in report.user_properties]
    if figures:
        terminalreporter.section("faults")
        for line in figures:
            terminalreporter.line(line)


@pytest.fixture
def by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays are verified block by block too, as large ones are."""
    monkeypatch.setattr("vecstore.segment.format.SMALL_BLOCKS", 0)
