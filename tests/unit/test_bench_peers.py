"""Peers answer through one interface, and what fails is said."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import cases
from bench.cases import Case, dense_case, nearest, token_case
from bench.data import synthetic
from bench.peers import ADAPTERS, OURS, Entry, check, entries
from bench.peers import worker as worker_module
from bench.peers.base import Index, Known, Shape, UnsupportedError, padded
from bench.peers.drive import CALLS_LEAST, PeerFailedError, Worker, take_turns
from bench.peers.vecstore_local import Vecstore
from bench.peers.worker import Session, allocated, run_callers

ROWS = 1_200


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    source = synthetic(None)
    folder = tmp_path_factory.mktemp("case")
    return dense_case(folder, "few", [source.rows(0, ROWS)], ROWS, source.queries(20))


@pytest.fixture
def ours() -> Entry:
    return next(entry for entry in entries("dense", [OURS]) if entry.known.name == OURS)


@pytest.fixture
def worker(ours: Entry, case: Case, tmp_path: Path) -> Iterator[Worker]:
    with Worker(ours, case, tmp_path / "peer", 2) as made:
        yield made


def test_adapters_are_listed_without_their_libraries() -> None:
    """Every adapter names its peers and pins what it installs, no name occurs twice."""
    every = {
        entry.known.name: entry
        for ability in ("dense", "filter", "database", "late")
        for entry in entries(ability)
    }
    assert {entry.module for entry in every.values()} == set(ADAPTERS)
    names = [
        known.name
        for module in ADAPTERS
        for known in __import__(f"bench.peers.{module}", fromlist=["PEERS"]).PEERS
    ]
    assert len(names) == len(set(names))
    for entry in every.values():
        assert all("==" in each for each in entry.environment.requirements)


def test_entries_are_chosen_by_the_beginning_of_their_names() -> None:
    """Asking for some peers gives these and vecstore itself."""
    found = [entry.known.name for entry in entries("dense", ["faiss-hnsw"])]
    assert OURS in found
    assert all(name == OURS or name.startswith("faiss-hnsw") for name in found)


def test_databases_say_whether_inserts_are_synced() -> None:
    """True, or "no: " and when; and vecstore's are, however it is configured."""
    said = {entry.known.name: entry.synced for entry in entries("database")}
    assert all(each is True or str(each).startswith("no: ") for each in said.values())
    assert all(each is True for name, each in said.items() if name.startswith(OURS))


def test_imports_are_in_no_time() -> None:
    """What is installed for a peer is imported when the peer is made."""
    for entry in [each for does in ("dense", "late") for each in entries(does)]:
        module = __import__(f"bench.peers.{entry.module}", fromlist=["PEERS"])
        made = getattr(module, entry.known.kind)
        assert made.modules or not entry.environment.requirements, entry.known.name


