"""vecstore's multivector fields, embedded: behind the same interface as every peer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.peers.base import (
    Environment,
    Int64,
    Known,
    Peer,
    Setting,
    Shape,
    UnsupportedError,
    Vectors,
    padded,
)

if TYPE_CHECKING:
    import vecstore as vs

NAME, FIELD = "bench", "tokens"
EXACT = "exact"
DEFAULT = "default"
IDS = "ids"
KEPT = (50, 100, 250, 500, 1_000)  # candidates that the scan of ids keeps
BATCH = 1_000

ENVIRONMENT = Environment("vecstore")
PEERS = (
    Known("vecstore-tokens", "VecstoreTokens", ("late",)),
    Known("vecstore-res1", "VecstoreTokens", ("late",), {"ladder": "res1"}),
    Known("vecstore-res2", "VecstoreTokens", ("late",), {"ladder": "res2"}),
    Known("vecstore-ternary", "VecstoreTokens", ("late",), {"ladder": "ternary"}),
    Known("vecstore-int8", "VecstoreTokens", ("late",), {"ladder": "int8"}),
    Known("vecstore-float16", "VecstoreTokens", ("late",), {"ladder": "float16"}),
)


class VecstoreTokens(Peer):
    """A collection with one multivector field.

    Settings: the default plan, which has a recall of its own; plans that scan centroid ids and
    rescore so many of the documents; and exact.
    """

    modules = ("vecstore.database",)
    synced = True

    def __init__(self, folder: Path, shape: Shape, ladder: str = "") -> None:
        super().__init__(folder, shape)
        self.ladder = tuple(ladder.split())

    def _opened(self) -> vs.Database:
        import vecstore as vs

        return vs.open(self.folder / "database", options=vs.Options(threads=self.shape.threads))

    def create(self) -> None:
        import vecstore as vs

        metric: Any = self.shape.metric
        field = vs.MultiVector(FIELD, self.shape.dim, metric, self.ladder)
        self.database = self._opened()
        self.collection = self.database.create_collection(NAME, vs.Schema([field]))

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        for start in range(0, len(rows), BATCH):
            part = [each if len(each) else None for each in vectors[start : start + BATCH]]
            self.collection.upsert(rows[start : start + BATCH], {FIELD: part})

    def finish(self) -> None:
        self.collection.compact()

    def open(self) -> None:
        self.database = self._opened()
        self.collection = self.database.collection(NAME)

    def settings(self) -> list[Setting]:
        finest = self.collection.schema.vector(FIELD).representations[-1]
        exact: list[Setting] = [{"plan": DEFAULT}, {"plan": EXACT}]
        if not finest.startswith(("res", "ternary")):
            return exact
        wanted = dict.fromkeys(min(keep, self.shape.rows) for keep in KEPT)
        plans: list[Setting] = [{"ids": keep, "fine": finest} for keep in wanted]
        return [exact[0], *plans, exact[1]]

    def prepare(self, setting: Setting, threads: int) -> None:
        """As in `vecstore_local`."""
        self.database._workers.count = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        import vecstore as vs

        if below is not None:
            raise UnsupportedError("no filter in this suite")
        asked: dict[str, Any] = {"limit": limit, "with_payload": False}
        if setting.get("plan") == EXACT:
            asked["exact"] = True
        elif IDS in setting:
            scan = vs.MaxSim(FIELD, max(limit, int(setting[IDS])), IDS)
            fine = vs.MaxSim(FIELD, limit, str(setting["fine"]))
            asked["plan"] = vs.Cascade([scan, fine])
        if len(queries) == 1:
            found = [self.collection.search({FIELD: np.asarray(queries[0])}, **asked)]
        else:
            found = self.collection.search_batch({FIELD: list(queries)}, **asked)
        return padded([hits.ids.tolist() for hits in found], limit)

    def close(self) -> None:
        self.database.close()
