"""What the hooks for others' benchmarks do, as far as it is seen without those benchmarks."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore.types import Float32, Int64

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench.cases import nearest
from bench.data import synthetic
from bench.harness import ann_run, check
from bench.harness.mteb_adapter import VecstoreIndex
from bench.harness.tree import lay_tree, needed
from bench.harness.vectordbbench import drop_in
from bench.harness.vectordbbench.store import Store, at_least, with_label

ROWS, QUERIES, LIMIT = 600, 20, 10
VECTORS: Float32 = synthetic(None).rows(0, ROWS)
ASKED: Float32 = synthetic(None).queries(QUERIES)
TRUTH: Int64 = nearest(VECTORS, ASKED, LIMIT)


def test_a_copied_tree_is_imported_alone(tmp_path: Path) -> None:
    """The copy brings its own kernels, and another interpreter needs nothing else of ours."""
    tree = lay_tree(tmp_path / "tree")
    code = (
        "import vecstore.database, vecstore.kernels._kernels as k;"
        "print(vecstore.__file__); print(k.__file__)"
    )
    # Without the .pth files of this interpreter, which would find vecstore where it is installed.
    places = [str(tree), *(place for place in sys.path if place.endswith("-packages"))]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.startswith(str(tree)) for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 2


def test_needed_are_the_requirements_without_extras() -> None:
    """What pip is asked for is what vecstore requires, and none of its extras."""
    names = {line.partition(">")[0].partition("<")[0].partition("!")[0] for line in needed()}
    assert {"numpy", "lmdb", "msgspec"} <= names
    assert not any("extra" in line or "grpc" in line for line in needed())


@pytest.fixture
def algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Our module, in a package of the shape of ann-benchmarks."""
    monkeypatch.syspath_prepend(str(ann_run.lay_stand_in(tmp_path)))
    yield importlib.import_module("ann_benchmarks.algorithms.vecstore.module")
    for name in [each for each in sys.modules if each.split(".")[0] == "ann_benchmarks"]:
        del sys.modules[name]


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_definitions_are_asked_as_by_the_runner(algorithm: ModuleType, metric: str) -> None:
    """Each way of a definition finds the nearest, more with more kept, all with exact search."""
    definition = {
        "base_args": ["@metric"],
        "constructor": "Vecstore",
        "module": "ann_benchmarks.algorithms.vecstore",
        "run_groups": {
            "coarse": {"args": [["bits1 float16"]], "query_args": [["default", 1, 64]]},
            "exact": {"args": [["float32"]], "query_args": [["exact"]]},
        },
    }
    vectors = VECTORS * np.linspace(0.5, 1.5, ROWS, dtype=np.float32)[:, None]
    rows = ann_run.ran([definition], metric, vectors, ASKED)
    recalls = {row["how"]: row["recall"] for row in rows}
    assert [row["how"] for row in rows] == ["default", "1", "64", "exact"]
    assert recalls["1"] < recalls["64"] == recalls["exact"] == 1
    assert recalls["default"] > 0.9
    assert all(row["recall"] == row["batch recall"] for row in rows)


def test_every_definition_can_be_made(algorithm: ModuleType) -> None:
    """config.yml names our class, and arguments that it takes."""
    yaml = pytest.importorskip("yaml")
    text = (ann_run.HERE / "config.yml").read_text(encoding="utf-8")
    (definition,) = yaml.safe_load(text)["float"]["any"]
    assert definition["module"] == "ann_benchmarks.algorithms.vecstore"
    for group in definition["run_groups"].values():
        ((ladder,),), (ways,) = group["args"], group["query_args"]
        made = getattr(algorithm, definition["constructor"])("angular", ladder)
        vs.Vector("point", 384, "cosine", made.ladder)
        for way in ways:
            made.set_query_arguments(way)
            assert str(way) in str(made)


def test_algorithm_refuses_what_it_does_not_know(algorithm: ModuleType, tmp_path: Path) -> None:
    """A metric or a way to ask that does not exist is an error, not another one."""
    with pytest.raises(ValueError, match="hamming"):
        algorithm.Vecstore("hamming", "bits2 float16")
    with pytest.raises(ValueError, match="thorough"):
        algorithm.Vecstore("angular", "bits2 float16").set_query_arguments("thorough")


