"""What a collection holds, read without a query."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.ingest.batch import check_ids_asked, check_queries
from vecstore.ingest.coded import FieldCodec
from vecstore.ingest.encoders import field_codec
from vecstore.ingest.store import CollectionStore
from vecstore.request import SearchRequest, check_count, check_recall
from vecstore.schema import Schema
from vecstore.search.answer import passing
from vecstore.search.records import page, records_at
from vecstore.search.where import Node, parse_where
from vecstore.types import Ids, Record


class Holdings:
    """The records of a collection; the part of `Collection` that reads them as they are."""

    def __init__(self, store: CollectionStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """The name it was created with."""
        return self._store.name

    @property
    def schema(self) -> Schema:
        """Its fields, with every representation spelled out, coarse to fine."""
        return self._store.info.schema

    @property
    def id(self) -> int:
        """A number that no other collection of the database ever had, whatever its name."""
        return self._store.id

    def codec(self, field: str, spec: str | None = None) -> FieldCodec:
        """What makes the codes of a vector field, to encode elsewhere and `upsert` the codes.

        Codes of the finest representation can be uploaded; they are kept byte for byte, and the
        coarser ones are made from them. With cosine they are codes of vectors of unit length.
        While codes of a trained codec come, that codec is not trained again; where rows of two of
        them are merged, those of the one with fewer rows are encoded again, or of the one whose
        ranges clip the others.

        Args:
            field: the vector field.
            spec: one of its representations; by default the finest.

        Returns:
            The codec: of a trained representation the newest one.

        Raises:
            NotFoundError: no such field or representation, or it learns from vectors, and no
                flush has trained it yet.
            CodecError: it is a multivector field, which takes no codes.
        """
        return field_codec(self._store, field, spec)

    def get(self, ids: Ids, *, with_vectors: bool = False) -> list[Record | None]:
        """Records by id, in the order of `ids`; None where there is none."""
        encoded = check_ids_asked(ids, "get", options.GET_IDS_MAX)
        return records_at(self._store.find(encoded), with_vectors=with_vectors)

    def scroll(
        self, *, where: str | None = None, with_vectors: bool = False, batch: int = 256
    ) -> Iterator[Record]:
        """Iterate over all records, oldest write first, reading `batch` of them at a time.

        A record that is written again meanwhile comes again at its new place.
        """
        check_count("batch", batch, options.LIMIT_MAX)
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
        check_count("limit", limit, options.LIMIT_MAX)
        if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after < 1 << 63:
            raise RequestError(f"after is {after!r}, expected the cursor of a page before, or 0")
        snapshot = self._store.snapshot()
        node = to_filter(where, snapshot.info.schema)
        return page(snapshot, node, after, limit, with_vectors=with_vectors)

    def count(self, where: str | None = None) -> int:
        """How many records there are, or how many a filter passes.

        Without a filter, those of a damaged segment count until they are deleted, expired or not.
        """
        store = self._store
        if where is None:
            return store.sparing(lambda quarantined: store.snapshot().count_live(quarantined))
        snapshot = store.snapshot()
        node = to_filter(where, snapshot.info.schema)
        return sum(int(np.count_nonzero(passing(node, live))) for live in snapshot.sources)


def to_filter(where: str | None, schema: Schema) -> Node | None:
    """A filter on the columns of a schema, if there is one."""
    return None if where is None else parse_where(where, schema.columns)


def to_measure(
    schema: Schema, vectors: object, field: str | None, limit: int, where: str | None
) -> SearchRequest:
    """A request of queries that the caller gave, to measure recall on."""
    if field is not None:
        raise RequestError(f"field is {field!r}, but vectors are given, which say theirs: omit it")
    name, queries, token_queries = check_queries(schema, vectors, many=True)
    floats = sum(array.size for sets in token_queries.values() for array in sets)
    check_recall(len(queries), queries.size + floats)
    return SearchRequest(
        field=name,
        queries=queries,
        token_queries=token_queries,
        limit=limit,
        where=where,
        with_payload=False,
    )
