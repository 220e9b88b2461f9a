"""What each rpc does: decode, call the database, encode.

The names of the methods are those of the protocol; errors are left to the interceptors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import vecstore
from vecstore import options
from vecstore.errors import NotFoundError, RequestError
from vecstore.request import check_count
from vecstore.types import Hits, Id, Progress, Record
from vecstore_proto import results
from vecstore_proto.codecs import CodecValues, codec_to_wire
from vecstore_proto.convert import (
    Batch,
    batch_from_wire,
    check_get_count,
    ids_from_wire,
    job_to_wire,
    plan_from_wire,
    queries_from_wire,
    schema_from_wire,
    schema_to_wire,
    stats_to_wire,
)
from vecstore_proto.recalls import recall_to_wire
from vecstore_proto.results import RecordsPart, hits_to_wire, matches_to_wire, records_to_wire
from vecstore_proto.tensors import Vectors
from vecstore_proto.v1 import (
    codec_pb2,
    collection_pb2_grpc,
    database_pb2,
    database_pb2_grpc,
    recall_pb2,
)
from vecstore_proto.v1 import collection_pb2 as pb
from vecstore_proto.work import (
    problems_to_wire,
    repair_to_wire,
    snapshot_to_wire,
)
from vecstore_server.receiving import receive
from vecstore_server.snapshots import SnapshotPlace
from vecstore_server.telling import Tell, tell_jobs, tell_repair, tell_stats
from vecstore_server.working import LongCalls, in_pool

if TYPE_CHECKING:
    from vecstore.collection import Collection
    from vecstore.database import Database


class OpenCollections:
    """The collections that were asked for; finding one here waits for no write.

    Attributes:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._found: dict[str, Collection] = {}

    def of(self, request: Any) -> Collection:
        """The collection that a request names, by its id too where it has one.

        Raises:
            NotFoundError: there is none, or it is another one by now.
        """
        name, wanted = request.collection, request.collection_id
        found = self._found.get(name)
        if found is None or found.id != wanted:
            try:
                found = self.find(name)
            except NotFoundError:
                if not wanted:
                    raise
                found = None
        if found is None or wanted not in (0, found.id):
            raise NotFoundError(f"no collection {name!r}; it was dropped")
        return found

    def find(self, name: str) -> Collection:
        """Ask the database."""
        self._found.pop(name, None)
        found = self._found[name] = self.database.collection(name)
        return found

    def drop(self, name: str) -> None:
        """Drop it, and forget it."""
        self.database.drop_collection(name)
        self._found.pop(name, None)


class DatabaseService(database_pb2_grpc.DatabaseServiceServicer):
    """The rpcs of `vecstore.v1.DatabaseService`."""

    def __init__(
        self,
        collections: OpenCollections,
        long_calls: LongCalls,
        snapshots: SnapshotPlace,
        tell: Tell,
    ) -> None:
        self._database = collections.database
        self._collections = collections
        self._follow = long_calls.follow
        self._snapshots = snapshots
        self._tell = tell
        self.Check: Any = long_calls.apart(self._check)
        self.Repair: Any = long_calls.apart(self._repair)
        self.Snapshot: Any = long_calls.apart(self._snapshot)

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        return database_pb2.GetServerInfoResponse(version=vecstore.__version__)

    def CreateCollection(self, request: Any, context: Any) -> Any:
        schema = schema_from_wire(request.schema)
        self._database.create_collection(request.name, schema)
        made = self._collections.find(request.name)
        return database_pb2.CreateCollectionResponse(schema=schema_to_wire(made.schema), id=made.id)

    def GetCollection(self, request: Any, context: Any) -> Any:
        found = self._collections.find(request.name)
        return database_pb2.GetCollectionResponse(schema=schema_to_wire(found.schema), id=found.id)

    def ListCollections(self, request: Any, context: Any) -> Any:
        return database_pb2.ListCollectionsResponse(names=self._database.collections())

    def DropCollection(self, request: Any, context: Any) -> Any:
        self._collections.drop(request.name)
        return database_pb2.DropCollectionResponse()

    def ListJobs(self, request: Any, context: Any) -> Any:
        jobs = tell_jobs(self._database.jobs(), self._tell)
        return database_pb2.ListJobsResponse(jobs=map(job_to_wire, jobs))

    def PauseJobs(self, request: Any, context: Any) -> Any:
        self._database.pause_jobs()
        return database_pb2.PauseJobsResponse()

    def ResumeJobs(self, request: Any, context: Any) -> Any:
        self._database.resume_jobs()
        return database_pb2.ResumeJobsResponse()

    def _check(self, request: Any, context: Any) -> Any:
        def work(progress: Progress) -> Any:
            return problems_to_wire([self._tell(text) for text in self._database.check(progress)])

        return self._follow(work, database_pb2.CheckResponse, context)

    def _repair(self, request: Any, context: Any) -> Any:
        def work(progress: Progress) -> Any:
            return repair_to_wire(tell_repair(self._database.repair(progress), self._tell))

        return self._follow(work, database_pb2.RepairResponse, context)

    def _snapshot(self, request: Any, context: Any) -> Any:
        target = self._snapshots.target(request.name)

        def work(progress: Progress) -> Any:
            return snapshot_to_wire(self._database.snapshot(target, progress=progress))

        return self._follow(work, database_pb2.SnapshotResponse, context)