def test_done_leaves_nothing(algorithm: ModuleType, tmp_path: Path) -> None:
    """The database is counted while it is there, and removed at the end."""
    made = algorithm.Vecstore("angular", "bits2 float16")
    assert made.get_memory_usage() == 0
    made.fit(VECTORS)
    assert made.get_memory_usage() * 1024 > VECTORS.nbytes / 2
    folder = made._folder
    made.done()
    assert not folder.exists()
    assert made.get_memory_usage() == 0


def filled(store: Store) -> Store:
    """A store with rows, of which each tenth has the label "it's"."""
    store.create(VECTORS.shape[1], "cosine", ("bits2", "float16"), labels=True)
    store.open()
    labels = ["it's" if row % 10 == 0 else "other" for row in range(ROWS)]
    for start in range(0, ROWS, 200):
        part = slice(start, start + 200)
        store.insert(VECTORS[part].tolist(), range(start, start + 200), labels[part])
    store.compact()
    return store


def check_searches(store: Store) -> None:
    """The store finds what is near, with and without filters and in each way."""
    for asked in ({}, {"keep": 16}, {"exact": True}):
        found = np.array([store.search(query.tolist(), LIMIT, **asked) for query in ASKED])
        assert (found == TRUTH).mean() > 0.9
    filters = {at_least(540): np.arange(ROWS) >= 540, with_label("it's"): np.arange(ROWS) % 10 == 0}
    for where, passing in filters.items():
        truth = nearest(VECTORS, ASKED, LIMIT, passing)
        found = np.array([store.search(query, LIMIT, where=where) for query in ASKED])
        assert passing[found].all()
        assert (found == truth).mean() > 0.9


def test_store_embedded(tmp_path: Path) -> None:
    """Another copy of the store reads what one wrote, and `create` drops what was there."""
    place: dict[str, Any] = {"path": str(tmp_path / "db"), "address": None, "collection": "c"}
    store = filled(Store(**place))
    check_searches(store)
    store.close()
    copied: Store = pickle.loads(pickle.dumps(Store(**place)))  # noqa: S301
    copied.open()
    check_searches(copied)
    copied.close()
    copied.create(VECTORS.shape[1], "cosine", (), labels=False)
    copied.open()
    assert copied.search(ASKED[0], LIMIT) == []
    copied.close()


def test_store_on_a_server(tmp_path: Path) -> None:
    """The same over gRPC."""
    pytest.importorskip("grpc")
    from vecstore_server.app import Server

    with vs.open(tmp_path / "db") as database:
        server = Server(database, port=0)
        server.start()
        try:
            store = filled(Store(path=None, address=server.address, collection="c"))
            check_searches(store)
            store.close()
        finally:
            server.stop()


def test_store_wants_one_place() -> None:
    """A path or an address, not both and not none."""
    for path, address in ((None, None), ("db", "localhost:1")):
        with pytest.raises(ValueError, match="one of"):
            Store(path=path, address=address, collection="c")


CLIENTS = f"""class DB(Enum):
{drop_in.MEMBER}
    def init_cls(self):
{drop_in.FIRST}            return 1
    def config_cls(self):
{drop_in.FIRST}            return 2
    def case_config_cls(self):
{drop_in.FIRST}            return 3
"""


