"""What README shows and says is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from vecstore import options

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_ten_lines_run_twice(tmp_path: Path) -> None:
    """The example has ten lines, prints three hits, and prints the same when it is run again."""
    found = re.search(r"## Ten lines\n+```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    code = found[1]
    assert len([line for line in code.splitlines() if line]) <= 10
    first, second = (
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[0].startswith("7 ")
    assert len(first.stdout.splitlines()) == 3
    assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr


def test_many_vectors_a_record(tmp_path: Path) -> None:
    """The example of multivector fields finds the record that its query comes from."""
    found = re.search(r"## Many vectors a record\n.*?```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", found[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    first, *_, matched = run.stdout.splitlines()
    assert first.startswith("7 ")
    assert matched == "[0 1 2 3 4]"


def test_limits_are_those_of_the_engine() -> None:
    """The table of limits has the numbers of `vecstore.options`."""
    [table] = re.findall(r"\| limit \|.*?\n\n", README, re.DOTALL)
    limits = (
        f"{options.VECTOR_FIELDS_MAX} vector fields of {options.DIM_MAX:,} dimensions",
        f"{options.REPRESENTATIONS_MAX} representations, {options.COLUMNS_MAX} columns",
        f"id of {options.ID_BYTES_MAX} bytes",
        f"payload of {options.PAYLOAD_BYTES_MAX >> 20} MiB",
        f"{options.TOKENS_MAX:,} vectors of a multivector field",
        f"{options.BATCH_ROWS_MAX:,} records, {options.BATCH_BYTES_MAX >> 30} GiB",
        f"{options.GET_IDS_MAX:,} ids",
        f"{options.LIMIT_MAX:,} hits; {options.STAGES_MAX} stages",
        f"`keep` {options.KEEP_MAX:,}",
        f"`where` of {options.WHERE_CHARS_MAX:,} characters",
        f"{options.QUERIES_MAX:,} queries, {options.RESULTS_MAX:,} hits",
        f"{options.RECALL_QUERIES_MAX:,} queries, {options.RECALL_BYTES_MAX >> 20} MiB of them; it "
        f"keeps {options.LIVE_QUERIES_MAX} queries a field, "
        f"{options.LIVE_QUERIES_BYTES_MAX >> 20} MiB of them",
        f"{options.MESSAGE_BYTES_MAX >> 20} MiB in a message; {options.RPC_TIMEOUT_S:.0f} s",
    )
    assert [limit for limit in limits if limit not in table] == []
