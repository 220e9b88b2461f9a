"""Background work: who runs it, how fast it may go, and what became of it.

    lane "flush"   flushes. Writers wait for them: full speed, and never paused once begun
    lane "work"    all else: throttled, resting between chunks, paused at any of them

Each lane has one thread at most, which lives while the lane has work. A job is a function that is
given its `Task` and calls it after each chunk that it wrote: there it is counted, slowed, held up
by a pause, or ended, by close() or as something else needs its locks. All that jobs do is safe
against a crash, so that ending one anywhere loses nothing but its work.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import Condition, Thread
from time import monotonic, sleep
from traceback import clear_frames
from typing import Literal

from vecstore.errors import ClosedError, VecstoreError
from vecstore.reports import Job, JobKind, JobState
from vecstore.segment.stream import Pace
from vecstore.storage.heap import trim

# Jobs of the lane "work" rest for this share of the time that a chunk took, and at most so long.
REST_SHARE = 0.25
REST_S_MAX = 0.05

Lane = Literal["flush", "work"]


class JobStopped(Exception):  # noqa: N818 - it is no failure
    """Ends a job from the inside: the database is closed, or the job cancelled or set aside."""


@dataclass(slots=True, eq=False, kw_only=True)
class Task:
    """A job, and what its work calls between chunks.

    Attributes:
        id: a number that no other job had.
        kind: of the work.
        collection: the collection it works on.
        run: the work.
        total: bytes it expects to write, 0 where it does not know yet; its work may set it.
        message: what it does; its work may set it.
        done: bytes written.
        state: "queued", "running", "failed", or "done", which is cancelled too.
        cancelled: it is to end at its next call.
        error: what ended it, where it did not come to its end.
        failures: how often in a row its kind of work has failed for its collection.
        ended: when it ended, by the monotonic clock.
        resumed: when it last went on, by that clock.
    """

    id: int
    kind: JobKind
    collection: str
    run: Callable[[Task], object] = field(repr=False)
    jobs: Jobs = field(repr=False)
    total: int = 0
    message: str = ""
    done: int = 0
    state: Literal["queued", "running", "failed", "done"] = "queued"
    cancelled: bool = False
    error: BaseException | None = None
    failures: int = 0
    ended: float = 0.0
    resumed: float = 0.0

    @property
    def lane(self) -> Lane:
        """The lane it runs in."""
        return "flush" if self.kind == "flush" else "work"

    def __call__(self, written: int) -> None:
        """Count bytes just written; returns when the work may go on.

        Raises:
            JobStopped: it may not.
        """
        self.jobs.hold(self, written)


def resting(pace: Pace) -> Pace:
    """Like `pace`, but with the rests of background work, for work on the caller's thread."""
    resumed = monotonic()

    def hold(written: int) -> None:
        nonlocal resumed
        pace(written)
        sleep(min(REST_SHARE * (monotonic() - resumed), REST_S_MAX))
        resumed = monotonic()

    return hold