class Seen(Index):
    """A peer that notes what it is asked, and whose searches take no time."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.prepared: list[int] = []
        self.asked: list[list[float]] = []

    def build(self, vectors: np.ndarray) -> None: ...

    def open(self) -> None: ...

    def settings(self) -> list[dict[str, int]]:
        return [{}]

    def prepare(self, setting, threads):  # type: ignore[no-untyped-def]
        self.prepared.append(threads)

    def search(self, queries, limit, setting, below=None):  # type: ignore[no-untyped-def]
        self.asked.append([float(query.ravel()[0]) for query in queries])
        return np.zeros((len(queries), limit), dtype=np.int64)


def seen(folder: Path, *, late: bool = False) -> tuple[Session, Seen]:
    """A session with five queries, numbered, and its peer."""
    queries = np.repeat(np.arange(5, dtype=np.float32)[:, None], 2, axis=1)
    np.save(folder / "queries.npy", queries)
    if late:
        np.save(folder / "queries.lengths.npy", np.ones(5, dtype=np.int64))
    session = Session()
    session._peer = peer = Seen(folder, Shape(rows=4, dim=2, metric="dot", threads=2))
    session.case(str(folder))
    return session, peer


def test_each_of_two_callers_searches_with_one_thread(tmp_path: Path) -> None:
    """Only batches are asked of a library with as many threads as are named."""
    session, peer = seen(tmp_path)
    for batch, threads in ((False, 1), (False, 2), (True, 1), (True, 2)):
        session.time({}, 1, batch, threads, 0.0)
    assert peer.prepared == [1, 1, 1, 2]


@pytest.mark.parametrize("late", [False, True])
def test_batches_go_round_all_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """After the last query comes the first again, in batches of one size."""
    monkeypatch.setattr(worker_module, "BATCH_QUERIES", 3)
    session, peer = seen(tmp_path, late=late)
    session.time({}, 1, True, 1, 0.0)
    assert peer.asked[1:4] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


def test_what_was_opened_searches_before_it_is_timed(tmp_path: Path) -> None:
    """Each query once, one a call, as long as that does not take long; and then no more."""
    session, peer = seen(tmp_path)
    session.open()
    session.time({}, 1, True, 1, 0.0, offset=1)
    assert peer.asked[:5] == [[0], [1], [2], [3], [4]]
    assert len(peer.asked[5]) == 5
    peer.asked.clear()
    session.time({}, 1, True, 1, 0.0, offset=1)
    assert len(peer.asked[0]) == 5


def test_vecstore_is_not_opened_again_for_other_threads(tmp_path: Path, case: Case) -> None:
    """A search uses as many threads as it is told to, of one database that stays open."""
    peer = Vecstore(tmp_path, Shape(case.rows, case.dim, case.metric, 2))
    peer.create()
    database = peer.database
    rows = np.arange(case.rows)
    peer.insert(rows, np.array(case.vectors), np.zeros_like(rows), new=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vecstore.options.PARALLEL_BYTES_MIN", 1)
        patch.setattr("vecstore.search.parallel.SPAN_ROWS", 64)
        peer.finish()
        for threads in (1, 2, 1):
            peer.prepare({}, threads)
            hits = peer.collection.search(case.queries[0], exact=True, explain=True)
            assert max(stage.threads for stage in hits.explain or ()) == threads
    assert peer.database is database
    peer.close()


def test_a_worker_tells_the_versions_of_its_libraries(
    ours: Entry, case: Case, tmp_path: Path
) -> None:
    """Those that its environment requires, as they are installed."""
    session = Session()
    known, shape = ours.known, {"rows": 1, "dim": case.dim, "metric": "cosine", "threads": 1}
    asked = (ours.module, known.kind, dict(known.options), str(tmp_path), shape)
    assert session.start(*asked, requirements=["numpy==9"]) == {"numpy": np.__version__}
    assert session.start(*asked) == {}


def test_a_build_says_that_its_rows_are_new(tmp_path: Path) -> None:
    """A peer is told whether its rows can be there already; without a word, they can."""
    case = tmp_path / "case"
    case.mkdir()
    np.save(case / "vectors.npy", np.ones((4, 2), dtype=np.float32))
    np.save(case / "queries.npy", np.ones((1, 2), dtype=np.float32))
    np.save(case / "marks.npy", np.zeros(4, dtype=np.int64))
    told: list[bool] = []

    class Told(Kept):
        def insert(self, rows, vectors, marks, *, new=False):  # type: ignore[no-untyped-def]
            told.append(new)

    session = Session()
    session._peer = Told(tmp_path, Shape(rows=4, dim=2, metric="dot", threads=1))
    session.case(str(case))
    session.insert("vectors", 0, 4, 2, new=True)
    session.insert("vectors", 0, 2, 2)
    assert told == [True, True, False]


def test_a_built_case_is_new(worker: Worker, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build` inserts as new rows."""
    asked: list[dict[str, object]] = []
    ask = worker.ask

    def noted(do: str, **request: object) -> object:
        asked.append({"do": do, **request})
        return ask(do, **request)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "ask", noted)
    worker.build(case)
    assert [each["new"] for each in asked if each["do"] == "insert"] == [True]


def test_vecstore_does_what_an_adapter_promises(ours: Entry, case: Case, tmp_path: Path) -> None:
    """The check of adapters passes on vecstore's own, reopened and changed."""
    said = list(check.checked(ours, dataclasses.replace(case), tmp_path / "peer"))
    assert said[-1] == "reopened"
    assert len(said) == 5


def test_the_check_of_adapters_finds_wrong_answers(ours: Entry, case: Case, tmp_path: Path) -> None:
    """A peer whose answers are not the truth does not pass the check."""
    wrong = dataclasses.replace(case, truth=(case.truth + 1) % case.rows)
    with pytest.raises(AssertionError, match="recall is"):
        list(check.checked(ours, wrong, tmp_path / "peer"))


def test_an_error_of_a_peer_is_told(worker: Worker) -> None:
    """What a peer raises, and what it is asked too early, comes back as PeerFailedError."""
    with pytest.raises(PeerFailedError, match="settings: "):
        worker.ask("settings", nonsense=1)
    worker.ask("create")
    with pytest.raises(PeerFailedError, match="insert: "):
        worker.ask("insert", source="nothing", start=0, stop=1, batch=1)
    assert worker.ask("measure")["disk"] > 0  # it still answers


def test_a_peer_that_cannot_be_loaded_is_told(ours: Entry, case: Case, tmp_path: Path) -> None:
    """A missing adapter or class is an error with its name."""
    absent = dataclasses.replace(ours, module="no_such_adapter")
    with pytest.raises(PeerFailedError, match="no_such_adapter"):
        Worker(absent, case, tmp_path / "a", 1)
    known = Known("x", "NoSuchClass")
    with pytest.raises(PeerFailedError, match="NoSuchClass"):
        Worker(dataclasses.replace(ours, known=known), case, tmp_path / "b", 1)


