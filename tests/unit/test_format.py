"""Packed arrays and components: exact inverses, and every damaged bit is found or harmless."""

from __future__ import annotations

import contextlib
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vecstore.errors import CorruptionError, FormatVersionError, StorageError
from vecstore.segment import format as format_module
from vecstore.segment.format import (
    BLOCK_BYTES,
    Arrays,
    Component,
    pack_arrays,
    unpack_arrays,
)
from vecstore.segment.manifest import ComponentInfo
from vecstore.segment.stream import Shape, stream_component, write_component
from vecstore.storage.files import RealFiles
from vecstore.types import Uint8

FILES = RealFiles()
DTYPES = ["u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", "?"]
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    max_size=4,
)


class Memory(RealFiles):
    """One file, as bytes that a test can change."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def map(self, path: Path) -> Uint8:
        return np.frombuffer(self.data, dtype=np.uint8)


def small() -> dict[str, np.ndarray]:
    return {
        "seqs": np.arange(5, dtype=np.uint64),
        "mask": np.array([True, False, True]),
        "values": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3),
        "none": np.empty((0, 7), dtype=np.uint32),
    }


def same(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable


def write(tmp_path: Path, arrays: Arrays) -> tuple[Path, ComponentInfo]:
    path = tmp_path / f"component{len(list(tmp_path.iterdir()))}"
    return path, write_component(FILES, path, "test", arrays)


@given(ARRAYS)
def test_packed_arrays_come_back(arrays: Arrays) -> None:
    """Unpacking gives back names, dtypes, shapes and bytes, read-only, at aligned places."""
    found = unpack_arrays(pack_arrays(arrays))
    same(found, arrays)
    assert all(array.flags.aligned for array in found.values())


@settings(max_examples=40)
@given(arrays=ARRAYS)
def test_components_come_back(tmp_path_factory: pytest.TempPathFactory, arrays: Arrays) -> None:
    """A component gives back its arrays at multiples of 64 bytes, and verifies."""
    path, info = write(tmp_path_factory.mktemp("component"), arrays)
    assert info == ComponentInfo(path.name, path.stat().st_size, info.crc)
    for expected in (info, None):
        component = Component.open(FILES, path, "test", expected)
        same(component.arrays, arrays)
        assert component.verify() == []
        for name, array in component.arrays.items():
            assert array.ctypes.data % 64 == 0 or not array.size
            assert component.whole(name) is array
        assert component.verified == set(arrays)


def test_any_memory_layout() -> None:
    """Big-endian, transposed and strided arrays are stored as their values."""
    plain = np.arange(12, dtype=np.uint32).reshape(3, 4)
    given_arrays = {"big": plain.astype(">u4"), "turned": plain.T, "every": plain[:, ::2]}
    found = unpack_arrays(pack_arrays(given_arrays))
    for name, array in given_arrays.items():
        assert found[name].tolist() == array.tolist()
        assert found[name].dtype == np.dtype("<u4")


def test_every_flipped_bit_of_a_component_is_found(tmp_path: Path) -> None:
    """Whichever bit flips, opening or verifying the component fails, with and without its info."""
    path, info = write(tmp_path, small())
    sound = path.read_bytes()
    for expected in (info, None):
        for bit in range(8 * len(sound)):
            damaged = bytearray(sound)
            damaged[bit // 8] ^= 1 << bit % 8
            try:
                component = Component.open(Memory(bytes(damaged)), path, "test", expected)
            except StorageError:
                continue
            assert len(component.verify()) == 1, bit


def test_cut_and_random_components(tmp_path: Path) -> None:
    """A file of another length, or of random bytes, is refused at open."""
    path, info = write(tmp_path, small())
    sound = path.read_bytes()
    for length in range(len(sound)):
        with pytest.raises(CorruptionError):
            Component.open(Memory(sound[:length]), path, "test", None)
    with pytest.raises(CorruptionError, match="expected"):
        Component.open(Memory(sound + b"\0"), path, "test", info)
    rng = np.random.default_rng(0)
    for length in (0, 1, 31, 32, 36, 100, 1000):
        with pytest.raises(CorruptionError):
            Component.open(Memory(rng.bytes(length)), path, "test", None)
        with pytest.raises(CorruptionError):
            Component.open(Memory(b"VSCOMP\r\n\1\0\0\0" + rng.bytes(length)), path, "test", None)


def test_another_component_is_found(tmp_path: Path) -> None:
    """A sound component that is not the one written, not of that kind, or gone is refused."""
    path, info = write(tmp_path, small())
    other = small()
    other["seqs"] = other["seqs"] + np.uint64(1)
    swapped, _ = write(tmp_path, other)
    with pytest.raises(CorruptionError, match="checksum"):
        Component.open(FILES, swapped, "test", info)
    with pytest.raises(CorruptionError, match="'test' component, expected 'codes'"):
        Component.open(FILES, path, "codes", info)
    with pytest.raises(CorruptionError, match="No such file"):
        Component.open(FILES, tmp_path / "gone", "test", info)
    with pytest.raises(CorruptionError, match="no array 'x'"):
        Component.open(FILES, path, "test", info).array("x")


def test_newer_versions_are_refused(tmp_path: Path) -> None:
    """A newer format version is a FormatVersionError, whatever else the bytes are."""
    path, _ = write(tmp_path, small())
    newer = bytearray(path.read_bytes())
    newer[8] = 2
    with pytest.raises(FormatVersionError, match="version 2"):
        Component.open(Memory(bytes(newer)), path, "test", None)
    packed = bytearray(pack_arrays(small()))
    packed[4] = 2
    with pytest.raises(FormatVersionError, match="version 2"):
        unpack_arrays(bytes(packed))


def test_damaged_packed_arrays() -> None:
    """Cut or changed packed bytes give arrays or a typed error, and never a huge allocation."""
    sound = pack_arrays(small())
    for length in range(len(sound)):
        with pytest.raises(CorruptionError):
            unpack_arrays(sound[:length])
    with pytest.raises(CorruptionError):
        unpack_arrays(sound + b"\0")
    for place in range(len(sound)):
        for value in (0x00, 0x7F, 0xCF, 0xDD, 0xFF):
            with contextlib.suppress(StorageError):
                unpack_arrays(sound[:place] + bytes([value]) + sound[place + 1 :])


@given(st.binary(max_size=80))
def test_random_packed_arrays(data: bytes) -> None:
    """Random bytes after a sound header give arrays or a typed error."""
    for prefix in (b"", b"VSA\0\1\0\0\0" + len(data).to_bytes(4, "little")):
        with contextlib.suppress(StorageError):
            unpack_arrays(prefix + data)


@pytest.mark.parametrize(
    "entry",
    [
        b"\x93\xa1a\xa3<f4\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # shape [2**64 - 1]
        b"\x93\xa1a\xa3<f4\x91\xff",  # shape [-1]
        b"\x93\xa1a\xa3<f4\x92\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # shape [0, 2**64 - 1]
        b"\x93\xa1a\xa3<f4\xdd\xff\xff\xff\xff",  # 2**32 - 1 dimensions
        b"\x93\xa1a\xa2|O\x90",  # Python objects
        b"\x93\xa1a\xa3>f4\x90",  # big-endian
    ],
)
def test_hostile_directories(entry: bytes) -> None:
    """Shapes and dtypes that cannot be are refused before anything is allocated."""
    directory = b"\x92\xa0\x91" + entry
    head = b"VSA\0\1\0\0\0" + len(directory).to_bytes(4, "little") + directory
    with pytest.raises(CorruptionError):
        unpack_arrays(head + bytes(-len(head) % 8))


def test_bools_are_zero_or_one() -> None:
    """A stored bool of another value is refused, as NumPy would trust it."""
    packed = pack_arrays({"mask": np.array([True])})
    with pytest.raises(CorruptionError, match="bools"):
        unpack_arrays(packed.replace(b"\1" + bytes(7), b"\2" + bytes(7)))


def big(tmp_path: Path) -> tuple[Path, ComponentInfo, int]:
    """Three blocks of 1,000-byte rows, the middle one damaged; and a small sound array."""
    rows = np.random.default_rng(0).integers(0, 256, (190, 1000), dtype=np.uint8)
    path, info = write(tmp_path, {"codes": rows, "small": np.arange(3)})
    data = bytearray(path.read_bytes())
    start = data.index(rows[:2].tobytes())
    data[start + BLOCK_BYTES + 5] ^= 1
    path.write_bytes(data)
    return path, info, start


@pytest.mark.usefixtures("by_block")
def test_touch_verifies_only_the_blocks_of_rows(tmp_path: Path) -> None:
    """Rows of sound blocks are verified; a row that reaches into a damaged one is refused."""
    path, info, _ = big(tmp_path)
    component = Component.open(FILES, path, "test", info)
    component.touch("codes", np.array([0, 64]))
    component.touch("codes", np.array([132, 189, 0]))
    component.touch("codes", np.array([], dtype=np.int64))
    component.touch("small")
    assert component.verified == {"small"}
    for row in (65, 100, 131):
        with pytest.raises(CorruptionError, match=r"block 1 of array 'codes' in .*component0"):
            component.touch("codes", np.array([3, row]))
    with pytest.raises(CorruptionError):
        component.touch("codes")
    assert component.verify() == [f"block 1 of array 'codes' in {path} does not match its checksum"]


def test_small_arrays_are_verified_whole(tmp_path: Path) -> None:
    """The first touch of any row of a small array verifies all of it."""
    path = tmp_path / "component"
    info = write_component(RealFiles(), path, "kind", {"a": np.zeros(50_000, dtype=np.uint64)})
    component = Component.open(RealFiles(), path, "kind", info)
    component.touch("a", np.array([3]))
    assert component.verified == {"a"}


def test_the_last_blocks_are_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A touch that leaves few blocks of an array verifies these too."""
    monkeypatch.setattr("vecstore.segment.format.SMALL_BLOCKS", 1)
    path, info = write(tmp_path, {"codes": np.zeros((190, 1000), dtype=np.uint8)})
    component = Component.open(FILES, path, "test", info)
    component.touch("codes", np.array([0]))
    assert not component.verified
    component.touch("codes", np.array([70]))
    assert component.verified == {"codes"}


