"""Background work: lanes, pauses, the limit on bytes, failures, the end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, active_count, current_thread
from threading import enumerate as threads

import pytest

from vecstore.errors import ClosedError, StorageError
from vecstore.ingest import jobs as module
from vecstore.ingest.jobs import Jobs, JobStopped, Task

LONG_S = 10.0


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Background work that is closed after the test."""
    found = Jobs()
    yield found
    found.close()


class Endless:
    """Work that goes on until it is ended, and says what happened."""

    def __init__(self) -> None:
        self.begun = Event()
        self.calls = 0
        self.stopped = False

    def __call__(self, pace: Task) -> None:
        self.begun.set()
        try:
            while True:
                time.sleep(0.001)
                pace(1)
                self.calls += 1
        except JobStopped:
            self.stopped = True
            raise

    def count_for(self, seconds: float) -> int:
        before = self.calls
        time.sleep(seconds)
        return self.calls - before


def fail(error: BaseException) -> Callable[[Task], None]:
    """Work that raises."""

    def run(_: Task) -> None:
        raise error

    return run


def test_work_of_a_lane_runs_in_order_on_one_thread(jobs: Jobs) -> None:
    """Jobs of one lane never run side by side, and run in the order they were submitted."""
    order: list[int] = []
    names: set[str] = set()

    def work(number: int) -> Callable[[Task], None]:
        def run(_: Task) -> None:
            names.add(current_thread().name)
            order.append(number)
            time.sleep(0.002)
            order.append(number)

        return run

    tasks = [jobs.submit("compact", f"c{number}", work(number)) for number in range(5)]
    assert all(jobs.wait(task) for task in tasks)
    assert order == [number for number in range(5) for _ in range(2)]
    assert names == {"vecstore-work"}
    assert jobs.listed() == []


def test_a_flush_does_not_wait_for_a_compaction(jobs: Jobs) -> None:
    """The two lanes run side by side."""
    endless = Endless()
    jobs.submit("compact", "items", endless)
    assert jobs.wait(jobs.submit("flush", "items", lambda pace: pace(1)))
    assert endless.begun.wait(LONG_S)
    assert [job.state for job in jobs.listed()] == ["running"]


def test_what_is_queued_already_is_not_queued_again(jobs: Jobs) -> None:
    """A second submit of one kind and collection gives the job that waits, not one that runs."""
    first = jobs.submit("compact", "items", running := Endless())
    assert running.begun.wait(LONG_S)
    second = jobs.submit("compact", "items", fail(AssertionError()))
    assert second is not first
    assert jobs.submit("compact", "items", fail(AssertionError())) is second
    assert jobs.submit("expire", "items", fail(AssertionError())) is not second
    assert jobs.submit("compact", "others", fail(AssertionError())) is not second


def test_idle_lanes_have_no_thread(jobs: Jobs) -> None:
    """A thread starts with the first job and ends with the last."""
    before = active_count()
    for _ in range(3):
        assert jobs.wait(jobs.submit("expire", "items", lambda pace: pace(1)))
    for _ in range(1000):
        if active_count() == before:
            return
        time.sleep(0.001)
    pytest.fail(f"threads remain: {threads()}")


def test_pause_takes_effect_at_the_next_chunk(jobs: Jobs) -> None:
    """Within 100 ms of pause() a job writes nothing more, until resume()."""
    endless = Endless()
    jobs.submit("compact", "items", endless)
    assert endless.begun.wait(LONG_S)
    jobs.pause()
    time.sleep(0.1)
    assert endless.count_for(0.1) == 0
    assert [job.state for job in jobs.listed()] == ["paused"]
    jobs.resume()
    time.sleep(0.1)
    assert endless.count_for(0.1) > 0
    assert [job.state for job in jobs.listed()] == ["running"]


