"""vecstore as a client of VectorDBBench."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from vectordb_bench.backend.clients.api import VectorDB
from vectordb_bench.backend.filter import Filter, FilterOp
from vectordb_bench.backend.payload import PayloadProfile

from vecstore.errors import VecstoreError

from .config import VecstoreCaseConfig
from .store import Store, at_least, with_label

log = logging.getLogger(__name__)


class Vecstore(VectorDB):  # type: ignore[misc]
    """A collection, embedded or on a server. Filters by id and by label run within the scan."""

    supported_filter_types: ClassVar[list[FilterOp]] = [
        FilterOp.NonFilter,
        FilterOp.NumGE,
        FilterOp.StrEqual,
    ]
    name = "Vecstore"
    thread_safe = True

    def __init__(
        self,
        dim: int,
        db_config: dict[str, Any],
        db_case_config: VecstoreCaseConfig,
        collection_name: str = "vdbbench",
        *,
        drop_old: bool = False,
        with_scalar_labels: bool = False,
        **others: Any,
    ) -> None:
        """Make the collection, where the old one is to be dropped."""
        self.store = Store(collection=collection_name, **db_config)
        self.labels = with_scalar_labels
        self.asked = db_case_config.search_param()
        self.where: str | None = None
        if drop_old:
            self.store.create(dim, **db_case_config.index_param(), labels=with_scalar_labels)

    @contextmanager
    def init(self) -> Iterator[None]:
        """Open it in this process, and close it."""
        self.store.open()
        try:
            yield
        finally:
            self.store.close()

    def insert_embeddings(
        self,
        embeddings: list[list[float]],
        metadata: list[int],
        labels_data: list[str] | None = None,
        tenant_labels_data: list[str] | None = None,
        **others: Any,
    ) -> tuple[int, Exception | None]:
        """Write one batch; on disk when it returns. The runner tries again after an error."""
        try:
            self.store.insert(embeddings, metadata, labels_data if self.labels else None)
        except VecstoreError as error:
            log.warning("not inserted: %s", error)
            return 0, error
        return len(metadata), None

    def prepare_filter(self, filters: Filter) -> None:
        """Keep the filter of the searches to come."""
        if filters.type == FilterOp.NonFilter:
            self.where = None
        elif filters.type == FilterOp.NumGE:
            self.where = at_least(filters.int_value)
        elif filters.type == FilterOp.StrEqual:
            self.where = with_label(filters.label_value)
        else:
            raise ValueError(f"no filter {filters.type}")

    def search_embedding(
        self,
        query: list[float],
        k: int = 100,
        payload_profile: PayloadProfile = PayloadProfile.IDS_ONLY,
        tenant: str | None = None,
    ) -> list[int]:
        """The ids of the nearest records."""
        return self.store.search(query, k, where=self.where, **self.asked)

    def optimize(self, data_size: int | None = None) -> None:
        """Merge the segments."""
        self.store.compact()