@pytest.mark.usefixtures("by_block")
def test_touch_remembers(tmp_path: Path) -> None:
    """A verified array is not read again, whether verified at once or block by block."""
    rows = np.zeros((190, 1000), dtype=np.uint8)
    path, info = write(tmp_path, {"codes": rows})
    memory = Memory(path.read_bytes())
    component = Component.open(memory, path, "test", info)
    for row in (0, 70, 189):
        assert not component.verified
        component.touch("codes", np.array([row]))
    assert component.verified == {"codes"}


@pytest.mark.usefixtures("by_block")
def test_spans(tmp_path: Path) -> None:
    """A span verifies every block between its ends; one that leaves the array is refused."""
    path, info, _ = big(tmp_path)

    def touch(start: int, stop: int) -> None:
        component = Component.open(FILES, path, "test", info)
        component.touch_spans("codes", np.array([start]), np.array([stop]))

    touch(0, 65)
    touch(132, 190)
    touch(190, 190)
    for start, stop in ((0, 190), (60, 70), (0, 191), (-1, 3), (5, 4)):
        with pytest.raises(CorruptionError):
            touch(start, stop)


def test_threads_share_a_component(tmp_path: Path) -> None:
    """Threads that touch at once all end with a verified array."""
    rows = np.random.default_rng(0).integers(0, 256, (4000, 1000), dtype=np.uint8)
    path, info = write(tmp_path, {"codes": rows})
    component = Component.open(FILES, path, "test", info)
    problems: list[Exception] = []

    def run(seed: int) -> None:
        try:
            for row in np.random.default_rng(seed).permutation(4000):
                component.touch("codes", np.array([row]))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert component.verified == {"codes"}


