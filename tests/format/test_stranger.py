"""FORMAT.md is enough: a reader written from it alone reads what vecstore wrote."""

from __future__ import annotations

import json
import math
import shutil
import struct
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.format import stranger, stranger_codes
from tests.format.kept import FOLDER
from tests.format.readymade import fingerprint
from vecstore import options
from vecstore.codec import build_codec, parse_spec, train_codec
from vecstore.storage import failpoints


def test_component() -> None:
    """The drawn header, directory, blocks and checksums are those of the kept component."""
    path = FOLDER / "component"
    own = struct.unpack("<I", path.read_bytes()[-4:])[0]
    arrays = stranger.component(path, "golden", path.stat().st_size, own)
    assert arrays["seqs"].tolist() == [1, 2, 2**63]
    assert arrays["one"] == 7


def test_packed() -> None:
    """The drawn header and directory are those of the kept packed arrays."""
    arrays = stranger.unpacked((FOLDER / "packed").read_bytes())
    assert arrays["values"].tolist() == [[0.5, -1.25], [math.inf, 65504.0]]


def test_values() -> None:
    """Stored values have the drawn fields in the drawn order."""
    segment = [
        1,
        3,
        1,
        2**63,
        [["rows", 1000, 0xDEADBEEF]],
        [["text", 384, "cosine", 2, "presence-0", [["int8", "codes-0-0", 4]]]],
        [["year", "int", "column-0"]],
        10**15,
    ]
    manifest = stranger.value((FOLDER / "manifest").read_bytes())
    assert manifest == [[segment], 2**63 + 1, 2]
    collection = stranger.value((FOLDER / "collection").read_bytes())
    fields = [["text", 384, "cosine", ["bits2", "float16"]]]
    assert collection == [0, [fields, [["tags", "list[keyword]"]], 3600.5]]
    codec = stranger.value((FOLDER / "codec").read_bytes())
    assert codec == [4, 2, "text", "int8", 384, "cosine", 1000, ["x", 10, 0]]
    alteration = stranger.value((FOLDER / "alteration").read_bytes())
    assert alteration == ["text", ["bits1", "float16"], [[7, segment]]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [64, 100])
