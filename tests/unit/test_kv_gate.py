"""The gate: a thing is replaced while nobody uses it, and nobody waits for himself."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecstore.storage.gate import Gate


class Thing:
    """Counts who uses it; it must not be replaced meanwhile."""

    def __init__(self) -> None:
        self.users = 0
        self.renewed = 0
        self.lock = threading.Lock()
        self.gate = Gate(self.renew)

    def renew(self) -> None:
        assert self.users == 0
        self.renewed += 1

    def use(self, inside: Callable[[], None] = lambda: None) -> None:
        with self.gate:
            with self.lock:
                self.users += 1
            inside()
            with self.lock:
                self.users -= 1


def test_renewed_at_once_where_nobody_is_inside() -> None:
    """A thread that asks alone gets a new thing, and only one."""
    thing = Thing()
    with thing.gate:
        assert thing.gate.renew()
    thing.use()
    assert thing.renewed == 1


def test_a_thread_inside_twice_gets_it_later() -> None:
    """Who is inside twice is told that there is no new thing yet; the next entry makes it."""
    thing = Thing()
    with thing.gate:
        with thing.gate:
            assert not thing.gate.renew()
        with thing.gate:
            assert thing.renewed == 0
    thing.use()
    assert thing.renewed == 1


def test_others_wait_until_nobody_is_inside() -> None:
    """While a thing is to be renewed no other thread enters, and it is renewed when all left."""
    thing, entered, leave = Thing(), threading.Event(), threading.Event()
    stay = threading.Thread(target=thing.use, args=[lambda: (entered.set(), leave.wait())[0]])
    stay.start()
    entered.wait()
    done: list[str] = []

    def ask() -> None:
        with thing.gate:
            assert thing.gate.renew()
            done.append("renewed")

    asking = threading.Thread(target=ask)
    asking.start()
    while thing.gate._inside != 1 or not thing.gate._stale:
        pass
    late = threading.Thread(target=thing.use, args=[lambda: done.append("late")])
    late.start()
    late.join(0.05)
    assert late.is_alive()
    assert not done
    leave.set()
    for thread in (stay, asking, late):
        thread.join()
    assert thing.renewed == 1
    assert sorted(done) == ["late", "renewed"]


def test_a_failed_renewal_is_tried_again() -> None:
    """Where renewing raises, the thread that asked does, and the next one tries again."""
    failures = [OSError("first"), OSError("second")]
    gate = Gate(lambda: None if not failures else _raise(failures.pop(0)))
    with gate, pytest.raises(OSError, match="first"):
        gate.renew()
    with pytest.raises(OSError, match="second"), gate:
        pass
    with gate:
        assert gate._inside == 1
    assert gate._inside == 0


def _raise(error: Exception) -> None:
    raise error


@settings(max_examples=20)
@given(st.lists(st.lists(st.sampled_from("unr"), max_size=8), min_size=2, max_size=4))
def test_any_mixture_of_threads_ends(plans: list[list[str]]) -> None:
    """Threads that use (u), use nested (n) and renew (r) all end; nobody uses what is replaced."""
    thing = Thing()
    failures: list[BaseException] = []

    def follow(plan: list[str]) -> None:
        try:
            for step in plan:
                if step == "u":
                    thing.use()
                elif step == "n":
                    thing.use(lambda: thing.use(lambda: None))
                else:
                    with thing.gate:
                        assert thing.gate.renew()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=follow, args=[plan]) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failures, failures
    asked = sum(plan.count("r") for plan in plans)
    assert (thing.renewed > 0) == (asked > 0)
    assert thing.renewed <= asked
