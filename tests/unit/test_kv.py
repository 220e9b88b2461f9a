"""LMDB behind typed errors and checksums."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecstore.errors import (
    ClosedError,
    CorruptionError,
    DatabaseFullError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    StorageError,
)
from vecstore.storage.checksum import RESIDUE, crc32c
from vecstore.storage.kv import Kv

DATABASES = ("one", "two")
MAP_BYTES = 1 << 26

READ = """
import sys
from pathlib import Path
from vecstore.storage.kv import Kv
kv = Kv.open(Path(sys.argv[1]), databases=("one", "two"), map_bytes=1 << 26, read_only=True)
for line in sys.stdin:
    with kv.read() as txn:
        value = txn.get("one", line.strip().encode())
        assert txn.id == kv.last_txn()
    sys.stdout.write(f"{kv.last_txn()} {value}\\n")
    sys.stdout.flush()
kv.close()
"""


@contextmanager
def opened(path: Path, *, read_only: bool = False, map_bytes: int = MAP_BYTES) -> Iterator[Kv]:
    kv = Kv.open(path, databases=DATABASES, map_bytes=map_bytes, read_only=read_only)
    try:
        yield kv
    finally:
        kv.close()


def test_crc32c_is_the_standard_one() -> None:
    """The checksum gives the check value of CRC32C, and the residue of a message with its own."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert crc32c(b"abc" + crc32c(b"abc").to_bytes(4, "little")) == RESIDUE


def test_values_come_back(tmp_path: Path) -> None:
    """What was put is got, in the same transaction, later, and after another open."""
    with opened(tmp_path / "db") as kv:
        with kv.write() as txn:
            txn.put("one", b"a", b"1")
            txn.put("one", b"empty", b"")
            txn.put_many("two", [(b"b", b"x" * 100_000), (b"a", b"2")])
            assert txn.get("one", b"a") == b"1"
        with kv.read() as txn:
            assert txn.get("two", b"a") == b"2"
    with opened(tmp_path / "db") as kv, kv.read() as txn:
        assert txn.get_many("one", [b"empty", b"b", b"a", b"a"]) == [b"", None, b"1", b"1"]
        assert txn.get("two", b"b") == b"x" * 100_000


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    """An error inside a write leaves every database as it was."""
    with opened(tmp_path / "db") as kv:
        before = kv.last_txn()
        with pytest.raises(RuntimeError), kv.write() as txn:
            txn.put("one", b"a", b"1")
            raise RuntimeError
        assert kv.last_txn() == before
        with kv.read() as txn:
            assert txn.get("one", b"a") is None


def test_a_reader_keeps_its_commit(tmp_path: Path) -> None:
    """A read transaction sees the commit that it began with."""
    with opened(tmp_path / "db") as kv, kv.read() as reader:
        with kv.write() as txn:
            txn.put("one", b"a", b"1")
            made = txn.id
        assert reader.get("one", b"a") is None
        assert kv.last_txn() == made == reader.id + 1


KEYS = st.binary(min_size=1, max_size=3)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(["put", "delete", "range"]), KEYS, KEYS), max_size=30),
    KEYS,
    KEYS,
)
def test_behaves_as_a_sorted_dict(
    steps: list[tuple[str, bytes, bytes]], start: bytes, stop: bytes
) -> None:
    """Puts, deletes, ranges and scans agree with a dict whose keys are sorted."""
    model: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as kv:
        with kv.write() as txn:
            for step, a, b in steps:
                if step == "put":
                    txn.put("one", a, b)
                    model[a] = b
                elif step == "delete":
                    assert txn.delete("one", a) == (model.pop(a, None) is not None)
                else:
                    gone = [key for key in model if a <= key < b]
                    assert txn.delete_range("one", a, b) == len(gone)
                    for key in gone:
                        del model[key]
        with kv.read() as txn:
            everything = sorted(model.items())
            assert list(txn.scan("one")) == everything
            assert list(txn.scan("one", start)) == [item for item in everything if item[0] >= start]
            inside = [item for item in everything if start <= item[0] < stop]
            assert list(txn.scan("one", start, stop)) == inside