def test_drop_in_changes_both_lists(tmp_path: Path) -> None:
    """The client is copied and listed with its three classes; a second time is refused."""
    clients, commands = tmp_path / "backend/clients/__init__.py", tmp_path / "cli/vectordbbench.py"
    for path, text in ((clients, CLIENTS), (commands, f"{drop_in.COMMANDS}\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    drop_in.drop_in(tmp_path)
    listed = clients.read_text(encoding="utf-8")
    compile(listed, "clients", "exec")
    assert 'Vecstore = "Vecstore"' in listed
    bodies = listed.split("    def ")[1:]
    kinds = ("Vecstore", "VecstoreConfig", "VecstoreCaseConfig")
    for body, kind in zip(bodies, kinds, strict=True):
        assert f"return {kind}\n" in body
    assert "vecstore.cli" in commands.read_text(encoding="utf-8")
    assert {path.name for path in (clients.parent / "vecstore").iterdir()} == set(drop_in.CLIENT)
    with pytest.raises(drop_in.LayoutError, match="already"):
        drop_in.drop_in(tmp_path)


def test_drop_in_leaves_another_layout_alone(tmp_path: Path) -> None:
    """Where the package is laid out otherwise, nothing is written."""
    clients, commands = tmp_path / "backend/clients/__init__.py", tmp_path / "cli/vectordbbench.py"
    for path, text in ((clients, CLIENTS), (commands, "from . import cli\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    with pytest.raises(drop_in.LayoutError, match="commands"):
        drop_in.drop_in(tmp_path)
    assert clients.read_text(encoding="utf-8") == CLIENTS
    with pytest.raises(drop_in.LayoutError, match="clients"):
        drop_in.with_client(CLIENTS.replace(drop_in.FIRST, "", 1))


def test_index_of_mteb_searches(tmp_path: Path) -> None:
    """Documents added in parts are found with falling scores, and `clear` leaves nothing."""
    index = VecstoreIndex(folder=tmp_path)
    with pytest.raises(ValueError, match="add_documents"):
        index.search(ASKED, LIMIT, similarity)
    for start in (0, 400):
        part = VECTORS[start : start + 400]
        index.add_documents(part, [f"d{start + row}" for row in range(len(part))])
    scores, places = index.search(ASKED, LIMIT, similarity)
    assert (np.array(places) == TRUTH).mean() > 0.9
    assert all(each == sorted(each, reverse=True) for each in scores)
    assert scores[0][0] == pytest.approx(float(ASKED[0] @ VECTORS[places[0][0]]), abs=2e-3)
    all_of_them, _ = index.search(ASKED[:1], 10 * ROWS, similarity)
    assert len(all_of_them[0]) == ROWS
    index.clear()
    assert list(tmp_path.iterdir()) == []
    index.add_documents(VECTORS[:5], list("abcde"))
    assert index.search(VECTORS[3:4], 1, similarity)[1] == [[3]]
    index.clear()


def test_index_of_mteb_reranks(tmp_path: Path) -> None:
    """Given documents come in the order of the encoder's scores, as places among those given."""
    index = VecstoreIndex(folder=tmp_path)
    index.add_documents(VECTORS, [f"d{row}" for row in range(ROWS)])
    given = {"q0": [f"d{row}" for row in (7, *TRUTH[0][::-1])], "q1": []}
    scores, places = index.search(
        ASKED[:2], 3, similarity, top_ranked=given, query_idx_to_id={0: "q0", 1: "q1"}
    )
    assert [given["q0"][place] for place in places[0]] == [f"d{row}" for row in TRUTH[0][:3]]
    assert (len(scores[0]), scores[1], places[1]) == (3, [], [])
    with pytest.raises(ValueError, match="query_idx_to_id"):
        index.search(ASKED, 3, similarity, top_ranked=given)
    index.clear()


def similarity(one: Any, other: Any) -> Any:
    """Inner products, as an encoder of mteb scores."""
    return one @ other.T


def test_failed_harness_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a harness said last is printed, the others still run, and the exit status is 1."""
    monkeypatch.setattr(check, "python_of", lambda _: sys.executable)

    def fails(folder: Path, data: Path | None, rows: int) -> Iterator[str]:
        yield "begun"
        check.run("mteb", ["-c", "raise SystemExit('no luck')"], folder)

    def works(folder: Path, data: Path | None, rows: int) -> Iterator[str]:
        check.run("mteb", ["-c", "import vecstore, bench"], folder)
        yield f"{rows} rows"

    monkeypatch.setattr(check, "CHECKS", {"mteb": fails, "vectordbbench": works})
    monkeypatch.setattr(sys, "argv", ["check", "mteb", "vectordbbench", "--rows", "5"])
    assert check.main() == 1
    said = capsys.readouterr().out
    assert "FAILED: ended with 1:\nno luck" in said
    assert "5 rows" in said