class CollectionService(collection_pb2_grpc.CollectionServiceServicer):
    """The rpcs of `vecstore.v1.CollectionService`; `receivers` run those that take a stream."""

    def __init__(
        self,
        collections: OpenCollections,
        receivers: ThreadPoolExecutor,
        long_calls: LongCalls,
        tell: Tell,
    ) -> None:
        self._collections = collections
        self._tell = tell
        # Streams wait for their clients, so they do it in threads that nothing else needs.
        self.UpsertStream: Any = in_pool(self._upsert_stream, receivers)
        self.Compact: Any = long_calls.apart(self._compact)
        self.Alter: Any = long_calls.apart(self._alter)
        self._follow = long_calls.follow
        self.MeasureRecall: Any = long_calls.apart(self._measure_recall)

    def Upsert(self, request: pb.UpsertRequest, context: Any) -> Any:
        (batch,) = batch_from_wire([request.records])
        return pb.UpsertResponse(written=_upsert(self._collections.of(request), batch))

    def _upsert_stream(self, requests: Iterator[pb.UpsertStreamRequest], context: Any) -> Any:
        first, batch = receive(requests, context)
        return pb.UpsertStreamResponse(written=_upsert(self._collections.of(first), batch))

    def Delete(self, request: pb.DeleteRequest, context: Any) -> Any:
        ids = ids_from_wire(request.ids) if request.HasField("ids") else None
        return pb.DeleteResponse(
            deleted=self._collections.of(request).delete(ids, where=_where(request))
        )

    def Get(self, request: pb.GetRequest, context: Any) -> Any:
        return next(records_to_wire(self._get(request), single=True))

    def GetStream(self, request: pb.GetStreamRequest, context: Any) -> Any:
        for part in records_to_wire(self._get(request.request)):
            yield pb.GetStreamResponse(part=part)

    def Scroll(self, request: pb.ScrollRequest, context: Any) -> Any:
        collection, where = self._collections.of(request), _where(request)
        check_count("limit", request.limit, options.LIMIT_MAX)
        part, left = RecordsPart(), request.limit
        following: int | None = request.after
        rows = results.READ_ROWS
        while following is not None and left:
            after = following
            records, following = collection.scroll_page(
                after, min(left, rows), where=where, with_vectors=request.with_vectors
            )
            rows, read = part.add(records), len(records)
            del records  # before more are read
            if rows == read:
                left -= read
                rows = results.READ_ROWS
            else:
                following = after  # read again: as many as there is room for, or by the next page
                if len(part):
                    break
        answer = pb.ScrollResponse(next=following)
        part.to_wire(answer.records)
        return answer

    def Count(self, request: pb.CountRequest, context: Any) -> Any:
        return pb.CountResponse(records=self._collections.of(request).count(_where(request)))

    def GetCodec(self, request: codec_pb2.GetCodecRequest, context: Any) -> Any:
        return next(codec_to_wire(self._codec(request), single=True))

    def GetCodecStream(self, request: codec_pb2.GetCodecStreamRequest, context: Any) -> Any:
        for part in codec_to_wire(self._codec(request.request)):
            yield codec_pb2.GetCodecStreamResponse(part=part)

    def GetStats(self, request: pb.GetStatsRequest, context: Any) -> Any:
        return stats_to_wire(tell_stats(self._collections.of(request).stats(), self._tell))

    def Flush(self, request: pb.FlushRequest, context: Any) -> Any:
        self._collections.of(request).flush()
        return pb.FlushResponse()

    def _compact(self, request: pb.CompactRequest, context: Any) -> Any:
        self._collections.of(request).compact()
        return pb.CompactResponse()

    def _alter(self, request: pb.AlterRequest, context: Any) -> Any:
        collection = self._collections.of(request)
        collection.alter(
            request.field,
            None if request.keep_representations else list(request.representations),
            pruning=request.pruning if request.HasField("pruning") else None,
            pooling=request.pooling if request.HasField("pooling") else None,
            wait=request.wait,
        )
        return pb.AlterResponse(schema=schema_to_wire(collection.schema))

    def Search(self, request: pb.SearchRequest, context: Any) -> Any:
        return next(hits_to_wire(self._search(request), single=True))

    def SearchStream(self, request: pb.SearchStreamRequest, context: Any) -> Any:
        for part in hits_to_wire(self._search(request.request)):
            yield pb.SearchStreamResponse(part=part)

    def MatchTokens(self, request: pb.MatchTokensRequest, context: Any) -> Any:
        vectors = queries_from_wire(request.vectors)
        found = self._collections.of(request).matches(vectors, ids_from_wire(request.ids))
        return matches_to_wire(found)

    def _measure_recall(self, request: recall_pb2.MeasureRecallRequest, context: Any) -> Any:
        collection = self._collections.of(request)
        vectors = queries_from_wire(request.vectors) if request.vectors else None

        def work(progress: Progress) -> Any:
            measured = collection.measure_recall(
                vectors,
                field=request.field if request.HasField("field") else None,
                limit=request.limit,
                where=_where(request),
                progress=progress,
            )
            return [recall_to_wire(measured)]

        return self._follow(work, recall_pb2.MeasureRecallResponse, context)

    def _codec(self, request: codec_pb2.GetCodecRequest) -> CodecValues:
        spec = request.spec if request.HasField("spec") else None
        found = self._collections.of(request).codec(request.field, spec)
        return CodecValues(found.spec, found.dim, found.metric, found.params, found.fingerprint)

    def _get(self, request: pb.GetRequest) -> Iterator[Record | None]:
        """The records in the order of the request; an id that comes again is read once in a run."""
        collection, ids = self._collections.of(request), ids_from_wire(request.ids)
        check_get_count(ids)
        for run in _runs(ids):
            unique = list(dict.fromkeys(run))
            records = collection.get(unique, with_vectors=request.with_vectors)
            places = {id_: place for place, id_ in enumerate(unique)}
            for id_ in run:
                yield records[places[id_]]
            del records  # before more are read

    def _search(self, request: pb.SearchRequest) -> Sequence[Hits]:
        collection = self._collections.of(request)
        vectors = queries_from_wire(request.vectors)
        if request.HasField("among"):
            return [_rerank(collection, vectors, request)]
        plan = plan_from_wire(request.plan) if request.HasField("plan") else None
        search: Any = collection.search_batch if request.batch else collection.search
        found = search(
            vectors,
            limit=request.limit,
            where=_where(request),
            plan=plan,
            exact=request.exact,
            token_budget=_budget(request),
            group_by=request.group_by if request.HasField("group_by") else None,
            agg=request.agg or "maxsim",
            with_payload=request.with_payload,
            with_vectors=request.with_vectors,
            explain=request.explain,
        )
        return found if request.batch else [found]


def _upsert(collection: Collection, batch: Batch) -> int:
    return collection.upsert(batch.ids, batch.vectors, batch.payloads, ttl_s=batch.ttl_s)


def _rerank(collection: Collection, vectors: Vectors, request: pb.SearchRequest) -> Hits:
    given = [request.batch, request.exact, request.agg]
    if any(given) or any(map(request.HasField, ("where", "plan", "group_by"))):
        raise RequestError(
            "`among` takes one query, without a filter, a plan, `exact`, `group_by` or `agg`"
        )
    return collection.rerank(
        vectors,
        ids_from_wire(request.among),
        limit=request.limit or None,
        token_budget=_budget(request),
        with_payload=request.with_payload,
        with_vectors=request.with_vectors,
    )


def _budget(request: pb.SearchRequest) -> int | None:
    return request.token_budget if request.HasField("token_budget") else None


def _where(request: Any) -> str | None:
    return request.where if request.HasField("where") else None


def _runs(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
    for start in range(0, max(len(ids), 1), results.READ_ROWS):
        yield ids[start : start + results.READ_ROWS]