def test_a_peer_that_takes_too_long_is_stopped(worker: Worker, case: Case) -> None:
    """After the time limit the process is gone, and the error says how long it was."""
    worker.build(case)
    asked = {"setting": {"plan": "exact"}, "limit": 10, "batch": False, "threads": 1}
    begun = time.monotonic()
    with pytest.raises(PeerFailedError, match="time: stopped after 0 s"):
        worker.ask("time", limit_s=0.2, seconds=30, **asked)
    assert time.monotonic() - begun < 10


def test_a_peer_that_ended_is_told(worker: Worker) -> None:
    """A killed process is an error, not a hang."""
    worker._process.kill()
    with pytest.raises(PeerFailedError, match="ended with -9"):
        worker.ask("settings")


def test_turns_are_taken(worker: Worker, case: Case) -> None:
    """Each side answers once a round, with positive figures in order."""
    built = worker.build(case)
    assert built["build_s"] > 0
    assert built["disk"] >= allocated(worker.folder) // 2
    asked = {"setting": {"plan": "default"}, "limit": 10, "seconds": 0.05}
    single = asked | {"batch": False, "threads": 2}
    batch = asked | {"batch": True, "threads": 1}
    one, many = take_turns([(worker, single), (worker, batch)], rounds=2)
    assert len(one) == len(many) == 2
    for answer in one:
        assert answer["qps"] > 0
        assert len(answer["ms"]) == answer["calls"] > 0
    assert all(answer["qps"] > 0 and "ms" not in answer for answer in many)
    assert sum(answer["calls"] for answer in one) >= CALLS_LEAST


def test_failing_calls_end_the_measurement() -> None:
    """An exception in any of the threads is raised to whoever asked."""

    def call(turn: int) -> int:
        if turn == 3:
            raise ValueError("no")
        return 1

    with pytest.raises(ValueError, match="no"):
        run_callers(call, callers=2, seconds=0.2)


def test_requests_before_start_are_refused() -> None:
    """A session without a peer says what comes first."""
    with pytest.raises(RuntimeError, match="start comes first"):
        Session().create()


class Kept(Index):
    def build(self, vectors: np.ndarray) -> None:
        self.built = vectors

    def open(self) -> None: ...

    def settings(self) -> list[dict[str, int]]:
        return [{}]

    def search(self, queries, limit, setting, below=None):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_an_index_gets_its_rows_once(tmp_path: Path) -> None:
    """Rows inserted in any order are built in theirs; afterwards there are no inserts."""
    peer = Kept(tmp_path, Shape(rows=3, dim=2, metric="dot", threads=1))
    peer.create()
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    marks = np.zeros(3, dtype=np.int64)
    peer.insert(np.array([2, 0]), vectors[[2, 0]], marks[:2])
    peer.insert(np.array([1]), vectors[[1]], marks[:1])
    peer.finish()
    np.testing.assert_array_equal(peer.built, vectors)
    with pytest.raises(UnsupportedError, match="no inserts"):
        peer.insert(np.array([0]), vectors[[0]], marks[:1])
    with pytest.raises(UnsupportedError, match="no delete"):
        peer.delete(np.array([0]))


def test_short_results_are_padded() -> None:
    """Missing rows are -1, and too many are cut."""
    np.testing.assert_array_equal(padded([[5], [], [1, 2, 3]], 2), [[5, -1], [-1, -1], [1, 2]])


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_truth_is_the_sorted_products(rows: int, limit: int, block: int, seed: int) -> None:
    """In blocks of any size: highest product first, then the lower row, and only allowed rows."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, size=(rows, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, size=(4, 3)).astype(np.float32)
    allowed = rng.random(rows) < 0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "BLOCK_ROWS", block)
        plain = nearest(vectors, queries, limit)
        some = nearest(vectors, queries, limit, allowed)
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")
    for found, ranked in ((plain, order), (some, [row[allowed[row]] for row in order])):
        for got, wanted in zip(found, ranked, strict=True):
            kept = wanted[:limit]
            np.testing.assert_array_equal(got[: len(kept)], kept)
            assert (got[len(kept) :] == -1).all()


def test_cases_hold_what_they_were_given(tmp_path: Path) -> None:
    """Documents of several vectors come back as they were; marks lie in their range."""
    rng = np.random.default_rng(0)
    documents = [rng.standard_normal((count, 4), dtype=np.float32) for count in (3, 1, 2)]
    made = token_case(tmp_path, "t", documents, documents[:1], np.zeros((1, 3), dtype=np.int64))
    session = Session()
    session.case(str(made.folder))
    assert len(session._queries) == 1
    np.testing.assert_array_equal(session._queries[0], documents[0])
    assert made.rows == 3
    assert ((made.marks >= 0) & (made.marks < cases.MARKS)).all()
