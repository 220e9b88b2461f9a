"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vecstore

pytest.importorskip("typer", exc_type=ImportError)

from tests.unit.command_line import DIM, make_books, run, spawn, vectors


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    return make_books(tmp_path / "library")


def test_search_by_vector_and_by_record(tmp_path: Path, books: Path) -> None:
    """--vector and --like find the same record first."""
    np.save(tmp_path / "q.npy", vectors(20)[6])
    for option in (("--vector", tmp_path / "q.npy"), ("--like", 6)):
        lines = run("search", books, "books", *option, "--limit", 3).splitlines()
        assert len(lines) == 4
        score, id_, payload = lines[1].split(maxsplit=2)
        assert (id_, json.loads(payload)["title"]) == ("6", "book 6")
        assert float(score) == pytest.approx(1, abs=1e-3)


def test_search_filters_and_explains(books: Path) -> None:
    """--where filters, --exact reads the finest representation, --explain lists the stages."""
    filtered = run("search", books, "books", "--like", 6, "--where", "year < 2003")
    assert len(filtered.splitlines()) == 1 + 3
    output = run("search", books, "books", "--like", 6, "--exact", "--explain")
    assert re.search(r"stage +representation +rows in", output)
    assert "float16" in output
    assert "bits" not in output


def test_search_groups(books: Path) -> None:
    """--group-by shows one record of each value, and refuses what is no column."""
    with vecstore.open(books) as db:
        db.collection("books").upsert(range(9), vectors(9), [{"year": row % 3} for row in range(9)])
    asked = ("--like", 6, "--group-by", "year", "--where", "year < 3")
    lines = run("search", books, "books", *asked).splitlines()
    found = [json.loads(line.split(maxsplit=2)[2])["year"] for line in lines[1:]]
    assert (len(found), {*found}, found[0]) == (3, {0, 1, 2}, 0)
    output = run("search", books, "books", "--like", 6, "--group-by", "author", code=1)
    assert "no column 'author'" in output


def test_search_with_text(tmp_path: Path) -> None:
    """--text embeds with wordllama, in as many dimensions as the field has."""
    pytest.importorskip("wordllama")
    from vecstore.demo.embed import load_embedder

    texts = ["a cat sleeps on the sofa", "the stock market fell", "rain is expected tomorrow"]
    with vecstore.open(tmp_path / "db") as db:
        schema = vecstore.Schema(vectors=(vecstore.Vector("text", 64),))
        db.create_collection("c", schema).upsert([0, 1, 2], load_embedder(dim=64).embed(texts))
    lines = run("search", tmp_path / "db", "c", "--text", "weather forecast").splitlines()
    assert lines[1].split()[1] == "2"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "exactly one of --vector, --like and --text"),
        (["--like", "1", "--text", "x"], 2, "exactly one"),
        (["--like", "nobody"], 1, "no record 'nobody'"),
        (["--like", "1", "--field", "page"], 1, "no vector field 'page'"),
        (["--like", "1", "--limit", "0"], 1, "limit is 0"),
        (["--like", "1", "--where", "yeer = 1"], 1, "yeer"),
        (["--vector", "no-such.npy"], 2, "no-such.npy"),
        (["--colour"], 2, "--colour"),
    ],
)
def test_search_reports_wrong_use(books: Path, arguments: list[str], code: int, words: str) -> None:
    """A wrong use exits with 2, what the database refuses with 1; both say why."""
    output = run("search", books, "books", *arguments, code=code)
    assert words in output
    assert "Traceback" not in output


def test_version_is_that_of_the_package() -> None:
    """--version prints the version and exits with 0."""
    assert run("--version") == f"vecstore {vecstore.__version__}\n"


def test_search_prints_json(books: Path) -> None:
    """--json prints an object for each hit: its id, score and payload."""
    lines = run("search", books, "books", "--like", 6, "--limit", 2, "--json").splitlines()
    first, second = map(json.loads, lines)
    assert first["id"] == 6
    assert first["payload"] == {"year": 2006, "title": "book 6"}
    assert second["score"] < first["score"] == pytest.approx(1, abs=1e-3)
    assert "not both" in run("search", books, "books", "--like", 6, "--json", "--explain", code=2)


def test_stats_prints_json(books: Path) -> None:
    """--json prints one object, with the stats of each collection by its name."""
    found = json.loads(run("stats", books, "--json"))
    assert [*found] == ["books"]
    assert found["books"]["records"] == 20
    specs = [item["spec"] for item in found["books"]["representations"]]
    assert specs == ["bits2", "float16"]


