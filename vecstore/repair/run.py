"""Repair a database: LMDB first, then each collection, then a look at what is left.

New files are written beside the damaged ones, and a commit for each collection takes them over, so
that a crash leaves it as it was or repaired. The damaged files are removed like any that no one
reads any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress

from vecstore.check import check_database
from vecstore.errors import CorruptionError, StorageError
from vecstore.ingest.store import CollectionStore
from vecstore.repair.collection import CollectionRepair
from vecstore.repair.report import Findings
from vecstore.repair.values import repair_codecs, repair_numbers, repair_order
from vecstore.reports import RepairReport
from vecstore.segment.catalog import AlterJob, CollectionInfo
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import Manifest, from_bytes
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import Progress


def repair_database(
    environment: Environment,
    opened: AbstractContextManager[Sequence[CollectionStore]],
    progress: Progress | None = None,
) -> RepairReport:
    """Make again what can be made again. Writes wait meanwhile; searches go on.

    Args:
        environment: the database, open for writing.
        opened: the collections that are open; while it is entered, no other one is opened.
        progress: told how many bytes of each part were examined, written and checked.

    Raises:
        DatabaseFullError: there is no space for new files; nothing was lost.
        StorageError: the machine failed.
    """
    environment.check_writable()
    told = progress or _silent
    with ExitStack() as held:
        stores = held.enter_context(opened)
        for store in stores:
            held.enter_context(store.rewrite_lock)
        for store in stores:
            held.enter_context(store.flush_lock)
        held.enter_context(environment.lock)
        findings = [Findings()]
        hopeless = repair_order(environment, findings[0])
        if not hopeless:
            repair_numbers(environment, findings[0])
            with environment.kv.read() as txn:
                readable, manifests = _catalog(txn)
            repair_codecs(environment, manifests, findings[0])
            by_id = {store.id: store for store in stores}
            for info, manifest in readable:
                repair = CollectionRepair(environment, info, manifest, told)
                repair.run(by_id.get(info.id))
                findings.append(repair.findings)
            repaired = {info.id for info, _ in readable}
            for store in stores:
                if store.id in repaired:
                    store.reload()
    with suppress(StorageError):  # what cannot be removed now is tried again
        environment.reclaimer.sweep()
    remaining = hopeless or check_database(environment, _checking(told))
    return RepairReport(
        rebuilt=tuple(text for found in findings for text in found.rebuilt),
        lost=tuple(text for found in findings for text in found.lost),
        remaining=tuple(remaining),
    )


def _catalog(
    txn: Txn,
) -> tuple[list[tuple[CollectionInfo, Manifest]], list[tuple[int, Manifest]]]:
    """The collections that can be repaired, and every manifest with its collection's id."""
    readable = []
    manifests = []
    for key, value in txn.entries(keys.COLLECTIONS):
        try:
            info = CollectionInfo.from_bytes(keys.parse_name(key), value or b"")
            stored = txn.get(keys.MANIFESTS, keys.collection_key(info.id))
            manifest = from_bytes(Manifest, stored or b"")
        except CorruptionError:
            continue  # check says so: only a copy has what it was
        readable.append((info, manifest))
        manifests.append((info.id, manifest))
    for key, value in txn.entries(keys.JOBS):
        if value is not None:
            job = from_bytes(AlterJob, value)
            manifests.append((keys.parse_collection_key(key), job.manifest()))
    return readable, manifests


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""


def _checking(progress: Progress) -> Progress:
    def told(what: str, done: int, total: int) -> None:
        progress(f"checking {what}", done, total)

    return told
