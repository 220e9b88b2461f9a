"""How the commands speak: lines, tables and bars; errors in one red line.

On a terminal tables have borders and fit its width. Elsewhere, in a file or a pipe, they are plain
columns of any width, and there are no bars.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vecstore.errors import RequestError, SchemaError, VecstoreError

INTERRUPTED = 130

# Is told what is being done, how much of it is done, and of how much.
Report: TypeAlias = Callable[[str, int, int], None]


def say(text: str = "", *, style: str = "", error: bool = False) -> None:
    """Print a text as it is, to stdout or stderr."""
    _console(error=error).print(Text(text, style=style), soft_wrap=True)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn errors into a red line on stderr and exit code 1, Ctrl-C into a word and code 130."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has had enough; typer ends quietly
    except (VecstoreError, OSError) as error:
        say(str(error), style="red", error=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("interrupted", error=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def wrong_use() -> Iterator[None]:
    """Turn what an option cannot be into a wrong use, with exit code 2."""
    try:
        yield
    except (RequestError, SchemaError) as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def bars() -> Iterator[Report]:
    """Progress bars on stderr, one for each thing that is reported; none if it is no terminal."""
    console = _console(error=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step)
            progress.update(tasks[step], completed=done, total=total)

        yield report


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """A sign of life on stderr while something runs that says nothing meanwhile."""
    console = _console(error=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table.

    Args:
        header: the names of the columns, which may have two lines on a terminal.
        rows: cells, as many as the header has.
        left: how many columns are texts, at the left side; those after it are numbers.
    """
    console = _console()
    if not console.is_terminal:
        names = [name.replace("/\n", "/").replace("\n", " ") for name in header]
        for line in _plain([names, *rows], left):
            say(line)
        return
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column, name in enumerate(header):
        justify: Literal["left", "right"] = "left" if column < left else "right"
        shown.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def counted(count: int, word: str, ending: str = "s") -> str:
    """A number of things, such as "1 record" or "2,000 records"."""
    return f"{count:,} {word}{'' if count == 1 else ending}"


def human_bytes(count: float) -> str:
    """A number of bytes, such as "1.2 MB" (millions)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def printable(value: object) -> str:
    """A value on one line; what could move the cursor is escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _console(*, error: bool = False) -> Console:
    return Console(stderr=error, highlight=False, emoji=False, markup=False)


def _plain(rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