class Jobs:
    """The background work of one open database. Safe to use from many threads."""

    def __init__(self, bytes_per_s: int = 0) -> None:
        """`bytes_per_s`: most that the lane "work" writes; 0 means no limit."""
        self._rate = bytes_per_s
        self._changed = Condition()
        self._queues: dict[Lane, list[Task]] = {"flush": [], "work": []}
        self._running: dict[Lane, Task] = {}
        self._failed: dict[tuple[JobKind, str], Task] = {}
        self._threads: dict[Lane, Thread] = {}
        self._started = 0
        self._paused = False
        self._closed = False
        self._aside: list[str | None] = []  # collections whose jobs must not run; None: any
        self._free_at = 0.0  # when the bytes written so far fit the limit

    def submit(self, kind: JobKind, collection: str, run: Callable[[Task], object]) -> Task:
        """Queue work; one of that kind and collection that is queued already is returned instead.

        Never raises: where nothing can be started any more, the task has ended.
        """
        with self._changed:
            for waiting in self._queues[_lane(kind)]:
                if (waiting.kind, waiting.collection) == (kind, collection):
                    return waiting
            self._started += 1
            task = Task(id=self._started, kind=kind, collection=collection, run=run, jobs=self)
            if self._closed:
                self._end(task, JobStopped())
            else:
                self._queues[task.lane].append(task)
                self._serve(task.lane)
            return task

    def wait(self, task: Task) -> bool:
        """Wait until a task has ended; False where it was cancelled.

        Raises:
            ClosedError: the database was closed before it came to its end.
            BaseException: what the task failed with.
        """
        with self._changed:
            self._changed.wait_for(lambda: task.state in ("done", "failed"))
        if task.state == "failed":
            assert task.error is not None
            raise task.error
        if task.error is not None and not task.cancelled:
            raise ClosedError("the database was closed during background work; open it again")
        return task.error is None

    def cancel(self, collection: str, *kinds: JobKind) -> None:
        """End the jobs of a collection, of some kinds or of all; returns when none runs.

        Those that failed are forgotten. The caller holds no lock that a job needs to end.
        """
        with self._changed:
            for task in [*self._active(), *self._failed.values()]:
                if task.collection == collection and (not kinds or task.kind in kinds):
                    task.cancelled = True
            for queue in self._queues.values():
                for task in [task for task in queue if task.cancelled]:
                    queue.remove(task)
                    self._end(task, JobStopped())
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(t.cancelled for t in self._running.values()))
            for key in [key for key, task in self._failed.items() if task.cancelled]:
                del self._failed[key]

    @contextmanager
    def set_aside(self, collection: str | None = None) -> Iterator[None]:
        """Run the block while no job of the lane "work" runs, of a collection or of any.

        One under way ends at its next chunk and begins again after the block. The caller holds no
        lock that a job needs to end.
        """
        with self._changed:
            self._aside.append(collection)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(map(self._is_aside, self._running.values())))
        try:
            yield
        finally:
            with self._changed:
                self._aside.remove(collection)
                self._serve("work")

    def forget(self, kind: JobKind, collection: str) -> None:
        """List a failure no more, as what it left undone is done or not wanted any more."""
        with self._changed:
            self._failed.pop((kind, collection), None)

    def find(self, kind: JobKind, collection: str) -> Task | None:
        """A task of that kind and collection: one that is queued or running, or that failed."""
        with self._changed:
            for task in self._active():
                if (task.kind, task.collection) == (kind, collection):
                    return task
            return self._failed.get((kind, collection))

    def listed(self) -> list[Job]:
        """Every job that is queued, running or failed, oldest first."""
        with self._changed:
            found = [*self._active(), *self._failed.values()]
            return [self._described(task) for task in sorted(found, key=lambda task: task.id)]

    def pause(self) -> None:
        """Hold up jobs at their next chunk until resume(); a flush under way goes on to its end."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Let jobs go on."""
        with self._changed:
            self._paused = False
            for lane in self._queues:
                self._serve(lane)
            self._changed.notify_all()

    def close(self) -> None:
        """End every job at its next chunk, and wait until it has ended. Fine to call again."""
        with self._changed:
            self._closed = True
            for queue in self._queues.values():
                for task in queue:
                    self._end(task, JobStopped())
                queue.clear()
            self._changed.notify_all()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()

    def hold(self, task: Task, written: int) -> None:
        """What a task does when it is called."""
        now = monotonic()
        polite = task.lane == "work"
        with self._changed:
            task.done += written
            go_at = now
            if polite:
                go_at += min(REST_SHARE * (now - task.resumed), REST_S_MAX)
                if self._rate:
                    self._free_at = max(self._free_at, now) + written / self._rate
                    go_at = max(go_at, self._free_at)
            while True:
                if self._closed or task.cancelled or self._is_aside(task):
                    raise JobStopped
                left = go_at - monotonic()
                if polite and self._paused:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    break
            task.resumed = monotonic()

    def _serve(self, lane: Lane) -> None:
        """See that a lane with work has a thread; the caller holds the lock."""
        if lane in self._threads or not self._queues[lane] or self._paused:
            return
        thread = Thread(target=self._run, args=(lane,), name=f"vecstore-{lane}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            for task in self._queues[lane]:
                self._end(task, error)
            self._queues[lane].clear()
            return
        self._threads[lane] = thread
        _close_at_exit(self)

    def _run(self, lane: Lane) -> None:
        while (task := self._next(lane)) is not None:
            error: BaseException | None = None
            try:
                task.run(task)
            except BaseException as caught:
                error = caught
            with self._changed:
                del self._running[lane]
                if isinstance(error, JobStopped) and not (self._closed or task.cancelled):
                    task.state, task.done, task.total = "queued", 0, 0
                    self._queues[lane].insert(0, task)
                    self._changed.notify_all()
                else:
                    self._end(task, error)
            del task, error
            trim()

    def _next(self, lane: Lane) -> Task | None:
        with self._changed:
            ready = [task for task in self._queues[lane] if not self._is_aside(task)]
            if self._paused or not ready:
                del self._threads[lane]
                return None
            task = self._running[lane] = ready[0]
            self._queues[lane].remove(task)
            task.state, task.resumed = "running", monotonic()
            return task

    def _end(self, task: Task, error: BaseException | None) -> None:
        key = task.kind, task.collection
        _release(error)
        task.error, task.ended, task.state = error, monotonic(), "done"
        if error is None:
            self._failed.pop(key, None)
        elif not isinstance(error, JobStopped):
            task.state = "failed"
            task.failures = self._failed[key].failures + 1 if key in self._failed else 1
            self._failed[key] = task
        self._changed.notify_all()

    def _is_aside(self, task: Task) -> bool:
        return task.lane == "work" and (None in self._aside or task.collection in self._aside)

    def _active(self) -> Iterator[Task]:
        yield from self._running.values()
        for queue in self._queues.values():
            yield from queue

    def _described(self, task: Task) -> Job:
        state: JobState
        if task.state == "failed":
            state = "failed"
        elif self._paused and (task.state == "queued" or task.lane == "work"):
            state = "paused"
        else:
            state = "running" if task.state == "running" else "queued"
        return Job(
            id=task.id,
            kind=task.kind,
            collection=task.collection,
            state=state,
            done=task.done,
            total=max(task.total, task.done) if task.total else 0,
            message=_reason(task.error) if task.error is not None else task.message,
        )


def _lane(kind: JobKind) -> Lane:
    return "flush" if kind == "flush" else "work"


def _release(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: arrays of files that may have to be removed.

    Functions among the frames hold more, so that what nobody asks about keeps none at all.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        if isinstance(error, JobStopped):
            error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    """Why a job failed; what no one foresaw is named too."""
    text = str(error)
    return text if isinstance(error, VecstoreError) else f"{type(error).__name__}: {text}"


@cache
def _open_jobs() -> weakref.WeakSet[Jobs]:
    """Jobs with threads. These must not be inside of a kernel when the interpreter ends."""
    found: weakref.WeakSet[Jobs] = weakref.WeakSet()

    def close() -> None:
        for jobs in list(found):
            jobs.close()

    atexit.register(close)
    return found


def _close_at_exit(jobs: Jobs) -> None:
    _open_jobs().add(jobs)
