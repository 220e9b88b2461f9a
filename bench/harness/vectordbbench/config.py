"""What the client is told: where the database is, how it stores, how it searches."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from vectordb_bench.backend.clients.api import DBCaseConfig, DBConfig, MetricType

METRICS = {
    MetricType.COSINE: "cosine",
    MetricType.IP: "dot",
    MetricType.DP: "dot",
    MetricType.L2: "l2",
}


class VecstoreConfig(DBConfig):
    """Where the database is: `path`, a folder, or `address`, "host:port" of `vecstore serve`."""

    path: str | None = None
    address: str | None = None
    threads: int = 1

    def to_dict(self) -> dict[str, Any]:
        """As the client takes it."""
        return {"path": self.path, "address": self.address, "threads": self.threads}


class VecstoreCaseConfig(BaseModel, DBCaseConfig):
    """How one case stores and searches.

    Attributes:
        metric_type: of the data set, set by VectorDBBench.
        ladder: representations from coarse to fine with spaces between; "" for the default.
        keep: rows that the scan keeps for each hit; 0 for the default plan.
        exact: score every row with the finest representation instead.
    """

    metric_type: MetricType | None = None
    ladder: str = ""
    keep: int = 0
    exact: bool = False

    def index_param(self) -> dict[str, Any]:
        """What the collection is made with.

        Raises:
            ValueError: the metric is none of vecstore's.
        """
        metric = MetricType.COSINE if self.metric_type is None else self.metric_type
        if metric not in METRICS:
            raise ValueError(f"no metric {metric}; there are {', '.join(METRICS)}")
        return {"metric": METRICS[metric], "ladder": tuple(self.ladder.split())}

    def search_param(self) -> dict[str, Any]:
        """What searches are asked."""
        return {"keep": self.keep, "exact": self.exact}