def test_a_failed_write_keeps_nothing_of_another(tmp_path: Path) -> None:
    """A component never overwrites a file that is there."""
    path, info = write(tmp_path, small())
    with pytest.raises(StorageError):
        write_component(FILES, path, "test", {})
    assert Component.open(FILES, path, "test", info).verify() == []


@settings(max_examples=60)
@given(arrays=ARRAYS, data=st.data())
def test_pieces_are_written_as_wholes(
    tmp_path_factory: pytest.TempPathFactory, arrays: Arrays, data: st.DataObject
) -> None:
    """Cut into pieces, in any order between arrays, a component has the bytes of whole arrays."""
    tmp_path = tmp_path_factory.mktemp("pieces")
    path, info = write(tmp_path, arrays)
    left = {name: np.array(array).reshape(-1) for name, array in arrays.items()}
    pieces = []
    while left:
        name = data.draw(st.sampled_from(sorted(left)))
        size = data.draw(st.integers(1, 40))
        pieces.append((name, left[name][:size]))
        left[name] = left[name][size:]
        if not len(left[name]):
            del left[name]
    told: list[int] = []
    forms = {name: Shape(array.dtype, array.shape) for name, array in arrays.items()}
    found = stream_component(FILES, tmp_path / "streamed", "test", forms, pieces, told.append)
    assert (tmp_path / "streamed").read_bytes() == path.read_bytes()
    assert (found.bytes, found.crc) == (info.bytes, info.crc)
    assert sum(told) == sum(np.asarray(array).nbytes for array in arrays.values())


