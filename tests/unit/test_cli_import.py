"""`vecstore import`: what it writes, what it refuses, and how it goes on."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import vecstore

pytest.importorskip("typer", exc_type=ImportError)

from tests.unit.command_line import DIM, make_books, run, spawn, vectors, write_jsonl
from vecstore.cli import records
from vecstore.cli.console import Report


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A database with a collection "books" of 20 records, ids 0 to 19."""
    return make_books(tmp_path / "library")


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
    assert "has 1 ids, the .npy and .npz files have 3 records" in output
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


def test_import_again_is_refused_unless_told_what_to_do(tmp_path: Path) -> None:
    """The same command again writes nothing; --skip-existing and --replace say how many it was."""
    np.save(tmp_path / "a.npy", vectors(5))
    command = ("import", tmp_path / "db", "c", tmp_path / "a.npy", "--metric", "dot")
    run(*command)
    refused = run(*command, code=1)
    assert "a.npy row 0: id 0 exists in c; choose --skip-existing or --replace" in refused
    assert "Nothing is written" in refused
    skipped = run(*command, "--skip-existing")
    assert skipped == "0 records written, 5 skipped, already there; c has 5\n"
    replaced = run(*command, "--replace")
    assert replaced == "5 records written, 5 of them in place of others; c has 5\n"
    with vecstore.open(tmp_path / "db") as db:
        assert db.check() == []


def test_import_of_a_second_npy_needs_other_numbers(tmp_path: Path) -> None:
    """Rows of a second .npy file do not overwrite those of the first; --first-id adds them."""
    first, second = vectors(5), vectors(6, seed=1)
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    run("import", tmp_path / "db", "c", tmp_path / "a.npy")
    assert "--first-id" in run("import", tmp_path / "db", "c", tmp_path / "b.npy", code=1)
    output = run("import", tmp_path / "db", "c", tmp_path / "b.npy", "--first-id", 5)
    assert output == "6 records written; c has 11\n"
    with vecstore.open(tmp_path / "db") as db:
        assert db.collection("c").search(first[0], limit=1)[0].id == 0
        assert db.collection("c").search(second[5], limit=1)[0].id == 10


def test_import_of_a_second_field_deletes_nothing(tmp_path: Path) -> None:
    """Another field of the same ids is refused, as it would replace the records whole."""
    with vecstore.open(tmp_path / "db") as db:
        fields = [vecstore.Vector("title", DIM), vecstore.Vector("text", DIM)]
        made = db.create_collection("c", vecstore.Schema(vectors=fields))
        made.upsert(range(3), {"title": vectors(3)}, [{"n": row} for row in range(3)])
    np.save(tmp_path / "a.npy", vectors(4, seed=1))
    command = ("import", tmp_path / "db", "c", tmp_path / "a.npy", "--field", "text")
    assert "id 0 exists" in run(*command, code=1)
    assert "1 records written, 3 skipped" in run(*command, "--skip-existing")
    with vecstore.open(tmp_path / "db", read_only=True) as db:
        found = db.collection("c").get([0, 3], with_vectors=True)
    assert [record and (record.payload, [*record.vectors]) for record in found] == [
        ({"n": 0}, ["title"]),
        ({}, ["text"]),
    ]


