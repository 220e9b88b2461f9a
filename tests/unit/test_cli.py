"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import vecstore
from vecstore.types import Float32

pytest.importorskip("typer", exc_type=ImportError)

from typer.testing import CliRunner

from vecstore.cli import app, records

DIM = 8


def run(*arguments: object, code: int = 0) -> str:
    """What a command prints, on both streams, and that it exits with `code`."""
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    assert result.exit_code == code, result.output
    return result.output


def spawn(*arguments: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vecstore.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def vectors(count: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def write_jsonl(path: Path, items: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    with vecstore.open(tmp_path / "library") as db:
        schema = vecstore.Schema(
            vectors=(vecstore.Vector("text", DIM),), columns=(vecstore.Column("year", "int"),)
        )
        payloads = [{"year": 2000 + row, "title": f"book {row}"} for row in range(20)]
        made = db.create_collection("books", schema)
        made.upsert(range(20), vectors(20), payloads)
        made.flush()
    return tmp_path / "library"


@pytest.mark.usefixtures("_small_chunks")
def test_import_of_npy_numbers_the_rows_over_all_files(tmp_path: Path) -> None:
    """Ids of .npy files are row numbers that go on from file to file."""
    first, second = vectors(10), vectors(7, seed=1)
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    output = run("import", tmp_path / "db", "c", tmp_path / "a.npy", tmp_path / "b.npy")
    assert "17 records written; c has 17" in output
    with vecstore.open(tmp_path / "db") as db:
        hit = db.collection("c").search(second[3], limit=1)[0]
        assert (hit.id, hit.payload) == (13, {})


@pytest.mark.parametrize("kind", ["npy", "txt"])
def test_import_takes_ids_from_a_file(tmp_path: Path, kind: str) -> None:
    """--ids names the rows of a .npy file, as an array or as lines of text."""
    np.save(tmp_path / "a.npy", vectors(3))
    path = tmp_path / f"ids.{kind}"
    if kind == "npy":
        np.save(path, np.array(["x", "y", "z"]))
    else:
        path.write_text("x\ny\nz\n", encoding="utf-8")
    run("import", tmp_path / "db", "c", tmp_path / "a.npy", "--ids", path)
    with vecstore.open(tmp_path / "db") as db:
        assert [record.id for record in db.collection("c").scroll()] == ["x", "y", "z"]


def test_import_refuses_too_few_ids(tmp_path: Path) -> None:
    """Ids that are fewer than rows are refused, and nothing is written."""
    np.save(tmp_path / "a.npy", vectors(3))
    (tmp_path / "ids.txt").write_text("x\n", encoding="utf-8")
    ids = tmp_path / "ids.txt"
    output = run("import", tmp_path / "db", "c", tmp_path / "a.npy", "--ids", ids, code=1)
    assert "has 1 ids, the .npy files have 3 rows" in output
    assert not (tmp_path / "db").exists()


@pytest.mark.usefixtures("_small_chunks")
def test_import_of_jsonl_keeps_what_is_not_id_or_vector(tmp_path: Path) -> None:
    """Other keys of a .jsonl file become the payload; a vector may be null, a line empty."""
    found = vectors(9)
    lines = [{"key": f"k{row}", "v": found[row].tolist(), "year": row} for row in range(9)]
    lines.append({"key": "none", "v": None, "year": 9})
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    path.write_text("\n" + path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    options = ["--id-key", "key", "--vector-key", "v", "--column", "year:int", "--metric", "l2"]
    output = run("import", tmp_path / "db", "c", path, *options, "--representations", "float32")
    assert "made collection c: field vector, 8 dimensions, l2, float32" in output
    with vecstore.open(tmp_path / "db") as db:
        collection = db.collection("c")
        assert collection.count("year >= 7") == 3
        hit = collection.search(found[4], limit=1)[0]
        assert (hit.id, hit.score, hit.payload) == ("k4", 0.0, {"year": 4})


def test_import_of_parquet_reads_lists(tmp_path: Path) -> None:
    """Lists of a .parquet file become vectors and other columns payloads, without nulls."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    found = vectors(6)
    lists = {
        "fixed": pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), DIM),
        "ragged": pa.array([*found[:5].tolist(), None]),
    }
    for name, column in lists.items():
        path = tmp_path / f"{name}.parquet"
        table = pa.table({"id": range(6), "vector": column, "n": [1, None, 3, 4, 5, 6]})
        parquet.write_table(table, path)
        run("import", tmp_path / "db", name, path)
        with vecstore.open(tmp_path / "db") as db:
            collection = db.collection(name)
            assert collection.search(found[2], limit=1)[0].payload == {"n": 3}
            assert [record.payload for record in collection.scroll()][1] == {}
            missing = 0 if name == "fixed" else 1
            assert len(collection.search(found[0], limit=10)) == 6 - missing


def test_import_again_changes_nothing(tmp_path: Path) -> None:
    """The same command run twice leaves the same records."""
    np.save(tmp_path / "a.npy", vectors(5))
    command = ("import", tmp_path / "db", "c", tmp_path / "a.npy", "--metric", "dot")
    run(*command)
    assert "made collection" not in run(*command)
    with vecstore.open(tmp_path / "db") as db:
        assert db.collection("c").count() == 5
        assert db.check() == []


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "bad", "vector": [1, 2]}', "line 7.*expected"),
        ('{"id": [], "vector": [1,2,3,4,5,6,7,8]}', "line 7.*id"),
        ('{"id": 3', "line 7 is .*expected an object"),
        ('{"name": 3, "vector": null}', "line 7 has no 'id' but 'name', 'vector'; .*--id-key"),
    ],
)
def test_import_names_the_bad_record(tmp_path: Path, line: str, words: str) -> None:
    """A bad record is named by file and line, and those before it stay written."""
    found = vectors(20)
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"id": row, "vector": found[row].tolist()} for row in range(20)]
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[6] = line
    path.write_text("\n".join(lines), encoding="utf-8")
    output = run("import", tmp_path / "db", "c", path, code=1)
    assert re.search(words, output), output
    assert "The 6 records before it are written" in output
    with vecstore.open(tmp_path / "db") as db:
        assert [record.id for record in db.collection("c").scroll()] == list(range(6))


def test_import_must_agree_with_the_collection(tmp_path: Path, books: Path) -> None:
    """Options that say something else than an existing collection are refused."""
    np.save(tmp_path / "a.npy", vectors(5))
    for option, value in {
        "--metric": "dot",
        "--dim": 9,
        "--representations": "bits1,float16",
        "--column": "lang:keyword",
    }.items():
        output = run("import", books, "books", tmp_path / "a.npy", option, value, code=1)
        assert f"{option} is " in output
        assert "leave the option out" in output


def test_import_refuses_files_it_cannot_read(tmp_path: Path) -> None:
    """A file with another ending, or that is not what its ending says, is an error."""
    for name, text in {"a.csv": "1,2", "b.npy": "no array", "c.parquet": "no table"}.items():
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert "expected" in run("import", tmp_path / "db", "c", tmp_path / name, code=1)


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


def test_stats_lists_representations(books: Path) -> None:
    """`stats` shows records, and bytes and compression of each representation."""
    output = run("stats", books)
    assert output.startswith("books: 20 records (0 in the write buffer), 0 deleted, 1 segment, ")
    assert re.search(r"text +bits2 +20 +\d+\.\d +\d+\.\dx", output)
    assert re.search(r"text +float16 +20 +\d+\.\d +\d+\.\dx", output)
    assert run("stats", books, "books") == output


def test_commands_that_read_make_no_database(tmp_path: Path) -> None:
    """`stats`, `search` and `check` of a directory that is not there fail and do not make it."""
    path = tmp_path / "nothing"
    for arguments in (("stats", path), ("check", path), ("search", path, "c", "--like", "1")):
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_interruption_exits_with_130(tmp_path: Path) -> None:
    """Ctrl-C ends a command with a word and exit code 130."""
    path = tmp_path / "endless.jsonl"
    os.mkfifo(path)
    process = spawn("import", tmp_path / "db", "c", path)
    with path.open("w", encoding="utf-8"):  # waits until the command reads
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors


def test_serve_says_how_to_connect_and_stops(books: Path) -> None:
    """`serve` prints its address, answers there, and ends with 0 at Ctrl-C."""
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


def test_serve_takes_one_token(books: Path) -> None:
    """`serve` refuses two tokens, a variable that is not set, and an open host without one."""
    pytest.importorskip("grpc")
    assert "not both" in run("serve", books, "--token", "a", "--token-env", "B", code=2)
    assert "no variable" in run("serve", books, "--token-env", "NO_SUCH_VARIABLE", code=2)
    assert "token" in run("serve", books, "--host", "0.0.0.0", code=1)


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHUNK_ROWS_MAX", 4)
