"""What each method that takes queries sends, and how it reads the answer; see `calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from vecstore import options
from vecstore.reports import Recall
from vecstore.request import SearchOptions, SearchRequest, check_count, check_group, check_recall
from vecstore.tokens import Tokens
from vecstore.types import Hits, Ids, Progress, TokenMatches
from vecstore_client import inputs
from vecstore_client.calls import Call, Found, Work
from vecstore_client.queries import ReadQueries, read_queries
from vecstore_proto.convert import plan_to_wire
from vecstore_proto.recalls import recall_from_wire
from vecstore_proto.results import hits_from_wire, matches_from_wire, spans
from vecstore_proto.v1 import collection_pb2 as pb
from vecstore_proto.v1 import recall_pb2


class RerankOptions(TypedDict):
    """The keywords of `rerank`."""

    limit: int | None
    token_budget: int | None
    with_payload: bool
    with_vectors: bool


class RecallOptions(TypedDict):
    """The keywords of `measure_recall`, but `progress`."""

    field: str | None
    limit: int
    where: str | None


def search(found: Found, vectors: Any, asked: SearchOptions) -> Call[Hits]:
    """One query."""
    queries = read_queries(found.schema, vectors, many=False, agg=asked["agg"])
    request = _search_request(found, queries, asked)
    queries.to_wire(slice(None), request)
    return Call(
        method="Search",
        request=request,
        read=lambda parts: hits_from_wire(parts)[0],
        stream=("SearchStream", pb.SearchStreamRequest(request=request)),
    )


def search_batch(found: Found, vectors: Any, asked: SearchOptions) -> list[Call[list[Hits]]]:
    """Many queries, in calls that are not too large; their answers go end to end."""
    queries = read_queries(found.schema, vectors, many=True, agg=asked["agg"])
    made = []
    for rows in queries.parts():
        request = _search_request(found, queries, asked)
        queries.to_wire(rows, request)
        request.batch = True
        stream = ("SearchStream", pb.SearchStreamRequest(request=request))
        made.append(Call(method="Search", request=request, read=hits_from_wire, stream=stream))
    return made


def rerank(found: Found, vectors: Any, ids: Ids, asked: RerankOptions) -> Call[Hits]:
    """One query and the records that it is scored with."""
    given = inputs.as_ids(ids)
    inputs.check_ids_asked(given, "rerank")
    queries = read_queries(found.schema, vectors, many=False)
    limit = asked["limit"]
    SearchRequest(
        field="",
        queries=np.empty((1, 0), dtype=np.float32),
        limit=1 if limit is None else limit,
        token_queries=queries.token_queries,
        token_budget=asked["token_budget"],
    )
    request = pb.SearchRequest(
        collection=found.name,
        collection_id=found.id,
        limit=limit or 0,
        token_budget=asked["token_budget"],
        with_payload=bool(asked["with_payload"]),
        with_vectors=bool(asked["with_vectors"]),
    )
    request.among.CopyFrom(inputs.read_ids(given))
    queries.to_wire(slice(None), request)
    return Call(
        method="Search",
        request=request,
        read=lambda parts: hits_from_wire(parts)[0],
        stream=("SearchStream", pb.SearchStreamRequest(request=request)),
    )


def matches(found: Found, vectors: Any, ids: Ids) -> list[Call[list[TokenMatches | None]]]:
    """What matches a query, in calls whose answers are not too large."""
    given = inputs.as_ids(ids)
    inputs.check_ids_asked(given, "matches")
    queries = read_queries(found.schema, vectors, many=False)
    size = max(map(len, queries.fields.values())) * (np.int64(0).nbytes + np.float32(0).nbytes)
    made = []
    for start, stop in spans([size] * len(given), options.REQUEST_BYTES_TARGET):
        request = pb.MatchTokensRequest(
            collection=found.name,
            collection_id=found.id,
            ids=inputs.read_ids(given[start:stop]),
        )
        queries.to_wire(slice(None), request)
        made.append(_match_call(request, stop - start))
    return made


def measure_recall(
    found: Found, vectors: Any, asked: RecallOptions, progress: Progress | None
) -> Work[Recall]:
    """Queries to measure recall on, if they are given."""
    field = asked["field"]
    if field is not None:
        found.schema.vector(field)
    request = recall_pb2.MeasureRecallRequest(
        collection=found.name,
        collection_id=found.id,
        field=field,
        limit=check_count("limit", asked["limit"], options.LIMIT_MAX),
        where=inputs.read_where(found.schema, asked["where"]),
    )
    if vectors is not None:
        queries = read_queries(found.schema, vectors, many=True)
        given = queries.fields.values()
        arrays = (each.vectors if isinstance(each, Tokens) else each for each in given)
        check_recall(queries.count, sum(array.size for array in arrays))
        queries.to_wire(slice(None), request)
    return Work(
        method="MeasureRecall",
        request=request,
        read=lambda parts: recall_from_wire(parts[0]),
        progress=progress,
    )


def _match_call(request: pb.MatchTokensRequest, count: int) -> Call[list[TokenMatches | None]]:
    def read(parts: Sequence[Any]) -> list[TokenMatches | None]:
        return matches_from_wire(parts[0], count)

    return Call(method="MatchTokens", request=request, read=read)


def _search_request(found: Found, queries: ReadQueries, asked: SearchOptions) -> pb.SearchRequest:
    """The message without its queries; the options are checked as the database does it."""
    count = np.empty((queries.count, 0), dtype=np.float32)
    SearchRequest(field="", queries=count, token_queries=queries.token_queries, **asked)
    check_group(found.schema, asked["group_by"])
    plan = asked["plan"]
    return pb.SearchRequest(
        collection=found.name,
        collection_id=found.id,
        limit=asked["limit"],
        where=inputs.read_where(found.schema, asked["where"]),
        plan=None if plan is None else plan_to_wire(plan),
        exact=bool(asked["exact"]),
        token_budget=asked["token_budget"],
        group_by=asked["group_by"],
        agg=asked["agg"],
        with_payload=bool(asked["with_payload"]),
        with_vectors=bool(asked["with_vectors"]),
        explain=bool(asked["explain"]),
    )