def test_pause_lets_a_flush_end_and_starts_none(jobs: Jobs) -> None:
    """A flush that has begun is not held up, as it holds a lock; one that waits is."""
    go = Event()

    def flush(pace: Task) -> None:
        assert go.wait(LONG_S)
        pace(1)

    under_way = jobs.submit("flush", "items", flush)
    while under_way.state == "queued":
        time.sleep(0.001)
    jobs.pause()
    waiting = jobs.submit("flush", "items", lambda pace: pace(1))
    go.set()
    assert jobs.wait(under_way)
    time.sleep(0.05)
    assert waiting.state == "queued"
    assert [job.state for job in jobs.listed()] == ["paused"]
    jobs.resume()
    assert jobs.wait(waiting)


def test_limit_on_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane "work" writes no more bytes in a second than it may; flushes are not slowed."""
    monkeypatch.setattr(module, "REST_SHARE", 0)
    jobs = Jobs(bytes_per_s=10_000)

    def write(pace: Task) -> None:
        for _ in range(20):
            pace(100)

    started = time.monotonic()
    assert jobs.wait(jobs.submit("flush", "items", write))
    assert time.monotonic() - started < 0.1
    tasks = [jobs.submit("compact", name, write) for name in ("a", "b")]
    assert all(jobs.wait(task) for task in tasks)
    assert 0.4 <= time.monotonic() - started < 1.0
    jobs.close()


def test_work_rests_between_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of the lane "work" rests for a share of the time that each chunk took."""
    monkeypatch.setattr(module, "REST_SHARE", 1.0)
    jobs = Jobs()

    def write(pace: Task) -> None:
        for _ in range(5):
            time.sleep(0.02)
            pace(1)

    started = time.monotonic()
    assert jobs.wait(jobs.submit("compact", "items", write))
    assert time.monotonic() - started >= 0.2
    jobs.close()


def test_failed_job_stays_listed_until_one_succeeds(jobs: Jobs) -> None:
    """A failure is listed with its reason, raised by wait(), counted, and ended by a success."""
    for times in (1, 2):
        with pytest.raises(StorageError, match="no space"):
            jobs.wait(jobs.submit("compact", "items", fail(StorageError("no space"))))
        failure = jobs.find("compact", "items")
        assert failure is not None
        assert failure.state == "failed"
        assert failure.failures == times
    with pytest.raises(ZeroDivisionError):
        jobs.wait(jobs.submit("flush", "items", fail(ZeroDivisionError("x"))))
    assert jobs.wait(jobs.submit("compact", "others", lambda pace: None))
    assert [(job.kind, job.state, job.message) for job in jobs.listed()] == [
        ("compact", "failed", "no space"),
        ("flush", "failed", "ZeroDivisionError: x"),
    ]
    assert jobs.wait(jobs.submit("compact", "items", lambda pace: None))
    assert [job.kind for job in jobs.listed()] == ["flush"]
    assert jobs.find("compact", "items") is None
    jobs.forget("flush", "items")
    assert jobs.listed() == []


def test_failed_job_holds_no_arrays(jobs: Jobs) -> None:
    """What the work of a failed job held is let go, though its error is kept."""

    class Held:
        gone = False

        def __del__(self) -> None:
            Held.gone = True

    def work(_: Task) -> None:
        held = Held()
        try:
            raise KeyError(str(held))
        except KeyError as error:
            raise StorageError("damaged") from error

    with pytest.raises(StorageError):
        jobs.wait(jobs.submit("compact", "items", work))
    assert Held.gone


def test_cancel_ends_the_jobs_of_one_collection(jobs: Jobs) -> None:
    """Running, queued and failed jobs of the collection go; wait() tells, others stay."""
    with pytest.raises(StorageError):
        jobs.wait(jobs.submit("flush", "items", fail(StorageError("x"))))
    endless = Endless()
    running = jobs.submit("compact", "items", endless)
    queued = jobs.submit("expire", "items", fail(AssertionError()))
    other = jobs.submit("expire", "others", lambda pace: None)
    assert endless.begun.wait(LONG_S)
    jobs.cancel("items", "flush")
    assert [job.kind for job in jobs.listed()] == ["compact", "expire", "expire"]
    jobs.cancel("items")
    assert endless.stopped
    assert not jobs.wait(running)
    assert not jobs.wait(queued)
    assert jobs.wait(other)
    assert jobs.listed() == []