def test_bits(bits: int, dim: int) -> None:
    """Rotated and unpacked as drawn, codes have the drawn scale, error and squared length."""
    rng = np.random.default_rng(bits)
    x = rng.standard_normal((20, dim)).astype(np.float32)
    codec = build_codec(parse_spec(f"bits{bits}", dim), dim, "l2", {})
    codes = codec.pack(codec.encode(x))
    size = -(-dim // 64) * 64
    for row in (0, 15, 16, 19):
        turned = stranger_codes.rotated(x[row].astype(np.float64))
        y = stranger_codes.integers(codes, bits, row) - (2**bits - 1) / 2
        norm, dot = turned @ turned, turned @ y
        assert norm == pytest.approx(x[row] @ x[row], rel=1e-5)
        assert codes["norm"][row] == pytest.approx(norm, rel=1e-5)
        assert codes["scale"][row] == pytest.approx(norm / dot, rel=1e-5)
        tangent = math.sqrt(norm * (y @ y) / dot**2 - 1)
        error = (codes["error"][row : row + 1].astype(np.uint32) << 16).view(np.float32)[0]
        expected = math.sqrt(norm / (size - 1)) * tangent
        assert expected * 0.999 <= error <= expected * 1.01


def test_int8() -> None:
    """Decoded as drawn, codes are within half a step of the vectors inside their ranges."""
    x = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    low, step = np.full(8, -4, dtype=np.float32), np.full(8, 8 / 255, dtype=np.float32)
    codec = build_codec(parse_spec("int8", 8), 8, "l2", {"low": low, "step": step})
    codes = codec.pack(codec.encode(x))
    decoded = low + step * codes["codes"]
    assert np.abs(decoded - x).max() <= step[0] * 0.501
    assert codes["norm"].tolist() == pytest.approx((decoded**2).sum(axis=1), rel=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize(
    "text",
    [
        "bits1",
        "bits2",
        "bits4",
        "bits8",
        "int8",
        "float16",
        "prefix40/bits4",
        "pca9/int8",
        "lvq4",
        "lvq8",
        "lvq4x4",
        "pca9/lvq4x8",
        "sign",
        "bebr1",
        "bebr2",
        "prefix40/bebr4",
    ],
)
def test_decoding(text: str, metric: vs.Metric) -> None:
    """Vectors that are brought back as drawn are those that vecstore brings back."""
    dim = 100
    x = np.random.default_rng(0).standard_normal((20, dim)).astype(np.float32)
    x[3] = 0
    if metric == "cosine":
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    spec = parse_spec(text, dim)
    trained = train_codec(spec, dim, metric, x, 0) if spec.trained else {}
    codec = build_codec(spec, dim, metric, trained)
    codes = codec.encode(x)
    found = stranger_codes.decoded(text, (dim, metric), trained, codec.pack(codes))
    assert np.abs(found - codec.decode(codes)).max() < 1e-4


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the kept database."""
    folder = tmp_path_factory.mktemp("kept")
    with zipfile.ZipFile(FOLDER / "database.zip") as archive:
        archive.extractall(folder)
    return folder


def now() -> int:
    return int(time.time() * 1_000_000)


def test_whole_database(kept: Path) -> None:
    """Every record of the kept database is found, as vecstore says it is, and no other."""
    answers = json.loads((FOLDER / "database.json").read_text(encoding="utf-8"))
    expected = {record["id"]: record for record in answers["records"] if record}
    found = stranger.Database(kept).collection("items").records(now())
    assert [record.seq for record in found] == sorted(record.seq for record in found)
    assert {record.id for record in found} == expected.keys()
    for record in found:
        assert record.payload == expected[record.id]["payload"]
        assert record.vectors == expected[record.id]["vectors"]
        assert record.columns.keys() == {"kind", "size", "price", "fresh", "tags", "at"}
        for name in ("kind", "size", "price", "fresh", "tags"):
            assert record.columns[name] == record.payload.get(name)
        at = record.payload.get("at")
        seconds = record.columns["at"] and record.columns["at"] / 1_000_000
        shown = seconds and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
        assert shown == at


def test_ids_and_counts(kept: Path) -> None:
    """Ids lead to all records that were not deleted, and only to them; expired ones are counted."""
    database = stranger.Database(kept)
    collection = database.collection("items")
    written = collection.records(0)
    assert collection.ids == {record.id: record.seq for record in written}
    assert collection.live == len(written) == len(collection.records(now())) + 1
    assert [record.expires > now() for record in written if record.expires] == [False, True]
    assert len(database.spaces["meta"][b"identity"]) == 16
    assert not database.spaces["jobs"]
    folders = {f"{segment[0]:016x}" for segment in collection.segments}
    assert folders == {path.name for path in (kept / "segments").iterdir()}
    codecs = {f"{int.from_bytes(key, 'big'):016x}" for key in database.spaces["codecs"]}
    assert codecs == {path.name for path in (kept / "codecs").iterdir()}


def test_every_representation(kept: Path) -> None:
    """Each representation in the kept segment gives vectors near those of the finest."""
    collection = stranger.Database(kept).collection("items")
    [info] = collection.segments
    folder = stranger.Segment(collection, info)
    errors: dict[str, list[float]] = {}
    for field in info[5]:
        exact = folder.vectors(field, field[5][-1])
        for representation in field[5]:
            found = folder.vectors(field, representation)
            assert found.shape == exact.shape == (field[3], field[1])
            error = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
            errors.setdefault(representation[0], []).append(float(error.mean()))
    limits = {"bits8": 0.02, "int8": 0.05, "bits4": 0.2, "bits2": 0.5, "bits1": 0.8}
    limits |= {"float16": 1e-3, "float32": 0, "pca8/float16": 1.0, "prefix8/bits4": 1.3}
    assert errors.keys() == limits.keys()
    for spec, found_errors in errors.items():
        assert len(found_errors) == 3
        assert max(found_errors) <= limits[spec], spec


def test_linked_components(kept: Path) -> None:
    """The kept segment was altered: one ladder has a component whose number is out of order."""
    [info] = stranger.Database(kept).collection("items").segments
    names = [file for field in info[5] for _, file, _ in field[5]]
    assert max(Counter(names).values()) == 1
    assert names != sorted(names)


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes in the order of lists are those of the rows that it says, near their centroid."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", 1)
    schema = vs.Schema(vectors=[vs.Vector("v", 64, "cosine", ("bits2", "int8", "bits8"))])
    vectors = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with vs.open(tmp_path, options=vs.Options(map_bytes=1 << 20, background=False)) as database:
        collection = database.create_collection("items", schema)
        collection.upsert(range(300), vectors)
        collection.flush()
        collection.compact()
    found = stranger.Database(tmp_path).collection("items")
    [info] = found.segments
    folder, [field] = stranger.Segment(found, info), info[5]
    limits = {"bits2": 0.5, "int8": 0.05, "bits8": 0.02}
    for spec, file, codec in field[5]:
        assert file.startswith("listed-")
        errors = np.linalg.norm(folder.vectors(field, [spec, file, codec]) - vectors, axis=1)
        assert errors.mean() < limits[spec]
        arrays = folder.component(file, "listed")
        offsets, order = arrays["lists/offsets"].tolist(), arrays["lists/order"]
        assert (offsets[0], offsets[-1]) == (0, 300)
        assert sorted(order.tolist()) == list(range(300))
    names = {
        name.removeprefix("lists/centroids/"): name for name in arrays if "/centroids/" in name
    }
    centroids = stranger_codes.decoded(
        "bits8", (64, "cosine"), {}, {k: arrays[v] for k, v in names.items()}
    )
    nearest = (vectors @ centroids.T).argmax(axis=1)
    own = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    assert (nearest[order] == own).mean() > 0.95


def test_an_alteration_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unfinished alteration has made is found through `jobs`, and links what stays."""

    def stop(label: str) -> None:
        if label == "alter.built":
            raise KeyboardInterrupt

    schema = vs.Schema(vectors=[vs.Vector("v", 16, "dot", ("bits2", "float32"))])
    with vs.open(tmp_path, options=vs.Options(map_bytes=1 << 20, background=False)) as database:
        collection = database.create_collection("items", schema)
        vectors = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
        collection.upsert(range(20), vectors)
        collection.flush()
        monkeypatch.setattr(failpoints, "hook", stop)
        with pytest.raises(KeyboardInterrupt):
            collection.alter("v", ("bits1", "float32"))
        monkeypatch.undo()
        path = tmp_path / "copy"
        shutil.copytree(tmp_path, path, ignore=shutil.ignore_patterns("copy", "*lock*"))
    found = stranger.Database(path)
    [job] = found.spaces["jobs"].values()
    field, ladder, [[old, built]], pruning, pooling = stranger.value(job)
    assert (pruning, pooling) == (None, None)
    assert (field, ladder) == ("v", ["bits1", "float32"])
    collection = found.collection("items")
    assert [segment[0] for segment in collection.segments] == [old]
    assert len(collection.records(0)) == 20
    folders = [stranger.Segment(collection, info) for info in (*collection.segments, built)]
    shared = folders[0].files.items() & folders[1].files.items()
    assert {name for name, _ in shared} == {"rows", "payloads", "codes-0-1"}
    [made] = [info for info in built[5][0][5] if info[0] == "bits1"]
    directions = np.sign(folders[1].vectors(built[5][0], made))
    assert (directions == np.sign(vectors)).mean() > 0.7


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("spec", ["bits1", "bits8", "prefix8/bits2", "int8", "pca9/int8"])
def test_ready_made_codes(tmp_path: Path, spec: str, metric: vs.Metric) -> None:
    """Codes in the write buffer are read as drawn, and their codec has the drawn fingerprint."""
    form = (20, metric)
    schema = vs.Schema(vectors=[vs.Vector("v", *form, [spec])])
    vectors = np.random.default_rng(0).standard_normal((20, 20)).astype(np.float32)
    with vs.open(tmp_path, options=vs.Options(map_bytes=1 << 20, background=False)) as database:
        collection = database.create_collection("items", schema)
        collection.upsert(range(100, 120), vectors)
        collection.flush()
        codec = collection.codec("v")
        collection.upsert(range(20), {"v": codec.encode(vectors)})
        found = {item.id: item.vectors["v"] for item in collection.scroll(with_vectors=True)}
    assert fingerprint(spec, form, codec.params) == codec.fingerprint
    records = stranger.Database(tmp_path).collection("items").records(0)
    assert len(records) == 40
    for record in records:
        assert np.abs(found[record.id] - record.vectors["v"]).max() < 1e-4
