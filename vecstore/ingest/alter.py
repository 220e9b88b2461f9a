"""Alter: another ladder or other policies for a vector field, made from what the segments hold.

    AlterJob stored    from here on it goes on by itself, also after a crash or a close
    each segment       made again: what stays is linked, missing codes are encoded from the finest,
                       tokens are pruned and pooled; a commit notes it in the AlterJob, and nobody
                       reads it yet
    the cut-over       one commit: the new segments for the old ones, the write buffer as the new
                       schema wants it, that schema, no AlterJob

Until the cut-over searches and writes go by the old schema, and taking the AlterJob away takes
everything back. That is done where it fails too, so that it begins again only when asked for.
"""

from __future__ import annotations

from contextlib import suppress

from vecstore.errors import (
    ClosedError,
    CorruptionError,
    InvalidInputError,
    RequestError,
    VecstoreError,
)
from vecstore.ingest.alter_job import Withdrawn, drop_job, read_job, replace_job
from vecstore.ingest.alter_plan import Order, check_derivable, check_salience, told
from vecstore.ingest.alter_work import AlterWork
from vecstore.ingest.jobs import Jobs, JobStopped, Task
from vecstore.ingest.store import CollectionStore
from vecstore.segment.catalog import AlterJob, CollectionInfo, alter_jobs
from vecstore.segment.environment import Environment
from vecstore.segment.reduction import Reduction
from vecstore.segment.writer import Pace, no_pace
from vecstore.storage import keys


class Alteration:
    """Changes the fields of one collection, one at a time."""

    def __init__(self, store: CollectionStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._environment = store.environment
        self._orders = 0  # how often the stored job was replaced; under environment.lock

    def alter(self, order: Order, *, wait: bool) -> None:
        """See `Collection.alter`."""
        if not isinstance(wait, bool):
            raise RequestError(f"wait is {wait!r}, expected a bool")
        job = self._order(order)
        if job is None:
            if read_job(self._store) is None:  # else another field is being altered
                self._jobs.cancel(self._store.name, "alter")
                self.resume()  # what another thread has ordered since
            return
        wanted = order.altered(self._store.info.schema).vector(order.field)
        if not self._environment.options.background:
            self.run(no_pace)
        else:
            task = self._submit()
            if not wait:
                return
            while not self._jobs.wait(task) and self._is_wanted(job):
                task = self._submit()
        if self._store.info.schema.vector(order.field) != wanted:
            raise RequestError(
                f"vector field {order.field!r} was not altered to {told(wanted)}: another call of "
                "alter took that back, or failed"
            )

    def resume(self) -> None:
        """Go on, in the background, with an alteration that was under way; else `alter` does."""
        environment = self._environment
        if environment.writable and environment.options.background:
            with suppress(CorruptionError):  # one that cannot be read: altering raises it
                if read_job(self._store) is not None:
                    self._submit()

    def run(self, pace: Pace) -> None:
        """Bring the stored alteration to its end; nothing where there is none.

        One that fails is taken back; one that is stopped, by a close or Ctrl-C, stays.

        Raises:
            SchemaError, VectorError: it cannot be, for what was written meanwhile.
            CorruptionError: a segment is damaged.
            StorageError, ReadOnlyError: the disk is full, or failed.
        """
        with self._store.rewrite_lock:
            while (work := self._next()) is not None:
                try:
                    self._environment.check_writable()
                    work.finish(pace)
                except Withdrawn:
                    continue
                except (JobStopped, ClosedError):
                    raise
                except Exception as error:
                    if isinstance(error, CorruptionError):
                        self._store.quarantine(error)
                    wanted = self._abandon(work.job, error)
                    if wanted or not isinstance(error, InvalidInputError):
                        raise

    def _submit(self) -> Task:
        return self._jobs.submit("alter", self._store.name, self.run)

    def _is_wanted(self, order: AlterJob) -> bool:
        job = read_job(self._store)
        return job is not None and job.asks_for(order)

    def _next(self) -> AlterWork | None:
        with self._environment.lock:
            job = read_job(self._store)
            orders = self._orders

            def check() -> None:
                if self._orders != orders:
                    raise Withdrawn

            return None if job is None else AlterWork(self._store, job, check)

    def _order(self, order: Order) -> AlterJob | None:
        """Store what is wanted; None where the field is so already."""
        environment = self._environment
        environment.check_writable()
        with environment.lock:
            snapshot = self._store.current()
            schema, field = snapshot.info.schema, order.field
            had, wanted = schema.vector(field), order.altered(schema).vector(field)
            job = read_job(self._store)
            if had == wanted:
                if job is not None and job.field == field:
                    self._replace(job, None)
                return None
            if job is not None and job.field != field:
                raise RequestError(
                    f"vector field {job.field!r} is being altered, and a collection alters one "
                    f"field at a time; alter {field!r} when Database.jobs() lists that no more"
                )
            new = AlterJob(
                field,
                tuple(wanted.representations),
                pruning=order.pruning,
                pooling=order.pooling,
            )
            if job is None or not job.asks_for(new):
                check_derivable(snapshot, wanted)
                check_salience(snapshot.sources, Reduction.between(had, wanted))
                self._replace(job, new)
            return new

    def _abandon(self, job: AlterJob, error: Exception) -> bool:
        """Take an alteration back that failed; False where it is not wanted any more."""
        with self._environment.lock:
            try:
                if not self._is_wanted(job):
                    return False
                self._orders += 1
                drop_job(self._store)
            except VecstoreError as second:
                error.add_note(
                    f"the alteration could not be taken back ({second}), so that it goes on when "
                    "the database is opened again, as after a crash"
                )
            return True

    def _replace(self, job: AlterJob | None, new: AlterJob | None) -> None:
        """Store another alteration or none, and remove what was made for the one before."""
        self._orders += 1
        replace_job(self._store, job, new)


def interrupted(environment: Environment) -> list[str]:
    """The names of the collections with an alteration to go on with in the background.

    Of a catalog that is damaged none is found: reading the collection says what is wrong.
    """
    if not environment.writable or not environment.options.background:
        return []
    try:
        with environment.kv.read() as txn:
            jobs = alter_jobs(txn)
            values = list(txn.scan(keys.COLLECTIONS)) if jobs else []
        infos = [CollectionInfo.from_bytes(keys.parse_name(key), value) for key, value in values]
    except CorruptionError:
        return []
    return [info.name for info in infos if info.id in jobs]
