"""Failpoints: nothing without a wish, an exit with one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vecstore.storage import failpoints

VISIT = """
import sys
from vecstore.storage.failpoints import reach
for name in sys.argv[1:]:
    reach(name)
    sys.stdout.write(name + "\\n")
    sys.stdout.flush()
"""


def visit(wanted: str, *names: str) -> subprocess.CompletedProcess[str]:
    """Reach some places in a process that was started with a wish."""
    return subprocess.run(
        [sys.executable, "-c", VISIT, *names],
        capture_output=True,
        text=True,
        env={**os.environ, "VECSTORE_FAILPOINT": wanted},
        check=False,
    )


def test_without_a_wish_nothing_happens() -> None:
    """Every label can be reached, in a process that wants nothing to fail."""
    for name in failpoints.NAMES:
        failpoints.reach(name)
    ended = visit("", "flush.begin")
    assert (ended.returncode, ended.stdout) == (0, "flush.begin\n")


def test_the_process_ends_at_the_nth_visit() -> None:
    """The process ends with its code the n-th time it gets to the place, and at no other place."""
    ended = visit("flush.commit:2", "flush.commit", "flush.begin", "flush.commit", "flush.begin")
    assert ended.returncode == failpoints.EXIT_CODE
    assert ended.stdout == "flush.commit\nflush.begin\n"
    assert visit("flush.commit:2", "flush.commit", "flush.begin").returncode == 0


@pytest.mark.parametrize("wanted", ["flush.commit", "nowhere:1", "flush.commit:0", "flush.begin:x"])
def test_a_wish_that_cannot_be_is_refused(wanted: str) -> None:
    """A label that does not exist, or no number, is refused when vecstore is imported."""
    ended = visit(wanted, "flush.begin")
    assert ended.returncode == 1
    assert "RequestError: VECSTORE_FAILPOINT is" in ended.stderr


def test_a_hook_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook is called with each label; what it raises comes out where the place is."""
    seen: list[str] = []
    monkeypatch.setattr(failpoints, "hook", seen.append)
    failpoints.reach("flush.begin")
    failpoints.reach("compact.commit")
    assert seen == ["flush.begin", "compact.commit"]

    def refuse(name: str) -> None:
        raise KeyboardInterrupt(name)

    monkeypatch.setattr(failpoints, "hook", refuse)
    with pytest.raises(KeyboardInterrupt, match=r"flush\.begin"):
        failpoints.reach("flush.begin")


def test_only_known_labels() -> None:
    """A label that is not listed is a mistake in the code."""
    with pytest.raises(AssertionError, match="nowhere"):
        failpoints.reach("nowhere")
