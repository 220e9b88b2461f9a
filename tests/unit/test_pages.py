"""The pages of LMDB's file: sound ones pass, damaged ones are found before LMDB meets them."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from vecstore.errors import CorruptionError, NotADatabaseError, VecstoreError
from vecstore.storage.kv import Kv, verify_pages
from vecstore.storage.pages import check_metas, damaged_pages

NAMES = ("meta", "ids", "buffer")
PAGE = 4096


def opened(path: Path, *, read_only: bool = False) -> Kv:
    """An environment with three key spaces."""
    return Kv.open(path, databases=NAMES, map_bytes=1 << 30, read_only=read_only)


def filled(path: Path, commits: int) -> Path:
    """Commits of puts, deletes and rewrites, of small and large values; the file they made."""
    rng = random.Random(7)
    kv = opened(path)
    for _ in range(commits):
        with kv.write() as txn:
            for _ in range(rng.randrange(1, 60)):
                db, key = rng.choice(NAMES), rng.randbytes(rng.randrange(1, 9))
                if rng.random() < 0.3:
                    txn.delete(db, key)
                else:
                    txn.put(db, key, rng.randbytes(rng.choice([4, 50, 3000, 9000])))
    kv.close()
    return path / "data.mdb"


def flip(file: Path, place: int, bit: int = 0) -> None:
    """Flip a bit of a file."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def test_sound_pages_pass(tmp_path: Path) -> None:
    """Whatever LMDB made of many commits, large values and free pages among it, is in order."""
    for commits in (0, 1, 2, 40):
        assert damaged_pages(filled(tmp_path / str(commits), commits)) == []


def test_values_that_shrank_pass(tmp_path: Path) -> None:
    """A value keeps the pages of a longer one that was there before, which is no damage."""
    kv = opened(tmp_path)
    for size in (90_000, 9_000, 5_000):
        with kv.write() as txn:
            txn.put("buffer", b"key", bytes(size))
            txn.put("buffer", b"key", bytes(size // 2))
    kv.close()
    verify_pages(tmp_path / "data.mdb")


def test_flipped_bits_give_words_or_typed_errors(tmp_path: Path) -> None:
    """Looking at damaged pages never fails otherwise, and finds what LMDB goes by."""
    file = filled(tmp_path, 8)
    sound = file.read_bytes()
    rng = random.Random(3)
    for _ in range(60):
        flip(file, rng.randrange(len(sound)), rng.randrange(8))
        with suppress(VecstoreError):
            assert all(item.text for item in damaged_pages(file))
        file.write_bytes(sound)
    found = 0
    for start in range(2 * PAGE, len(sound), PAGE):
        if sound[start : start + 8] == (start // PAGE).to_bytes(8, "little"):
            flip(file, start)  # a page that is free may be any
            found += bool(damaged_pages(file))
            file.write_bytes(sound)
    assert found > 3


def test_going_back_a_commit_is_noticed(tmp_path: Path) -> None:
    """A flipped bit in the number of a commit does not bring back what the last one replaced."""
    file = filled(tmp_path, 3)
    flip(file, 16 + 24 + 96 + 8, 7)
    with pytest.raises(CorruptionError, match="follow each"):
        check_metas(file)
    with pytest.raises(CorruptionError, match="follow each"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(8192), b"x" * 8192])
def test_other_files_are_no_databases(tmp_path: Path, content: bytes) -> None:
    """What is no LMDB file is NotADatabaseError."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NotADatabaseError):
        check_metas(tmp_path / "file")


def flip_key(file: Path, key: bytes, place: int, bit: int) -> None:
    """Flip a bit of a key wherever it stands: in a leaf, and in a branch that leads to that."""
    data = file.read_bytes()
    start = data.find(key)
    assert start >= 0
    while start >= 0:
        flip(file, start + place, bit)
        start = data.find(key, start + 1)


def put(path: Path, db: str, count: int) -> Path:
    """Many keys; the file."""
    kv = opened(path)
    with kv.write() as txn:
        keys = [b"key %06d" % number for number in range(count)]
        txn.put_many(db, [(key, b"value") for key in keys])
    kv.close()
    return path / "data.mdb"


def test_flipped_key_hides_no_other(tmp_path: Path) -> None:
    """Where a key was damaged, a search for it, or one that it leads astray, says so."""
    file = put(tmp_path, "ids", 1000)
    flip_key(file, b"key 000700", 6, 3)
    kv = opened(tmp_path, read_only=True)
    missing = wrong = 0
    with kv.read() as txn:
        for number in range(1000):
            key = b"key %06d" % number
            try:
                wrong += txn.get_many("ids", [key], careful=True) != [b"value"]
            except CorruptionError:
                missing += 1
    kv.close()
    assert missing
    assert not wrong


def test_flipped_bit_of_a_key_is_turned_back(tmp_path: Path) -> None:
    """Keys that are out of order are put in order again, and have their bits back."""
    file = put(tmp_path, "ids", 300)
    flip_key(file, b"key 000123", 4, 6)
    kv = opened(tmp_path)
    with kv.read():
        assert all(item.order and item.tree == "ids" for item in kv.damaged_pages())
        assert kv.damaged_pages()
    with kv.write() as txn:
        txn.rewrite("ids")
        assert txn.mend_keys("ids") == 1
    with kv.read() as txn:
        assert kv.damaged_pages() == []
        assert [key for key, _ in txn.scan("ids")] == [b"key %06d" % i for i in range(300)]
    kv.close()


def test_scan_notices_a_key_that_left_its_range(tmp_path: Path) -> None:
    """A range of which a key was changed to another range is not taken for shorter than it is."""
    file = put(tmp_path, "buffer", 10)
    flip_key(file, b"key 000003", 0, 4)
    kv = opened(tmp_path, read_only=True)
    with kv.read() as txn, pytest.raises(CorruptionError, match="checksum"):
        list(txn.scan("buffer", b"key 000000", b"key 000009"))
    kv.close()
