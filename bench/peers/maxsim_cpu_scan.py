"""maxsim-cpu: exact MaxSim of all documents with kernels of its own, float32 in memory."""

from __future__ import annotations

import numpy as np

from bench.peers.base import Environment, Float32, Int64, Known, Setting, Vectors, padded
from bench.peers.exact_maxsim import Documents, Tokens

# With more vectors in a query, 0.1.0 reads what is not the query's: wrong scores, or a crash.
QUERY_MAX = 32

ENVIRONMENT = Environment("maxsim-cpu", ("maxsim-cpu==0.1.0",))
PEERS = (Known("maxsim-cpu", "MaxSimCpu", ("late",)),)


class MaxSimCpu(Documents):
    """One call scores one query against a list of documents; ranking them is left to the caller.

    A query of more than QUERY_MAX vectors is scored in parts, whose scores add up to its own.
    It has no files: the documents are written down with NumPy, so that its bytes can be told.
    """

    modules = ("maxsim_cpu",)

    def build(self, documents: list[Float32]) -> None:
        Tokens.save(self.folder, documents)
        self._hold(documents)

    def open(self) -> None:
        tokens = Tokens(self.folder)
        self._hold(np.split(np.array(tokens.vectors), tokens.starts[1:]))

    def _hold(self, documents: list[Float32]) -> None:
        self.rows = np.flatnonzero([len(each) for each in documents])
        self.held = [documents[row] for row in self.rows]

    def settings(self) -> list[Setting]:
        return [{}]

    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        found = []
        for query in queries:
            order = np.argsort(-self._scores(query), kind="stable")[:limit]
            found.append(self.rows[order].tolist())
        return padded(found, limit)

    def _scores(self, query: Float32) -> Float32:
        from maxsim_cpu import maxsim_scores_variable

        scores = np.zeros(len(self.held), dtype=np.float32)
        for start in range(0, len(query), QUERY_MAX):
            part = np.ascontiguousarray(query[start : start + QUERY_MAX])
            scores += maxsim_scores_variable(part, self.held)
        return scores