@pytest.mark.usefixtures("_small_chunks")
def test_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C the records before it are there, and --skip-existing writes the others."""
    found = vectors(20)
    np.save(tmp_path / "a.npy", found)
    command = ("import", tmp_path / "db", "c", tmp_path / "a.npy")
    with monkeypatch.context() as patch:
        patch.setattr("vecstore.cli.importing.bars", _interrupting)
        output = run(*command, code=130)
    assert "The 12 records before it are written; the same command with --skip" in output
    assert "interrupted" in output
    output = run(*command, "--skip-existing")
    assert output == "8 records written, 12 skipped, already there; c has 20\n"
    with vecstore.open(tmp_path / "db") as db:
        collection = db.collection("c")
        assert [record.id for record in collection.scroll()] == list(range(20))
        assert all(collection.search(found[row], limit=1)[0].id == row for row in range(20))


@contextmanager
def _interrupting() -> Iterator[Report]:
    """In place of bars: Ctrl-C after the third chunk."""
    calls = itertools.count(1)

    def report(step: str, done: int, total: int) -> None:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    yield report


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("between", [1, 9])
def test_import_finds_an_id_that_comes_twice(tmp_path: Path, between: int) -> None:
    """The second record of an id is refused, skipped or written, wherever the first one was."""
    lines = [{"id": row, "vector": [1.0] * DIM, "n": row} for row in range(12)]
    lines[between + 1]["id"] = 1
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    output = run("import", tmp_path / "refuse", "c", path, code=1)
    assert f"a.jsonl line {between + 2}: id 1 exists" in output
    assert f"The {between + 1} records before it are written" in output
    for option, kept in (("--skip-existing", 1), ("--replace", between + 1)):
        run("import", tmp_path / option, "c", path, option)
        with vecstore.open(tmp_path / option) as db:
            assert db.collection("c").count() == 11
            [record] = db.collection("c").get([1])
            assert record is not None
            assert record.payload == {"n": kept}


def test_import_refuses_a_file_named_twice(tmp_path: Path) -> None:
    """A file is not read twice, also where another path leads to it."""
    np.save(tmp_path / "a.npy", vectors(3))
    (tmp_path / "b.npy").symlink_to(tmp_path / "a.npy")
    for other in (tmp_path / "a.npy", tmp_path / "b.npy"):
        output = run("import", tmp_path / "db", "c", tmp_path / "a.npy", other, code=1)
        assert "are the same file" in output
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (".c", (), "collection name is '.c'"),
        ("c", ("--dim", 9), "a.npy has vectors of 8 dimensions, expected 9"),
        ("c", ("--representations", "bits3"), "bits3"),
        ("c", ("--metric", "cos"), "metric 'cos'"),
        ("c", ("--field", "a/b"), "'a/b'"),
        ("c", ("--column", "n:number"), "type 'number'"),
    ],
)
def test_import_that_cannot_be_leaves_nothing(
    tmp_path: Path, name: str, options: tuple[object, ...], words: str
) -> None:
    """A wrong name, schema or dimension is refused before a directory or collection is made."""
    np.save(tmp_path / "a.npy", vectors(3))
    command = ("import", tmp_path / "db", name, tmp_path / "a.npy", *options)
    assert words in run(*command, code=1)
    assert not (tmp_path / "db").exists()
    make_books(tmp_path / "db")
    run(*command, code=1)
    with vecstore.open(tmp_path / "db") as db:
        assert db.collections() == ["books"]


def test_import_that_writes_nothing_leaves_no_collection(tmp_path: Path) -> None:
    """A collection that was made for a file whose first record is bad is dropped again."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": [], "vector": [1.0] * DIM}])
    assert "Nothing is written" in run("import", tmp_path / "db", "c", path, code=1)
    with vecstore.open(tmp_path / "db") as db:
        assert db.collections() == []


def test_import_of_jsonl_takes_a_mark_and_records_without_vector(tmp_path: Path) -> None:
    """A byte order mark is passed over; after the first record the vector's key may be missing."""
    lines = [{"id": 0, "vector": [1.0] * DIM, "big": "x"}, {"id": 1, "n": 5}]
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    run("import", tmp_path / "db", "c", path, "--skip-column", "big")
    with vecstore.open(tmp_path / "db") as db:
        found = db.collection("c").get([0, 1], with_vectors=True)
    assert [record and (record.payload, len(record.vectors)) for record in found] == [
        ({}, 1),
        ({"n": 5}, 0),
    ]


def test_import_of_parquet_takes_ints_and_leaves_columns_out(tmp_path: Path) -> None:
    """Vectors may be lists of ints, and --skip-column leaves out what no payload can hold."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [[1, 0, 0], [0, 2, 0]]
    ints = pa.array(rows, pa.list_(pa.int8()))
    path = tmp_path / "a.parquet"
    columns = {"id": ["a", "b"], "vector": ints, "raw": [b"\xff", b""], "n": [1, 2]}
    parquet.write_table(pa.table(columns), path)
    assert "'wrong'" in run("import", tmp_path / "x", "c", path, "--skip-column", "wrong", code=1)
    run("import", tmp_path / "db", "c", path, "--skip-column", "raw", "--metric", "dot")
    with vecstore.open(tmp_path / "db") as db:
        hit = db.collection("c").search(np.array([0, 1, 0]), limit=1)[0]
    assert (hit.id, hit.payload) == ("b", {"n": 2})
    assert hit.score == pytest.approx(2)


def test_import_does_not_advise_pickle(tmp_path: Path) -> None:
    """An array of Python objects is refused in words of our own."""
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    output = run("import", tmp_path / "db", "c", tmp_path / "a.npy", code=1)
    assert "without Python objects" in output
    assert "pickle" not in output


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


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHUNK_ROWS_MAX", 4)