def test_pieces_across_blocks(tmp_path: Path) -> None:
    """Pieces that begin and end anywhere in a block, or span some, give the blocks' checksums."""
    array = np.random.default_rng(0).integers(0, 256, 5 * BLOCK_BYTES + 17, dtype=np.uint8)
    path, info = write(tmp_path, {"a": array})
    cuts = [0, 1, 65_535, 65_536, 70_000, 200_000, 262_144, len(array)]
    pieces = [("a", array[start:stop]) for start, stop in pairwise(cuts)]
    forms = {"a": Shape(array.dtype, array.shape)}
    found = stream_component(FILES, tmp_path / "streamed", "test", forms, pieces)
    assert found.crc == info.crc
    assert (tmp_path / "streamed").read_bytes() == path.read_bytes()


def test_missing_pieces_are_found(tmp_path: Path) -> None:
    """A component with less, or more, than its arrays have is not finished."""
    forms = {"a": Shape(np.dtype(np.uint8), (10,))}
    for count in (9, 11):
        pieces = [("a", np.zeros(count, dtype=np.uint8))]
        with pytest.raises(AssertionError):
            stream_component(FILES, tmp_path / str(count), "test", forms, pieces)


def test_a_few_rows_are_read_without_what_lies_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows here and there are fetched by their blocks, neighbours at once; many are in order."""
    told: list[object] = []
    monkeypatch.setattr(format_module, "expect", lambda data, *, scattered: told.append(scattered))
    monkeypatch.setattr(format_module, "fetch", lambda data, start, stop: told.append(stop - start))
    values = np.arange(BLOCK_BYTES * 40, dtype=np.uint8).reshape(-1, 64)
    info = write_component(FILES, tmp_path / "a", "codes", {"codes": values})
    component = Component.open(FILES, tmp_path / "a", "codes", info)
    block = BLOCK_BYTES // 64  # rows of a block
    few = np.array([0, 5 * block, 6 * block + 1])
    component.expect(few)
    component.touch("codes", few)
    assert told == [True, BLOCK_BYTES, 2 * BLOCK_BYTES]
    component.expect(few)  # nothing new
    component.touch("codes", few)
    assert len(told) == 3
    component.expect(np.arange(5 * block))
    component.touch("codes", np.arange(5 * block))
    component.expect(None)
    component.touch("codes")
    assert told[3:] == [False]
    assert "codes" in component.verified
