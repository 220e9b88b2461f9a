"""A collection that a server serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vecstore.options import LIMIT_MAX
from vecstore.reports import CollectionStats, Recall
from vecstore.request import Aggregate, Cascade, SearchOptions, check_count
from vecstore.schema import Schema
from vecstore.types import Hits, Ids, Progress, Record, TokenMatches
from vecstore_client import calls, searches
from vecstore_client.calls import Found
from vecstore_client.channel import Connection
from vecstore_client.searches import RecallOptions, RerankOptions

if TYPE_CHECKING:
    from vecstore.ingest.coded import FieldCodec


class RemoteCollection:
    """A collection of a connected database; the methods are those of an embedded one.

    Safe to use from many threads. Errors are those of the embedded database, and RemoteError.
    """

    def __init__(self, connection: Connection, found: Found) -> None:
        self._connection = connection
        self._found = found

    @property
    def name(self) -> str:
        """The name it was created with."""
        return self._found.name

    @property
    def schema(self) -> Schema:
        """Its fields, with every representation spelled out, coarse to fine.

        As the server last told them: when this collection was asked for, or altered by it.
        """
        return self._found.schema

    @property
    def id(self) -> int:
        """A number that no other collection of the database ever had, whatever its name."""
        return self._found.id

    def __repr__(self) -> str:
        return f"RemoteCollection({self.name!r})"

    # Writes

    def upsert(
        self,
        ids: Ids,
        vectors: Mapping[str, Any] | Any = None,
        payloads: Sequence[Any] | None = None,
        *,
        ttl_s: float | Sequence[float | None] | None = None,
    ) -> int:
        """Write records; see `vecstore.collection.Collection.upsert`.

        A batch is applied whole or not at all, however large: beyond 4 MiB it is sent in parts,
        which the server joins before it writes any. It takes up to 1 GiB of payloads.
        """
        self._connection.check_open()
        return self._connection.run(calls.upsert(self._found, ids, vectors, payloads, ttl_s))

    def delete(self, ids: Ids | None = None, *, where: str | None = None) -> int:
        """Delete records by id, or all that a filter passes; the number deleted."""
        self._connection.check_open()
        return self._connection.run(calls.delete(self._found, ids, where))

    def flush(self) -> None:
        """Move the write buffer into a segment: compressed, and out of the memory."""
        self._connection.run(calls.flush(self._found))

    def compact(self) -> None:
        """Flush, and write the segments again as few as fit, without what died.

        Takes as long as it takes, and goes on in the server where the call is interrupted. See
        `vecstore.collection.Collection.compact`.
        """
        self._connection.run(calls.compact(self._found))

    def alter(
        self,
        field: str,
        representations: Sequence[str] | None = None,
        *,
        pruning: str | None = None,
        pooling: str | None = None,
        wait: bool = True,
    ) -> None:
        """Change the representations or policies of a field, from what is stored of its vectors.

        With `wait` it takes as long as it takes; see `vecstore.collection.Collection.alter`.
        """
        self._connection.check_open()
        policies = (pruning, pooling)
        call = calls.alter(self._found, field, representations, policies, wait=wait)
        self._found = self._connection.run(call)

    # Reads

    def codec(self, field: str, spec: str | None = None) -> FieldCodec:
        """What makes the codes of a vector field; it encodes in this process.

        See `vecstore.collection.Collection.codec`.
        """
        self._connection.check_open()
        return self._connection.run(calls.codec(self._found, field, spec))

    def get(self, ids: Ids, *, with_vectors: bool = False) -> list[Record | None]:
        """Records by id, in the order of `ids`; None where there is none.

        The server reads 256 of them at a time, each time from the state that it finds.
        """
        self._connection.check_open()
        return self._connection.run(calls.get(self._found, ids, with_vectors=with_vectors))

    def scroll(
        self, *, where: str | None = None, with_vectors: bool = False, batch: int = 256
    ) -> Iterator[Record]:
        """Iterate over all records, oldest write first, reading `batch` of them at a time.

        A record that is written again meanwhile comes again at its new place.
        """
        check_count("batch", batch, LIMIT_MAX)
        after: int | None = 0
        while after is not None:
            records, after = self.scroll_page(after, batch, where=where, with_vectors=with_vectors)
            yield from records

    def scroll_page(
        self, after: int, limit: int, *, where: str | None = None, with_vectors: bool = False
    ) -> tuple[list[Record], int | None]:
        """One page of a scroll: at most `limit` records from the cursor `after` (0 at first).

        Returns:
            The records, and the cursor of the next page or None at the end.
        """
        self._connection.check_open()
        found: list[Record] = []
        following, left = after, limit
        while True:
            call = calls.scroll_page(self._found, following, left, where, with_vectors=with_vectors)
            records, next_after = self._connection.run(call)
            found += records
            left -= len(records)
            if next_after is None or left <= 0:
                return found, next_after
            following = next_after

    def count(self, where: str | None = None) -> int:
        """How many records there are, or how many a filter passes."""
        self._connection.check_open()
        return self._connection.run(calls.count(self._found, where))

    def stats(self) -> CollectionStats:
        """Counts and bytes, by representation."""
        return self._connection.run(calls.stats(self._found))

    def search(
        self,
        vectors: Mapping[str, Any] | Any,
        *,
        limit: int = 10,
        where: str | None = None,
        plan: Cascade | None = None,
        exact: bool = False,
        token_budget: int | None = None,
        group_by: str | None = None,
        agg: Aggregate = "maxsim",
        with_payload: bool = True,
        with_vectors: bool = False,
        explain: bool = False,
    ) -> Hits:
        """The records nearest to one query; see `vecstore.collection.Collection.search`."""
        self._connection.check_open()
        asked = SearchOptions(
            limit=limit,
            where=where,
            plan=plan,
            exact=exact,
            token_budget=token_budget,
            group_by=group_by,
            agg=agg,
            with_payload=with_payload,
            with_vectors=with_vectors,
            explain=explain,
        )
        return self._connection.run(searches.search(self._found, vectors, asked))

    def search_batch(
        self,
        vectors: Mapping[str, Any] | Any,
        *,
        limit: int = 10,
        where: str | None = None,
        plan: Cascade | None = None,
        exact: bool = False,
        token_budget: int | None = None,
        group_by: str | None = None,
        agg: Aggregate = "maxsim",
        with_payload: bool = True,
        with_vectors: bool = False,
        explain: bool = False,
    ) -> list[Hits]:
        """The records nearest to each of many queries; faster than one at a time.

        Args and hits as in `search`, with `vectors` as field name -> queries [Q, D]. Queries of
        more than 4 MiB are sent in several calls, each answered from the state that it finds.
        """
        self._connection.check_open()
        asked = SearchOptions(
            limit=limit,
            where=where,
            plan=plan,
            exact=exact,
            token_budget=token_budget,
            group_by=group_by,
            agg=agg,
            with_payload=with_payload,
            with_vectors=with_vectors,
            explain=explain,
        )
        made = searches.search_batch(self._found, vectors, asked)
        return [hits for call in made for hits in self._connection.run(call)]

    def rerank(
        self,
        vectors: Mapping[str, Any] | Any,
        ids: Ids,
        *,
        limit: int | None = None,
        token_budget: int | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Hits:
        """Score given records; see `vecstore.collection.Collection.rerank`."""
        self._connection.check_open()
        asked = RerankOptions(
            limit=limit,
            token_budget=token_budget,
            with_payload=with_payload,
            with_vectors=with_vectors,
        )
        return self._connection.run(searches.rerank(self._found, vectors, ids, asked))

    def matches(self, vectors: Mapping[str, Any] | Any, ids: Ids) -> list[TokenMatches | None]:
        """Which vector of each record matches each vector of a query best.

        See `vecstore.collection.Collection.matches`.
        """
        self._connection.check_open()
        made = searches.matches(self._found, vectors, ids)
        return [item for call in made for item in self._connection.run(call)]

    def measure_recall(
        self,
        vectors: Mapping[str, Any] | Any = None,
        *,
        field: str | None = None,
        limit: int = 10,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> Recall:
        """Have the server measure how much of the exact answers the default plan finds.

        Live queries are those that the server answered, whoever asked. Takes as long as it takes;
        see `vecstore.collection.Collection.measure_recall`.
        """
        self._connection.check_open()
        asked = RecallOptions(field=field, limit=limit, where=where)
        work = searches.measure_recall(self._found, vectors, asked, progress)
        return self._connection.follow(work)
