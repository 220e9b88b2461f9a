"""The asyncio client: the methods of the sync one, to be awaited; `scroll` to be iterated.

async with await vecstore_client.aio.connect("localhost:7700") as db:
    books = await db.collection("books")
    hits = await books.search(query)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vecstore.errors import DeadlineError
from vecstore.options import LIMIT_MAX, RPC_TIMEOUT_S
from vecstore.reports import CollectionStats, Job, Recall, RepairReport, SnapshotInfo
from vecstore.request import Aggregate, Cascade, SearchOptions, check_count
from vecstore.schema import Schema
from vecstore.types import Hits, Ids, Progress, Record, TokenMatches
from vecstore_client import calls, searches
from vecstore_client.aio_channel import AsyncConnection
from vecstore_client.calls import Found
from vecstore_client.channel import CONNECT_TIMEOUT_S
from vecstore_client.searches import RecallOptions, RerankOptions
from vecstore_proto.status import unavailable

if TYPE_CHECKING:
    from vecstore.ingest.coded import FieldCodec

Answer = TypeVar("Answer")


async def connect(
    address: str, *, token: str | None = None, timeout_s: float = RPC_TIMEOUT_S
) -> AsyncDatabase:
    """Connect to a server; arguments and errors as for `vecstore.connect`."""
    connection = AsyncConnection(address, token=token, timeout_s=timeout_s)
    try:
        await connection.run(calls.server_info(), min(connection.timeout_s, CONNECT_TIMEOUT_S))
    except DeadlineError:
        await connection.close()
        raise unavailable(connection.address) from None
    except BaseException:
        await connection.close()
        raise
    return AsyncDatabase(connection)


class AsyncDatabase:
    """A connection to a server; made by `connect`. See `RemoteDatabase`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"AsyncDatabase({self._connection.address!r})"

    async def create_collection(self, name: str, schema: Schema) -> AsyncCollection:
        """Make a collection."""
        self._connection.check_open()
        made = await self._connection.run(calls.create_collection(name, schema))
        return AsyncCollection(self._connection, made)

    async def collection(self, name: str) -> AsyncCollection:
        """The collection of that name, or NotFoundError."""
        self._connection.check_open()
        found = await self._connection.run(calls.get_collection(name))
        return AsyncCollection(self._connection, found)

    async def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        return await self._connection.run(calls.list_collections())

    async def drop_collection(self, name: str) -> None:
        """Delete a collection with all its records, or NotFoundError."""
        self._connection.check_open()
        await self._connection.run(calls.drop_collection(name))

    async def jobs(self) -> list[Job]:
        """Background work under way, waiting or failed, oldest first."""
        return await self._connection.run(calls.list_jobs())

    async def pause_jobs(self) -> None:
        """Hold up background work, until `resume_jobs` or the server ends."""
        await self._connection.run(calls.pause_jobs())

    async def resume_jobs(self) -> None:
        """Let background work go on."""
        await self._connection.run(calls.resume_jobs())

    async def check(self, progress: Progress | None = None) -> list[str]:
        """Have the server verify every checksum and invariant; the problems found."""
        return await self._connection.follow(calls.check(progress))

    async def repair(self, progress: Progress | None = None) -> RepairReport:
        """See `vecstore.database.Database.repair`."""
        return await self._connection.follow(calls.repair(progress))

    async def snapshot(self, target: str, *, progress: Progress | None = None) -> SnapshotInfo:
        """Have the server copy the database as of now; see `RemoteDatabase.snapshot`."""
        self._connection.check_open()
        return await self._connection.follow(calls.snapshot(target, progress))

    async def close(self) -> None:
        """Drop the connection; the server's database stays open."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncCollection:
    """A collection of a connected database. See `RemoteCollection`."""

    def __init__(self, connection: AsyncConnection, found: Found) -> None:
        self._connection = connection
        self._found = found

    @property
    def name(self) -> str:
        """The name it was created with."""
        return self._found.name

    @property
    def schema(self) -> Schema:
        """Its fields, as the server last told them; see `RemoteCollection.schema`."""
        return self._found.schema

    @property
    def id(self) -> int:
        """A number that no other collection of the database ever had, whatever its name."""
        return self._found.id

    def __repr__(self) -> str:
        return f"AsyncCollection({self.name!r})"

    async def upsert(
        self,
        ids: Ids,
        vectors: Mapping[str, Any] | Any = None,
        payloads: Sequence[Any] | None = None,
        *,
        ttl_s: float | Sequence[float | None] | None = None,
    ) -> int:
        """Write records, whole or not at all."""
        self._connection.check_open()
        made = calls.upsert(self._found, ids, vectors, payloads, ttl_s)
        return await self._connection.run(made)

    async def delete(self, ids: Ids | None = None, *, where: str | None = None) -> int:
        """Delete records by id, or all that a filter passes; the number deleted."""
        self._connection.check_open()
        return await self._connection.run(calls.delete(self._found, ids, where))

    async def flush(self) -> None:
        """Move the write buffer into a segment."""
        await self._connection.run(calls.flush(self._found))

    async def compact(self) -> None:
        """Flush, and write the segments again as few as fit, without what died."""
        await self._connection.run(calls.compact(self._found))

    async def alter(
        self,
        field: str,
        representations: Sequence[str] | None = None,
        *,
        pruning: str | None = None,
        pooling: str | None = None,
        wait: bool = True,
    ) -> None:
        """Change the representations or policies of a field; see `RemoteCollection.alter`."""
        self._connection.check_open()
        policies = (pruning, pooling)
        call = calls.alter(self._found, field, representations, policies, wait=wait)
        self._found = await self._connection.run(call)

    async def codec(self, field: str, spec: str | None = None) -> FieldCodec:
        """What makes the codes of a vector field; it encodes in this process.

        See `vecstore.collection.Collection.codec`.
        """
        self._connection.check_open()
        return await self._connection.run(calls.codec(self._found, field, spec))

    async def get(self, ids: Ids, *, with_vectors: bool = False) -> list[Record | None]:
        """Records by id, in the order of `ids`; None where there is none."""
        self._connection.check_open()
        return await self._connection.run(calls.get(self._found, ids, with_vectors=with_vectors))

    async def scroll(
        self, *, where: str | None = None, with_vectors: bool = False, batch: int = 256
    ) -> AsyncIterator[Record]:
        """Iterate over all records, oldest write first, reading `batch` of them at a time."""
        check_count("batch", batch, LIMIT_MAX)
        after: int | None = 0
        while after is not None:
            records, after = await self.scroll_page(
                after, batch, where=where, with_vectors=with_vectors
            )
            for record in records:
                yield record

    async def scroll_page(
        self, after: int, limit: int, *, where: str | None = None, with_vectors: bool = False
    ) -> tuple[list[Record], int | None]:
        """One page of a scroll: records, and the cursor of the next page or None."""
        self._connection.check_open()
        found: list[Record] = []
        following, left = after, limit
        while True:
            call = calls.scroll_page(self._found, following, left, where, with_vectors=with_vectors)
            records, next_after = await self._connection.run(call)
            found += records
            left -= len(records)
            if next_after is None or left <= 0:
                return found, next_after
            following = next_after

    async def count(self, where: str | None = None) -> int:
        """How many records there are, or how many a filter passes."""
        self._connection.check_open()
        return await self._connection.run(calls.count(self._found, where))

    async def stats(self) -> CollectionStats:
        """Counts and bytes, by representation."""
        return await self._connection.run(calls.stats(self._found))

    async def search(
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
        """The records nearest to one query."""
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
        return await self._connection.run(searches.search(self._found, vectors, asked))

    async def search_batch(
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
        """The records nearest to each of many queries; see `RemoteCollection.search_batch`."""
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
        return [hits for call in made for hits in await self._connection.run(call)]

    async def rerank(
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
        return await self._connection.run(searches.rerank(self._found, vectors, ids, asked))

    async def matches(
        self, vectors: Mapping[str, Any] | Any, ids: Ids
    ) -> list[TokenMatches | None]:
        """Which vector of each record matches each vector of a query best.

        See `vecstore.collection.Collection.matches`.
        """
        self._connection.check_open()
        made = searches.matches(self._found, vectors, ids)
        return [item for call in made for item in await self._connection.run(call)]

    async def measure_recall(
        self,
        vectors: Mapping[str, Any] | Any = None,
        *,
        field: str | None = None,
        limit: int = 10,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> Recall:
        """Have the server measure recall; see `RemoteCollection.measure_recall`."""
        self._connection.check_open()
        asked = RecallOptions(field=field, limit=limit, where=where)
        work = searches.measure_recall(self._found, vectors, asked, progress)
        return await self._connection.follow(work)
