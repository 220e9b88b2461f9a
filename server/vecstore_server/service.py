"""What each rpc does: decode, call the database, encode.

The names of the methods are those of the protocol; errors are left to the interceptors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import vecstore
from vecstore import options
from vecstore.errors import RequestError
from vecstore.types import Hits
from vecstore_proto.convert import (
    Batch,
    batch_from_wire,
    ids_from_wire,
    plan_from_wire,
    schema_from_wire,
    schema_to_wire,
    stats_to_wire,
    vectors_from_wire,
)
from vecstore_proto.results import hits_to_wire, records_to_wire
from vecstore_proto.status import AnswerTooLarge
from vecstore_proto.v1 import collection_pb2 as pb
from vecstore_proto.v1 import collection_pb2_grpc, database_pb2, database_pb2_grpc

if TYPE_CHECKING:
    from vecstore.collection import Collection
    from vecstore.database import Database

UPLOAD_BYTES_MAX = 1 << 30
"""A batch that comes as a stream may have this many bytes, as it is held in memory."""

Part = TypeVar("Part")


class OpenCollections:
    """The collections that were asked for; finding one here waits for no write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[str, Collection] = {}

    def __getitem__(self, name: str) -> Collection:
        found = self._found.get(name)
        return self.find(name) if found is None else found

    def find(self, name: str) -> Collection:
        """Ask the database; one that was dropped stays known here, and says so when it is used."""
        found = self._found[name] = self._database.collection(name)
        return found


class DatabaseService(database_pb2_grpc.DatabaseServiceServicer):
    """The rpcs of `vecstore.v1.DatabaseService`."""

    def __init__(self, database: Database, collections: OpenCollections) -> None:
        self._database = database
        self._collections = collections

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        return database_pb2.GetServerInfoResponse(version=vecstore.__version__)

    def CreateCollection(self, request: Any, context: Any) -> Any:
        schema = schema_from_wire(request.schema)
        self._database.create_collection(request.name, schema)
        made = self._collections.find(request.name)
        return database_pb2.CreateCollectionResponse(schema=schema_to_wire(made.schema))

    def GetCollection(self, request: Any, context: Any) -> Any:
        found = self._collections.find(request.name)
        return database_pb2.GetCollectionResponse(schema=schema_to_wire(found.schema))

    def ListCollections(self, request: Any, context: Any) -> Any:
        return database_pb2.ListCollectionsResponse(names=self._database.collections())

    def DropCollection(self, request: Any, context: Any) -> Any:
        self._database.drop_collection(request.name)
        return database_pb2.DropCollectionResponse()

    def Check(self, request: Any, context: Any) -> Any:
        return database_pb2.CheckResponse(problems=self._database.check())


