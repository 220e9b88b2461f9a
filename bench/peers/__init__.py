"""Peers: every library that a suite may put beside vecstore, behind one interface.

An adapter is a module with ENVIRONMENT, what it needs installed, and PEERS, what it offers; its
library is imported when a peer is made, so that all adapters can be listed anywhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from bench.peers.base import Ability, Environment, Known

ADAPTERS = (
    "vecstore_local",
    "vecstore_tokens",
    "faiss_indexes",
    "graphs",
    "scann_index",
    "svs_index",
    "turbovec_index",
    "qdrant_edge",
    "milvus_lite",
    "lance",
    "chroma",
    "zvec_collection",
    "sqlite_vec_table",
    "exact_maxsim",
    "fast_plaid_index",
    "xtr_warp",
    "maxsim_cpu_scan",
)
OURS = "vecstore"  # every peer takes turns with it


@dataclass(frozen=True)
class Entry:
    """A peer and where it comes from."""

    known: Known
    module: str
    environment: Environment

    @property
    def synced(self) -> bool | str:
        """Whether an insert of this database is on disk when it returns (see Peer)."""
        adapter = importlib.import_module(f"bench.peers.{self.module}")
        said: bool | str = getattr(adapter, self.known.kind).synced
        return said


def known() -> frozenset[str]:
    """The names of all peers."""
    return frozenset(entry.known.name for does in get_args(Ability) for entry in entries(does))


def entries(ability: Ability, names: Sequence[str] | None = None) -> list[Entry]:
    """The peers with an ability; of `names`, those that begin with one of them."""
    found = []
    for module in ADAPTERS:
        adapter = importlib.import_module(f"bench.peers.{module}")
        for known in adapter.PEERS:
            wanted = names is None or any(known.name.startswith(name) for name in names)
            if ability in known.does and (wanted or known.name == OURS):
                found.append(Entry(known, module, adapter.ENVIRONMENT))
    return found
