"""Writes become durable here, one commit at a time, whichever collections they go to.

    durability "fsync"   each write is a commit of its own
    durability "group"   the writes that came while one commit was synced share the next one:

        thread 1   apply, commit .........| done
        thread 2         waits            | apply 2, apply 3, commit ....| done
        thread 3            waits         |           waits              | done

Whoever comes first makes the commit for all that wait when it gets the lock. Where one of them
cannot be applied, nothing of the group is, and then each is applied by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from vecstore.segment.environment import Environment
from vecstore.segment.snapshot import Snapshot
from vecstore.storage.kv import Txn

Value = TypeVar("Value")


@dataclass(slots=True)
class Change:
    """A write under way: its transaction, and the snapshot to publish once it has committed."""

    txn: Txn
    after: Snapshot


class Target(Protocol):
    """What a write goes to; all is called with the environment's lock held."""

    @property
    def environment(self) -> Environment:
        """Of the database."""
        ...

    def current(self) -> Snapshot:
        """The state after the last commit; raises where nothing can be written to it."""
        ...

    def publish(self, snapshot: Snapshot) -> None:
        """Make a snapshot the current one: its commit is on disk."""
        ...

    def doubt(self) -> None:
        """Read the current state again before it is next used."""
        ...


@dataclass(slots=True, eq=False)
class _Write:
    target: Target
    apply: Callable[[Change], Any]
    done: bool = False
    value: Any = None
    error: Exception | None = None


def commit(target: Target, apply: Callable[[Change], Value], *, alone: bool = False) -> Value:
    """Make a write durable, and publish what it made; returns what `apply` returned.

    The caller does not hold the environment's lock, unless the write is to be alone.

    Args:
        target: the collection.
        apply: called in a transaction, and once more in another one where a write that shared
            the first could not be applied.
        alone: share no commit with other writes.

    Raises:
        UnknownOutcomeError: the disk failed during the commit.
        VecstoreError: what `apply` raised; nothing was written.
    """
    environment = target.environment
    write = _Write(target, apply)
    if alone or environment.options.durability == "fsync":
        with environment.lock:
            _commit_group(environment, [write])
    else:
        _share(environment, write)
    if write.error is not None:
        raise write.error
    assert write.done
    value: Value = write.value
    return value


def _share(environment: Environment, write: _Write) -> None:
    """Return when a write is committed, with all others that wait, by this thread or another."""
    queue = environment.queue
    leads = False
    try:
        with queue.changed:
            queue.waiting.append(write)
            queue.changed.wait_for(lambda: write.done or not queue.led)
            if not write.done:
                leads = True
                queue.led = True
        if leads:
            with environment.lock:
                with queue.changed:
                    group, queue.waiting = queue.waiting, []
                _commit_group(environment, group)
    except BaseException:
        with queue.changed, suppress(ValueError):  # it is not there once it is committed
            queue.waiting.remove(write)
        raise
    finally:
        if leads:
            with queue.changed:
                queue.led = False
                queue.changed.notify_all()


def _commit_group(environment: Environment, group: Sequence[_Write]) -> None:
    """Apply writes and commit them; returns when each of them is done, well or not."""
    number = 0
    applied = retry = False
    try:
        after = {write.target: write.target.current() for write in group}
        with environment.writing() as txn:
            number = txn.id
            for write in group:
                change = Change(txn, replace(after[write.target], txn=number))
                write.value = write.apply(change)
                after[write.target] = change.after
            applied = True
        for target, snapshot in after.items():
            target.publish(snapshot)
    except Exception as error:
        _doubt(group)
        retry = len(group) > 1 and not applied
        for write in group if not retry else ():  # threads write their traces into errors
            write.error = error if len(group) == 1 else type(error)(*error.args)
    except BaseException:
        _doubt(group)
        _hand_on(environment, group, committed=applied and environment.kv.last_txn() >= number)
        raise
    if retry:
        _one_by_one(environment, group)
    for write in group:
        write.done = True


def _one_by_one(environment: Environment, group: Sequence[_Write]) -> None:
    try:
        for write in group:
            _commit_group(environment, [write])
    except BaseException:
        with environment.queue.changed:  # the interrupted thread takes its own out again
            environment.queue.waiting[:0] = [write for write in group if not write.done]
        raise


def _doubt(group: Sequence[_Write]) -> None:
    for write in group:
        write.target.doubt()


def _hand_on(environment: Environment, group: Sequence[_Write], *, committed: bool) -> None:
    """See to the writes of other threads after this one was interrupted."""
    for write in group:
        write.done = committed
    if not committed and len(group) > 1:
        with environment.queue.changed:
            environment.queue.waiting[:0] = group
