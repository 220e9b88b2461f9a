"""One named set of records: where writes meet reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.ingest.alter import Alteration
from vecstore.ingest.batch import check_ids, check_ids_asked, check_queries, make_batch
from vecstore.ingest.coded import FieldCodec, take_codes
from vecstore.ingest.compact import compact_now
from vecstore.ingest.encoders import current_codecs, field_codec
from vecstore.ingest.jobs import Jobs
from vecstore.ingest.precision import buffer_dtypes
from vecstore.ingest.store import CollectionStore
from vecstore.ingest.ttl import Ttl
from vecstore.request import Aggregate, Cascade, SearchOptions, SearchRequest, check_count
from vecstore.schema import Schema
from vecstore.search.answer import passing
from vecstore.search.groups import answer_request
from vecstore.search.parallel import Workers
from vecstore.search.records import Given, match_tokens, page, records_at
from vecstore.search.where import Node, parse_where
from vecstore.segment.stats import collection_stats
from vecstore.types import CollectionStats, Hits, Ids, Record, TokenMatches


class Collection:
    """A collection of an open database; made by `Database.create_collection` or `.collection`.

    Safe to use from many threads: searches run side by side, each on the state after the last
    acknowledged write; writes take turns.
    """

    def __init__(self, store: CollectionStore, workers: Workers, jobs: Jobs) -> None:
        self._store = store
        self._workers = workers
        self._jobs = jobs
        self._alteration = Alteration(store, jobs)
        self._alteration.resume()

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

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    # Writes

    def upsert(
        self,
        ids: Ids,
        vectors: Mapping[str, Any] | Any = None,
        payloads: Sequence[Any] | None = None,
        *,
        ttl_s: float | Sequence[float | None] | None = None,
    ) -> int:
        """Write records; those whose id exists are replaced whole.

        Args:
            ids: N ids, int or str. Where one occurs twice, the last record wins.
            vectors: field name -> array [N, D], or one array where there is one vector field. A
                record may lack a field: leave the field out, or give a list with None in places.
                `Codes` may stand for the array where the codec made them that `codec` gives.
            payloads: N JSON objects or None. Columns take their values from them by name.
            ttl_s: seconds after which the records expire, as if deleted, or a list of N with
                seconds or None; None means the schema's ttl_s, if it has one.

        Returns:
            The number of records written. They are on disk (fsynced) when it returns; a batch is
            applied whole or not at all.

        Raises:
            InvalidInputError: something in the batch cannot be stored; nothing was written.
            CodecError: codes are of another codec than the field has.
        """
        schema = self.schema
        batch = make_batch(
            schema,
            ids,
            take_codes(schema, vectors, partial(current_codecs, self._store)),
            payloads,
            dtypes=buffer_dtypes(schema),
            ttl=Ttl(ttl_s, self._store.environment.clock()),
        )
        return self._store.upsert(batch)

    def delete(self, ids: Ids | None = None, *, where: str | None = None) -> int:
        """Delete records by id, or all that a filter passes; give one of both.

        Returns:
            The number of records deleted; ids that do not exist are passed over.
        """
        if (ids is None) == (where is None):
            raise RequestError("delete takes either ids or where=, exactly one of them")
        if ids is not None:
            return self._store.delete(check_ids(ids))
        node = _filter(where, self.schema)
        return self._store.delete_found(lambda live: np.flatnonzero(passing(node, live)))

    def flush(self) -> None:
        """Move the write buffer into a segment: compressed, and out of the memory."""
        self._store.flush()

    def compact(self) -> None:
        """Flush, and write the segments again as few as fit, without what died.

        Records that were deleted, written again or have expired leave the disk; files that a
        search or a reader still reads go when it ends. Searches and writes go on meanwhile, and an
        `alter` under way afterwards. With `Options.background` this is done by and by, where it is
        worth it.

        Raises:
            DatabaseFullError: there is no space for the new segments; nothing was lost.
            ClosedError: the database was closed meanwhile.
        """
        compact_now(self._store, self._jobs)

    def alter(self, field: str, representations: Sequence[str], *, wait: bool = True) -> None:
        """Change the representations of a vector field, from what is stored of its vectors.

        New codes are made in the background, from the finest representation that each segment
        has. Until all are there every search goes by the old ladder; then all changes in one
        commit. Writes go on meanwhile. Asking for the ladder that the field still has takes an
        alteration under way back. One that a close or a crash cut off goes on when the database
        is opened for writing. One that fails, on a full disk say, is taken back.

        Dropping the finest representation cannot be undone: nothing as fine can be made from
        what is left.

        Args:
            field: the vector field.
            representations: its whole new ladder, as in `Vector`; empty means the default.
            wait: return when it is done, which takes as long as jobs are paused. Without
                `Options.background` it is always done before this returns.

        Raises:
            NotFoundError: no such vector field.
            SchemaError: a representation cannot be, or is finer than what is left; the message
                says what that is, and how near each is to the finest.
            VectorError: float16 would be the finest, and cannot hold a value.
            RequestError: another field is being altered, or another call took this one back.
            DatabaseFullError, StorageError: there is no space for it, or the disk failed.
            CorruptionError: a segment is damaged; `repair` it, and ask again.
        """
        self._alteration.alter(field, representations, wait=wait)

    # Reads

    def codec(self, field: str, spec: str | None = None) -> FieldCodec:
        """What makes the codes of a vector field, to encode elsewhere and `upsert` the codes.

        Codes of the finest representation can be uploaded; they are kept byte for byte, and the
        coarser ones are made from them. With cosine they are codes of vectors of unit length.
        While codes of a trained codec come, that codec is not trained again; where rows of two of
        them are merged, those of the one with fewer rows are encoded again.

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
        node = _filter(where, snapshot.info.schema)
        return page(snapshot, node, after, limit, with_vectors=with_vectors)

    def count(self, where: str | None = None) -> int:
        """How many records there are, or how many a filter passes.

        Without a filter, those of a damaged segment count until they are deleted, expired or not.
        """
        store = self._store
        if where is None:
            return store.sparing(lambda quarantined: store.snapshot().count_live(quarantined))
        snapshot = store.snapshot()
        node = _filter(where, snapshot.info.schema)
        return sum(int(np.count_nonzero(passing(node, live))) for live in snapshot.sources)

    def stats(self) -> CollectionStats:
        """Counts and bytes, by representation."""
        store = self._store
        jobs = [job for job in self._jobs.listed() if job.collection == self.name]
        return store.sparing(
            lambda quarantined: collection_stats(store.snapshot(), quarantined, jobs)
        )

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
        """The records nearest to one query.

        Args:
            vectors: field name -> query [D], of a multivector field [n, D]; or the query alone
                where there is one field. Several fields take a plan; without one, a vector field
                may find the candidates that a multivector field scores.
            limit: hits wanted, 1 to 10,000.
            where: a filter on columns, such as "year >= 2015 AND lang IN ('en', 'fr')".
            plan: explicit stages; the default scans a coarse representation and rescores.
            exact: score every row with the finest representation.
            token_budget: vectors of a record that are read of a multivector field, the most
                important first; None: all.
            group_by: a column of ints, keywords, bools or timestamps, such as a parent id. Hits
                then hold its best record for each value, and every record that has none; `limit`
                counts these. They come of the best 10,000 records, or what the plan's last stage
                keeps.
            agg: how a record's vectors in a multivector field score: "maxsim", the sum over the
                query's vectors of the best match; "max", the best match of a query of one, [D].
            with_payload: hits carry payloads (read when first asked for).
            with_vectors: hits carry vectors (read when first asked for).
            explain: hits carry a report for each stage.

        Returns:
            Hits, best first: score descending, then oldest write first.
        """
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
        return self._search(vectors, asked, many=False)[0]

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

        Args and hits as in `search`, with `vectors` as field name -> queries [Q, D], of a
        multivector field a list of Q arrays [n, D], of any n each.
        """
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
        return self._search(vectors, asked, many=True)

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
        """Score given records, whoever found them, with the finest representation of a field.

        Args:
            vectors: one query, as in `search`.
            ids: at most 10,000; unknown ones, and records without the field, are left out.
            limit: hits wanted; None: all.
            token_budget, with_payload, with_vectors: as in `search`.

        Returns:
            Hits, best first, each record once.
        """
        encoded = list(dict.fromkeys(check_ids_asked(ids, "rerank", options.LIMIT_MAX)))
        schema, store = self.schema, self._store
        field, queries, token_queries = check_queries(schema, vectors, many=False)
        request = SearchRequest(
            field=field,
            queries=queries,
            limit=max(1, len(encoded)) if limit is None else limit,
            with_payload=with_payload,
            with_vectors=with_vectors,
            token_queries=token_queries,
            token_budget=token_budget,
        )
        scored = Given(request, schema, self._workers, store.quarantine)
        return store.sparing(lambda quarantined: scored.rerank(store.find(encoded), quarantined))

    def matches(self, vectors: Mapping[str, Any] | Any, ids: Ids) -> list[TokenMatches | None]:
        """Which vector of each record matches each vector of a query best: what MaxSim adds up.

        Args:
            vectors: field name -> query [n, D] of a multivector field.
            ids: records.

        Returns:
            For each id its matches; None where there is no such record, or it lacks the field.
        """
        encoded = check_ids_asked(ids, "matches", options.LIMIT_MAX)
        field, _, token_queries = check_queries(self.schema, vectors, many=False)
        return match_tokens(field, token_queries, self._store.find(encoded))

    def _search(self, vectors: object, asked: SearchOptions, *, many: bool) -> list[Hits]:
        """Search; where a segment turns out to be damaged, what there is then without it."""
        store, given = self._store, [self._store.snapshot()]
        field, queries, token_queries = check_queries(
            given[0].info.schema, vectors, many=many, agg=asked["agg"]
        )
        request = SearchRequest(field=field, queries=queries, token_queries=token_queries, **asked)
        return store.sparing(
            lambda quarantined: answer_request(
                request,
                given.pop() if given else store.snapshot(),
                self._workers,
                quarantined,
                store.quarantine,
            )
        )


def _filter(where: str | None, schema: Schema) -> Node | None:
    return None if where is None else parse_where(where, schema.columns)