def test_search_shows_ids_as_what_they_are(tmp_path: Path) -> None:
    """A str of digits is in quotes, and only what cannot be printed is escaped."""
    with vecstore.open(tmp_path / "db") as db:
        schema = vecstore.Schema(vectors=(vecstore.Vector("text", DIM),))
        ids: list[int | str] = [7, "7", "caf\u00e9\x1b[2J"]
        same = np.ones((3, DIM), np.float32)
        same[1] = -1
        payloads = [{"t": "\u00fc\u202e"}, {}, {}]
        db.create_collection("c", schema).upsert(ids, same, payloads)
    lines = run("search", tmp_path / "db", "c", "--like", 7).splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["7", "caf\u00e9\\u001b[2J", '"7"']
    assert '{"t": "\u00fc\\u202e"}' in lines[1]
    quoted = run("search", tmp_path / "db", "c", "--like", '"7"').splitlines()
    assert quoted[1].split()[1] == '"7"'


def test_stats_lists_representations(books: Path) -> None:
    """`stats` shows records, and bytes and compression of each representation."""
    output = run("stats", books)
    assert output.startswith("books: 20 records (0 in the write buffer), 0 deleted, 1 segment, ")
    assert re.search(r"text +bits2 +20 +\d+\.\d +\d+\.\dx", output)
    assert re.search(r"text +float16 +20 +\d+\.\d +\d+\.\dx", output)
    assert run("stats", books, "books") == output


def test_commands_make_no_database_unasked(tmp_path: Path) -> None:
    """Commands but `import` and `serve` fail for a directory that is not there, and make none."""
    path = tmp_path / "nothing"
    for arguments in (
        ("stats", path),
        ("check", path),
        ("repair", path),
        ("search", path, "c", "--like", "1"),
        ("compact", path, "c"),
        ("alter", path, "c", "text", "bits1"),
    ):
        assert str(path) in run(*arguments, code=1)
    assert not path.exists()


def test_check_finds_a_flipped_bit(books: Path) -> None:
    """`check` exits with 0 for a sound database, and with 1 and the file for a damaged one."""
    assert run("check", books) == "sound: 1 collection checked\n"
    files = [path for path in (books / "segments").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[-5] ^= 1
    largest.write_bytes(data)
    output = run("check", books, code=1)
    assert largest.name in output
    assert "problem" in output


def test_repair_says_what_it_did(books: Path) -> None:
    """`repair` exits with 0 where nothing is lost, and with 1 where something is, and lists it."""
    assert run("repair", books) == "sound: nothing to repair\n"
    [column] = books.glob("segments/*/column-0")
    column.unlink()
    output = run("repair", books)
    assert "made again: collection 'books': 'column-0'" in output
    assert output.endswith("repaired\n")
    [payloads] = books.glob("segments/*/payloads")
    payloads.unlink()
    output = run("repair", books, code=1)
    assert output.count("lost: collection 'books': record ") == 20
    assert run("check", books) == "sound: 1 collection checked\n"


def test_errors_are_one_line_on_stderr(books: Path) -> None:
    """An error is one line on stderr with exit code 1, and stdout stays empty."""
    process = spawn("stats", books, "no-such")
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    assert errors.splitlines() == ["no collection 'no-such'; the database has 'books'"]


def test_without_the_extra_it_is_named() -> None:
    """Without typer the command says which extra to install, and exits with 1."""
    code = "import sys; sys.modules['typer'] = None; from vecstore.cli import main; main()"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        "the command line needs typer, which is not installed; "
        "install it with: pip install 'vecstore[cli]'"
    ]


def test_serve_says_how_to_connect_and_stops(books: Path) -> None:
    """`serve` prints its address, answers there, logs the calls, and ends with 0 at Ctrl-C."""
    pytest.importorskip("grpc")
    process = spawn("serve", books, "--port", 0)
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.search(r"at (\S+:\d+);", first)
    assert found is not None, first
    assert f'vecstore.connect("{found[1]}")' in process.stdout.readline()
    with vecstore.connect(found[1]) as db:
        assert db.collections() == ["books"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "stopping" in errors
    assert re.search(r" INFO .*ListCollections", errors), errors


def test_serve_takes_one_token(books: Path) -> None:
    """`serve` refuses two tokens, a variable that is not set, and an open host without one."""
    pytest.importorskip("grpc")
    assert "not both" in run("serve", books, "--token", "a", "--token-env", "B", code=2)
    assert "no variable" in run("serve", books, "--token-env", "NO_SUCH_VARIABLE", code=2)
    assert "token" in run("serve", books, "--host", "0.0.0.0", code=2)