def test_every_flipped_bit_of_a_value_is_found(tmp_path: Path) -> None:
    """No bit of a stored value can change unnoticed, and the error names database and key."""
    with opened(tmp_path / "db") as kv:
        with kv.write() as txn:
            txn.put("one", b"\xab\xcd", b"payload")
            raw = txn._txn.get(b"\xab\xcd", db=kv._dbs["one"])
        for bit in range(8 * len(raw)):
            damaged = bytearray(raw)
            damaged[bit // 8] ^= 1 << bit % 8
            with kv.write() as txn:
                txn._txn.put(b"\xab\xcd", bytes(damaged), db=kv._dbs["one"])
            with kv.read() as txn:
                with pytest.raises(CorruptionError, match=r"key abcd in 'one'"):
                    txn.get("one", b"\xab\xcd")
                with pytest.raises(CorruptionError):
                    txn.get_many("one", [b"\xab\xcd"])
                with pytest.raises(CorruptionError):
                    list(txn.scan("one"))


def test_a_value_under_another_key_is_found(tmp_path: Path) -> None:
    """The checksum covers the key: a value that moved to another key does not pass."""
    with opened(tmp_path / "db") as kv, kv.write() as txn:
        txn.put("one", b"a", b"payload")
        raw = txn._txn.get(b"a", db=kv._dbs["one"])
        txn._txn.put(b"b", raw, db=kv._dbs["one"])
        with pytest.raises(CorruptionError, match="62"):
            txn.get("one", b"b")


def test_flipped_bits_of_the_file_are_found_or_harmless(tmp_path: Path) -> None:
    """Whatever page bit flips, a read gives the value that was written or a typed error."""
    with opened(tmp_path / "db") as kv, kv.write() as txn:
        for number in range(50):
            txn.put("one", b"key%d" % number, b"value%d" % number * 20)
    sound = (tmp_path / "db" / "data.mdb").read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    first = sound.index(b"value0")
    for place in range(first - 64, first + 64):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        (copy / "data.mdb").write_bytes(damaged)
        try:
            with opened(copy, read_only=True) as kv, kv.read() as txn:
                for number in range(50):
                    found = txn.get("one", b"key%d" % number)
                    assert found in {None, b"value%d" % number * 20}
        except StorageError:
            pass


def test_full_map(tmp_path: Path) -> None:
    """A full map is a DatabaseFullError; nothing of that write is kept and later ones work."""
    with opened(tmp_path / "db", map_bytes=1 << 18) as kv:
        with pytest.raises(DatabaseFullError, match="map_bytes"), kv.write() as txn:
            txn.put("one", b"small", b"1")
            txn.put("one", b"big", b"x" * (1 << 20))
        with kv.write() as txn:
            assert txn.get("one", b"small") is None
            txn.put("one", b"small", b"2")


def test_opened_twice_in_one_process(tmp_path: Path) -> None:
    """A second open in the same process is refused and leaves the first usable."""
    with opened(tmp_path / "db") as kv:
        with pytest.raises(LockedError, match="already open"), opened(tmp_path / "db"):
            pass
        with kv.read() as txn:
            assert txn.get("one", b"a") is None


def test_not_a_database(tmp_path: Path) -> None:
    """Other files, another LMDB database, a file and nothing at all are refused by their type."""
    with pytest.raises(NotADatabaseError, match="no vecstore"), opened(tmp_path, read_only=True):
        pass
    (tmp_path / "data.mdb").write_bytes(b"something else " * 1000)
    with pytest.raises(NotADatabaseError), opened(tmp_path):
        pass
    with lmdb.open(str(tmp_path / "other"), lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"key", b"value")
    for read_only in (True, False):
        with pytest.raises(NotADatabaseError), opened(tmp_path / "other", read_only=read_only):
            pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError), opened(tmp_path / "file"):
        pass


def test_read_only_and_closed(tmp_path: Path) -> None:
    """A reader cannot write, and a closed handle says so; closing again is fine."""
    with opened(tmp_path / "db"):
        pass
    with opened(tmp_path / "db", read_only=True) as kv:
        with pytest.raises(ReadOnlyError, match="read_only"), kv.write():
            pass
        kv.close()
        for use in (kv.read, kv.write):
            with pytest.raises(ClosedError, match="closed"), use():
                pass
        with pytest.raises(ClosedError):
            kv.last_txn()


def test_another_process_sees_commits(tmp_path: Path) -> None:
    """A reader process sees each commit of the writer, and the change counter with it."""
    path = tmp_path / "db"
    with opened(path) as kv:
        command = [sys.executable, "-c", READ, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            for number in range(3):
                with kv.write() as txn:
                    txn.put("one", b"key", b"%d" % number)
                reader.stdin.write(b"key\n")
                reader.stdin.flush()
                answer = f"{kv.last_txn()} {str(number).encode()!r}\n"
                assert reader.stdout.readline().decode() == answer
            reader.stdin.close()
            assert reader.wait() == 0


def test_whether_a_key_is_there(tmp_path: Path) -> None:
    """Only a key that was put is there, and only in its key space."""
    with closing(Kv.open(tmp_path, databases=("one", "two"), map_bytes=1 << 26)) as kv:
        with kv.write() as txn:
            txn.put("one", b"key", b"")
        with kv.read() as txn:
            assert txn.has("one", b"key")
            assert not txn.has("one", b"ke")
            assert not txn.has("one", b"keys")
            assert not txn.has("two", b"key")
