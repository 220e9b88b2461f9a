"""vecstore itself, embedded: behind the same interface as every peer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.peers.base import Environment, Float32, Int64, Known, Peer, Setting, Shape, Vectors

if TYPE_CHECKING:
    import vecstore as vs

NAME, FIELD = "bench", "text"
EXACT = "exact"
DEFAULT = "default"
TIMES = (1, 2, 4, 8, 16, 32, 64)  # rows that the scan keeps for each hit asked
LISTS, PROBE_TIMES = (16, 32, 48, 64, 96, 128, 192, 256), 5

ENVIRONMENT = Environment("vecstore")
PEERS = (
    Known("vecstore", "Vecstore", ("dense", "filter", "database")),
    Known(
        "vecstore-bits1",
        "Vecstore",
        ("dense", "filter", "database"),
        {"ladder": "bits1 float16"},
    ),
    Known(
        "vecstore-codes",
        "Vecstore",
        ("dense", "filter", "database"),
        {"ladder": "bits2 bits8"},
    ),
    Known("vecstore-group", "Vecstore", ("database",), {"durability": "group"}),
)


class Vecstore(Peer):
    """A collection with one ladder, opened once; every batch is fsynced before `insert` returns.

    Settings: the default plan, which has a recall of its own; plans that scan the coarse rung, or
    probe some lists of it, keep so many times the hits asked, and rescore with the fine one; and
    exact.
    """

    modules = ("vecstore.database",)
    synced = True

    def __init__(
        self, folder: Path, shape: Shape, ladder: str = "", durability: str = "fsync"
    ) -> None:
        super().__init__(folder, shape)
        self.ladder = tuple(ladder.split())
        self.durability = durability

    def _opened(self) -> vs.Database:
        import vecstore as vs

        options = vs.Options(threads=self.shape.threads, durability=self.durability)  # type: ignore[arg-type]
        return vs.open(self.folder / "database", options=options)

    def create(self) -> None:
        import vecstore as vs

        metric: Any = self.shape.metric
        vector = vs.Vector(FIELD, self.shape.dim, metric, self.ladder)
        self.database = self._opened()
        schema = vs.Schema([vector], [vs.Column("mark", "int")])
        self.collection = self.database.create_collection(NAME, schema)

    def insert(self, rows: Int64, vectors: Vectors, marks: Int64, *, new: bool = False) -> None:
        payloads = [{"mark": mark} for mark in marks.tolist()]
        self.collection.upsert(rows, vectors, payloads)

    def delete(self, rows: Int64) -> None:
        self.collection.delete(rows)

    def finish(self) -> None:
        self.collection.compact()

    def open(self) -> None:
        self.database = self._opened()
        self.collection = self.database.collection(NAME)

    def settings(self) -> list[Setting]:
        from vecstore.codec.ladder import DEFAULT_LADDER

        coarse, *_, fine = self.ladder or DEFAULT_LADDER
        plans: list[Setting] = [{"scan": coarse, "x": times, "fine": fine} for times in TIMES]
        probes: list[Setting] = [
            {"probe": coarse, "lists": lists, "x": PROBE_TIMES, "fine": fine} for lists in LISTS
        ]
        return [{"plan": DEFAULT}, *plans, *probes, {"plan": EXACT}]

    def prepare(self, setting: Setting, threads: int) -> None:
        """Let a search use as many threads: those there are, as to open anew would disturb writes.

        There is no such option for an open database, so that this sets the count of its workers.
        """
        self.database._workers.count = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        import vecstore as vs

        asked: dict[str, Any] = {"limit": limit, "with_payload": False}
        if below is not None:
            asked["where"] = f"mark < {below}"
        if setting.get("plan") == EXACT:
            asked["exact"] = True
        elif "scan" in setting:
            keep = limit * int(setting["x"])
            scan = vs.Scan(str(setting["scan"]), keep)
            asked["plan"] = vs.Cascade([scan, vs.Rescore(str(setting["fine"]), limit)])
        elif "probe" in setting:
            keep = limit * int(setting["x"])
            probe = vs.Probe(str(setting["probe"]), int(setting["lists"]), keep)
            asked["plan"] = vs.Cascade([probe, vs.Rescore(str(setting["fine"]), limit)])
        out = np.full((len(queries), limit), -1, dtype=np.int64)
        values: Float32 = np.asarray(queries)
        if len(values) == 1:
            found = [self.collection.search(values[0], **asked)]
        else:
            found = self.collection.search_batch(values, **asked)
        for to, hits in zip(out, found, strict=True):
            to[: len(hits)] = hits.ids
        return out

    def close(self) -> None:
        self.database.close()
