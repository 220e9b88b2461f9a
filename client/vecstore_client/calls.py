"""What each method sends and how it reads the answer, without sending anything.

The sync and the asyncio client are two ways to run the same `Call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vecstore import options
from vecstore.errors import RequestError
from vecstore.reports import CollectionStats, Job, RepairReport, SnapshotInfo
from vecstore.request import check_count, check_progress
from vecstore.schema import Schema, check_name
from vecstore.types import Ids, Progress, Record
from vecstore_client import inputs
from vecstore_proto.codecs import codec_from_wire
from vecstore_proto.convert import (
    check_get_count,
    job_from_wire,
    schema_from_wire,
    schema_to_wire,
    stats_from_wire,
)
from vecstore_proto.results import page_from_wire, records_from_wire
from vecstore_proto.v1 import codec_pb2, database_pb2
from vecstore_proto.v1 import collection_pb2 as pb
from vecstore_proto.work import problems_from_wire, repair_from_wire, snapshot_from_wire

if TYPE_CHECKING:
    from vecstore.ingest.coded import FieldCodec

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Answer]):
    """One rpc.

    Attributes:
        method: its name; the service is known by it.
        request: the message, or an iterator of messages for a method that takes a stream.
        read: from the messages of the answer to a value.
        stream: the method and request to call where one message cannot hold the answer.
        long: it takes as long as it takes.
    """

    method: str
    request: Any
    read: Callable[[Sequence[Any]], Answer]
    stream: tuple[str, Any] | None = None
    long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[Answer]):
    """An rpc that says how far it has come, and takes as long as it takes.

    Attributes:
        method: its name.
        request: the message.
        read: from the reports that it ends with to a value.
        progress: is told how far it has come.
    """

    method: str
    request: Any
    read: Callable[[Sequence[Any]], Answer]
    progress: Progress | None

    def __post_init__(self) -> None:
        check_progress(self.progress)

    def reports(self, answer: Any) -> list[Any]:
        """The report in a message of the answer; of progress it tells, and there is none."""
        if answer.WhichOneof("answer") != "progress":
            return [answer.report]
        if self.progress is not None:
            self.progress(answer.progress.what, answer.progress.done, answer.progress.total)
        return []


@dataclass(frozen=True, slots=True)
class Found:
    """A collection that a server said it has.

    Attributes:
        name: what it is called.
        id: tells it from others of that name.
        schema: its fields.
    """

    name: str
    id: int
    schema: Schema


# The database


def server_info() -> Call[str]:
    """The version of the server."""
    request = database_pb2.GetServerInfoRequest()
    return Call(method="GetServerInfo", request=request, read=lambda parts: str(parts[0].version))


def create_collection(name: str, schema: Schema) -> Call[Found]:
    """Make a collection."""
    inputs.check_collection_name(name)
    inputs.check_schema(schema)
    request = database_pb2.CreateCollectionRequest(name=name, schema=schema_to_wire(schema))
    return Call(method="CreateCollection", request=request, read=_read_found(name))


def get_collection(name: str) -> Call[Found]:
    """Find a collection."""
    inputs.check_collection_name(name)
    request = database_pb2.GetCollectionRequest(name=name)
    return Call(method="GetCollection", request=request, read=_read_found(name))


def list_collections() -> Call[list[str]]:
    """The names of the collections."""
    request = database_pb2.ListCollectionsRequest()
    return Call(method="ListCollections", request=request, read=lambda parts: list(parts[0].names))


def drop_collection(name: str) -> Call[None]:
    """Delete a collection."""
    inputs.check_collection_name(name)
    request = database_pb2.DropCollectionRequest(name=name)
    return Call(method="DropCollection", request=request, read=lambda _: None)


def list_jobs() -> Call[list[Job]]:
    """Background work."""
    request = database_pb2.ListJobsRequest()
    return Call(
        method="ListJobs",
        request=request,
        read=lambda parts: list(map(job_from_wire, parts[0].jobs)),
    )


def pause_jobs() -> Call[None]:
    """Hold up background work."""
    request = database_pb2.PauseJobsRequest()
    return Call(method="PauseJobs", request=request, read=lambda _: None)


def resume_jobs() -> Call[None]:
    """Let background work go on."""
    request = database_pb2.ResumeJobsRequest()
    return Call(method="ResumeJobs", request=request, read=lambda _: None)


def check(progress: Progress | None) -> Work[list[str]]:
    """The problems of the database."""
    request = database_pb2.CheckRequest()
    return Work(method="Check", request=request, read=problems_from_wire, progress=progress)


def repair(progress: Progress | None) -> Work[RepairReport]:
    """Make the database sound."""
    request = database_pb2.RepairRequest()
    return Work(method="Repair", request=request, read=repair_from_wire, progress=progress)


def snapshot(target: str, progress: Progress | None) -> Work[SnapshotInfo]:
    """Copy the database, to a place that the server names."""
    request = database_pb2.SnapshotRequest(name=check_name("snapshot", target))
    return Work(method="Snapshot", request=request, read=snapshot_from_wire, progress=progress)


def _read_found(name: str) -> Callable[[Sequence[Any]], Found]:
    return lambda parts: Found(name, parts[0].id, schema_from_wire(parts[0].schema))


# Writes to a collection


def upsert(
    found: Found,
    ids: Ids,
    vectors: Any,
    payloads: Sequence[Any] | None,
    ttl_s: float | Sequence[float | None] | None = None,
) -> Call[int]:
    """Write a batch: as one message, or as a stream of them where it is large."""
    batch = inputs.read_batch(found.schema, ids, vectors, payloads, ttl_s)
    parts = batch.parts()
    if len(parts) == 1:
        request = pb.UpsertRequest(collection=found.name, collection_id=found.id)
        batch.to_wire(parts[0], request.records)
        return Call(method="Upsert", request=request, read=_read_written)

    def requests() -> Iterator[pb.UpsertStreamRequest]:
        for rows in parts:
            part = pb.UpsertStreamRequest(
                collection=found.name, collection_id=found.id, last=rows is parts[-1]
            )
            batch.to_wire(rows, part.records)
            yield part

    return Call(method="UpsertStream", request=requests(), read=_read_written)


def _read_written(parts: Sequence[Any]) -> int:
    return int(parts[0].written)


def delete(found: Found, ids: Ids | None, where: str | None) -> Call[int]:
    """Delete by ids or by filter; that it is one of both is checked by the server."""
    request = pb.DeleteRequest(
        collection=found.name,
        collection_id=found.id,
        ids=None if ids is None else inputs.read_ids(ids),
        where=inputs.read_where(found.schema, where),
    )
    return Call(method="Delete", request=request, read=lambda parts: int(parts[0].deleted))


def flush(found: Found) -> Call[None]:
    """Move the write buffer to a segment."""
    request = pb.FlushRequest(collection=found.name, collection_id=found.id)
    return Call(method="Flush", request=request, read=lambda _: None)


def compact(found: Found) -> Call[None]:
    """Write the segments again without what died."""
    request = pb.CompactRequest(collection=found.name, collection_id=found.id)
    return Call(method="Compact", request=request, read=lambda _: None, long=True)


def alter(
    found: Found,
    field: str,
    representations: Sequence[str] | None,
    policies: tuple[str | None, str | None],
    *,
    wait: bool,
) -> Call[Found]:
    """Change the representations of a field, or how it prunes and pools; what it is then."""
    if not isinstance(wait, bool):
        raise RequestError(f"wait is {wait!r}, expected a bool")
    kept = representations is None
    pruning, pooling = inputs.read_policies(found.schema, field, *policies)
    request = pb.AlterRequest(
        collection=found.name,
        collection_id=found.id,
        field=field,
        representations=() if kept else inputs.read_ladder(found.schema, field, representations),
        keep_representations=kept,
        pruning=pruning,
        pooling=pooling,
        wait=wait,
    )
    return Call(
        method="Alter",
        request=request,
        read=lambda parts: replace(found, schema=schema_from_wire(parts[0].schema)),
        long=wait,
    )


# Reads from a collection


def get(found: Found, ids: Ids, *, with_vectors: bool) -> Call[list[Record | None]]:
    """Records by id."""
    ids = inputs.as_ids(ids)
    wired = inputs.read_ids(ids)
    check_get_count(ids)
    request = pb.GetRequest(
        collection=found.name,
        collection_id=found.id,
        ids=wired,
        with_vectors=bool(with_vectors),
    )
    return Call(
        method="Get",
        request=request,
        read=lambda parts: records_from_wire(parts, len(ids)),
        stream=("GetStream", pb.GetStreamRequest(request=request)),
    )


def scroll_page(
    found: Found, after: int, limit: int, where: str | None, *, with_vectors: bool
) -> Call[tuple[list[Record], int | None]]:
    """A page, which the server may cut short; the cursor of the next one."""
    check_count("limit", limit, options.LIMIT_MAX)
    inputs.check_cursor(after)
    request = pb.ScrollRequest(
        collection=found.name,
        collection_id=found.id,
        after=after,
        limit=limit,
        where=inputs.read_where(found.schema, where),
        with_vectors=bool(with_vectors),
    )
    return Call(method="Scroll", request=request, read=_read_page)


def _read_page(parts: Sequence[Any]) -> tuple[list[Record], int | None]:
    (page,) = parts
    return page_from_wire(page.records), page.next if page.HasField("next") else None


def count(found: Found, where: str | None) -> Call[int]:
    """How many records there are."""
    request = pb.CountRequest(
        collection=found.name, collection_id=found.id, where=inputs.read_where(found.schema, where)
    )
    return Call(method="Count", request=request, read=lambda parts: int(parts[0].records))


def codec(found: Found, field: str, spec: str | None) -> Call[FieldCodec]:
    """What makes the codes of a field, made here again."""
    request = codec_pb2.GetCodecRequest(
        collection=found.name,
        collection_id=found.id,
        field=field,
        spec=inputs.read_spec(found.schema, field, spec),
    )
    return Call(
        method="GetCodec",
        request=request,
        read=lambda parts: inputs.make_codec(field, codec_from_wire(parts)),
        stream=("GetCodecStream", codec_pb2.GetCodecStreamRequest(request=request)),
    )


def stats(found: Found) -> Call[CollectionStats]:
    """What the collection costs."""
    request = pb.GetStatsRequest(collection=found.name, collection_id=found.id)
    return Call(method="GetStats", request=request, read=lambda parts: stats_from_wire(parts[0]))