class CollectionService(collection_pb2_grpc.CollectionServiceServicer):
    """The rpcs of `vecstore.v1.CollectionService`."""

    def __init__(self, collections: OpenCollections) -> None:
        self._collections = collections

    def Upsert(self, request: pb.UpsertRequest, context: Any) -> Any:
        (batch,) = batch_from_wire([request.records])
        return pb.UpsertResponse(written=self._collections[request.collection].upsert(*batch))

    def UpsertStream(self, request_iterator: Iterator[pb.UpsertStreamRequest], context: Any) -> Any:
        first, batch = _receive(request_iterator)
        return pb.UpsertStreamResponse(written=self._collections[first.collection].upsert(*batch))

    def Delete(self, request: pb.DeleteRequest, context: Any) -> Any:
        ids = ids_from_wire(request.ids) if request.HasField("ids") else None
        return pb.DeleteResponse(
            deleted=self._collections[request.collection].delete(ids, where=_where(request))
        )

    def Get(self, request: pb.GetRequest, context: Any) -> Any:
        return _only(self._get(request))

    def GetStream(self, request: pb.GetStreamRequest, context: Any) -> Any:
        for part in self._get(request.request):
            yield pb.GetStreamResponse(part=part)

    def Scroll(self, request: pb.ScrollRequest, context: Any) -> Any:
        collection, limit = self._collections[request.collection], request.limit
        while True:
            records, following = collection.scroll_page(
                request.after, limit, where=_where(request), with_vectors=request.with_vectors
            )
            try:
                page = _only(records_to_wire(records))
            except AnswerTooLarge:
                limit = max(len(records) // 2, 1)
            else:
                return pb.ScrollResponse(records=page.records, next=following)

    def Count(self, request: pb.CountRequest, context: Any) -> Any:
        return pb.CountResponse(
            records=self._collections[request.collection].count(_where(request))
        )

    def GetStats(self, request: pb.GetStatsRequest, context: Any) -> Any:
        return stats_to_wire(self._collections[request.collection].stats())

    def Flush(self, request: pb.FlushRequest, context: Any) -> Any:
        self._collections[request.collection].flush()
        return pb.FlushResponse()

    def Search(self, request: pb.SearchRequest, context: Any) -> Any:
        return _only(hits_to_wire(self._search(request)))

    def SearchStream(self, request: pb.SearchStreamRequest, context: Any) -> Any:
        for part in hits_to_wire(self._search(request.request)):
            yield pb.SearchStreamResponse(part=part)

    def _get(self, request: pb.GetRequest) -> Iterator[pb.GetResponse]:
        ids = ids_from_wire(request.ids)
        return records_to_wire(
            self._collections[request.collection].get(ids, with_vectors=request.with_vectors)
        )

    def _search(self, request: pb.SearchRequest) -> Sequence[Hits]:
        collection = self._collections[request.collection]
        vectors = vectors_from_wire(request.vectors, len(request.vectors))
        plan = plan_from_wire(request.plan) if request.HasField("plan") else None
        search: Any = collection.search_batch if request.batch else collection.search
        found = search(
            vectors,
            limit=request.limit,
            where=_where(request),
            plan=plan,
            exact=request.exact,
            with_payload=request.with_payload,
            with_vectors=request.with_vectors,
            explain=request.explain,
        )
        return found if request.batch else [found]


def _where(request: Any) -> str | None:
    return request.where if request.HasField("where") else None


def _only(parts: Iterator[Part]) -> Part:
    """The only part of an answer, or AnswerTooLarge where there are more."""
    first = next(parts)
    if next(parts, None) is not None:
        raise AnswerTooLarge
    return first


def _receive(requests: Iterator[pb.UpsertStreamRequest]) -> tuple[pb.UpsertStreamRequest, Batch]:
    """The first part of a stream, and all parts joined to one batch.

    A stream that broke may look like one that ended, so that the last part has to say so.
    """
    first: pb.UpsertStreamRequest | None = None
    complete = False
    parts: list[Batch] = []
    size = rows = 0
    for request in requests:
        size += request.ByteSize()
        first = first or request
        complete = request.last
        parts += batch_from_wire([request.records])
        rows += len(parts[-1].ids)
        if size > UPLOAD_BYTES_MAX or rows > options.BATCH_ROWS_MAX:
            raise RequestError(
                f"batch has more than {UPLOAD_BYTES_MAX:,} bytes or {options.BATCH_ROWS_MAX:,} "
                "records, expected less; write it as several batches"
            )
    if first is None or not complete:
        raise RequestError(f"the stream ended after {len(parts)} parts, before its last one")
    return first, _joined(parts)


def _joined(parts: Sequence[Batch]) -> Batch:
    names = {
        (part.payloads is None, tuple(part.vectors) if isinstance(part.vectors, dict) else "")
        for part in parts
    }
    if len(names) != 1:
        raise RequestError("parts of the stream differ in their fields, expected the same in each")
    vectors = [part.vectors for part in parts]
    joined: Any
    if isinstance(vectors[0], dict):
        joined = {field: _end_to_end([part[field] for part in vectors]) for field in vectors[0]}
    else:
        joined = None if vectors[0] is None else _end_to_end(vectors)
    return Batch(
        ids=[id_ for part in parts for id_ in part.ids],
        vectors=joined,
        payloads=None
        if parts[0].payloads is None
        else [payload for part in parts for payload in part.payloads or ()],
    )


def _end_to_end(values: Sequence[Any]) -> Any:
    """Vectors of one field, part after part: an array, or a list where some are None."""
    if any(isinstance(value, list) for value in values):
        return [vector for value in values for vector in value]
    shapes = {value.shape[1:] for value in values}
    if len(shapes) != 1 or len({value.dtype for value in values}) != 1:
        raise RequestError(f"parts of the stream have vectors of shapes {shapes}, expected one")
    return np.concatenate(values)