@pytest.mark.parametrize("paused", [False, True])
def test_set_aside(jobs: Jobs, *, paused: bool) -> None:
    """Inside the block no job of the collection runs; the one that did begins again after it."""
    endless, other = Endless(), Endless()
    task = jobs.submit("compact", "items", endless)
    assert endless.begun.wait(LONG_S)
    if paused:
        jobs.pause()
    with jobs.set_aside("items"):
        assert endless.stopped
        jobs.resume()
        jobs.submit("alter", "others", other)
        assert other.begun.wait(LONG_S)
        assert endless.count_for(0.05) == 0
        assert task.state == "queued"
        jobs.cancel("others")
    before = endless.calls
    while endless.calls == before:
        time.sleep(0.001)
    with jobs.set_aside():
        assert [job.state for job in jobs.listed()] == ["queued"]
        assert jobs.wait(jobs.submit("flush", "items", lambda pace: pace(1)))


@pytest.mark.parametrize("paused", [False, True])
def test_close_ends_jobs_at_their_next_chunk(jobs: Jobs, *, paused: bool) -> None:
    """close() ends what runs, also while it is paused or throttled, and starts nothing more."""
    endless = Endless()
    running = jobs.submit("compact", "items", endless)
    queued = jobs.submit("expire", "items", fail(AssertionError()))
    assert endless.begun.wait(LONG_S)
    if paused:
        jobs.pause()
        time.sleep(0.05)
    started = time.monotonic()
    jobs.close()
    jobs.close()
    assert time.monotonic() - started < 0.5
    assert endless.stopped
    late = jobs.submit("flush", "items", fail(AssertionError()))
    for task in (running, queued, late):
        with pytest.raises(ClosedError):
            jobs.wait(task)
    assert jobs.listed() == []


def test_close_does_not_wait_for_the_limit_on_bytes() -> None:
    """A job that is throttled for a long time ends at once."""
    jobs = Jobs(bytes_per_s=1)
    begun = Event()

    def write(pace: Task) -> None:
        begun.set()
        pace(1_000_000)

    jobs.submit("compact", "items", write)
    assert begun.wait(LONG_S)
    started = time.monotonic()
    jobs.close()
    assert time.monotonic() - started < 0.5


def test_jobs_say_how_far_they_are(jobs: Jobs) -> None:
    """A job counts what it wrote of what it expects, and says what it does."""
    written, go = Event(), Event()

    def write(pace: Task) -> None:
        pace.total, pace.message = 100, "merges 4 segments"
        pace(30)
        written.set()
        assert go.wait(LONG_S)

    task = jobs.submit("compact", "items", write)
    assert written.wait(LONG_S)
    (job,) = jobs.listed()
    assert (job.id, job.kind, job.collection) == (task.id, "compact", "items")
    assert (job.done, job.total, job.message) == (30, 100, "merges 4 segments")
    go.set()
    assert jobs.wait(task)


def test_no_more_threads(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, submit() raises nothing and the job is listed as failed."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.Thread, "start", refuse)
    task = jobs.submit("compact", "items", lambda pace: None)
    assert [job.state for job in jobs.listed()] == ["failed"]
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="thread"):
        jobs.wait(task)
    assert jobs.wait(jobs.submit("compact", "items", lambda pace: None))
    assert jobs.listed() == []


def test_forgotten_jobs_do_not_keep_the_interpreter() -> None:
    """A program that never closes its jobs ends at once, without a word."""
    code = """
import time
from vecstore.ingest.jobs import Jobs

def work(pace):
    while True:
        time.sleep(0.001)
        pace(1)

jobs = Jobs()
for kind in ("flush", "compact"):
    jobs.submit(kind, "items", work)
time.sleep(0.05)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_work_on_the_callers_thread_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each chunk it sleeps for a share of the time that it took, and at most so long."""
    clock = [0.0]
    slept: list[float] = []
    told: list[int] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "sleep", sleep)
    hold = module.resting(told.append)
    for seconds in (0.01, 0.02, 60.0):
        clock[0] += seconds
        hold(7)
    assert told == [7, 7, 7]
    wanted = [module.REST_SHARE * 0.01, module.REST_SHARE * 0.02, module.REST_S_MAX]
    assert slept == pytest.approx(wanted)
