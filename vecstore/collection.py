"""One named set of records: where writes meet reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.holdings import Holdings, to_filter, to_measure
from vecstore.ingest.alter import Alteration
from vecstore.ingest.alter_plan import Order
from vecstore.ingest.batch import check_ids, check_ids_asked, check_queries, make_batch
from vecstore.ingest.coded import take_codes
from vecstore.ingest.commit import commit
from vecstore.ingest.compact import compact_now
from vecstore.ingest.encoders import current_codecs
from vecstore.ingest.jobs import Jobs
from vecstore.ingest.precision import buffer_dtypes
from vecstore.ingest.store import CollectionStore
from vecstore.ingest.ttl import Ttl
from vecstore.reports import CollectionStats, Recall
from vecstore.request import (
    Aggregate,
    Cascade,
    SearchOptions,
    SearchRequest,
    check_count,
    check_progress,
)
from vecstore.search.answer import passing
from vecstore.search.groups import answer_request
from vecstore.search.parallel import Workers
from vecstore.search.records import Given, match_tokens
from vecstore.segment.recalls import put_recall, read_recalls
from vecstore.segment.snapshot import Snapshot
from vecstore.segment.stats import collection_stats
from vecstore.tune.live import LiveQueries
from vecstore.tune.measure import measure
from vecstore.types import Hits, Ids, Progress, TokenMatches


class Collection(Holdings):
    """A collection of an open database; made by `Database.create_collection` or `.collection`.

    Safe to use from many threads: searches run side by side, each on the state after the last
    acknowledged write; writes take turns.
    """

    def __init__(self, store: CollectionStore, workers: Workers, jobs: Jobs) -> None:
        super().__init__(store)
        self._workers = workers
        self._jobs = jobs
        self._live = LiveQueries()
        self._alteration = Alteration(store, jobs)
        self._alteration.resume()

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
        node = to_filter(where, self.schema)
        return self._store.delete_found(lambda live: np.flatnonzero(passing(node, live)))

    def flush(self) -> None:
        """Move the write buffer into a segment: compressed, and out of the memory."""
        self._store.flush()

    def compact(self) -> None:
        """Flush, and write the segments again as few as fit, without what died.

        Records that were deleted, written again or have expired leave the disk, and so does the
        space that the write buffer took (on Linux); files that a search or a reader still reads
        go when it ends. Searches and writes go on meanwhile, and an
        `alter` under way afterwards. With `Options.background` this is done by and by, where it is
        worth it.

        Raises:
            DatabaseFullError: there is no space for the new segments; nothing was lost.
            ClosedError: the database was closed meanwhile.
        """
        compact_now(self._store, self._jobs)

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

        New codes are made in the background, from the finest representation that each segment
        has. Until all are there every search goes by the old ones; then all changes in one
        commit. Writes go on meanwhile. Asking for what the field still has takes an alteration
        under way back. One that a close or a crash cut off goes on when the database is opened for
        writing. One that fails, on a full disk say, is taken back. What is dropped cannot be
        brought back: a finer representation, or tokens.

        Args:
            field: the vector field.
            representations: its whole new ladder, as in `Vector`; empty means the default, None the
                one that it has.
            pruning: a policy, as in `MultiVector`, which is applied to all stored records, and to
                those to come, unless the field has it already. Shares are of the tokens that are
                stored. "" leaves tokens to come as they are; None the policy that there is.
            pooling: likewise, after pruning.
            wait: return when it is done, which takes as long as jobs are paused. Without
                `Options.background` it is always done before this returns.

        Raises:
            NotFoundError: no such vector field.
            SchemaError: a representation or policy cannot be, is finer than what is left, or needs
                salience that is not known; the message says what can be.
            VectorError: float16 would be the finest, and cannot hold a value.
            RequestError: another field is being altered, or another call took this one back.
            DatabaseFullError, StorageError: there is no space for it, or the disk failed.
            CorruptionError: a segment is damaged; `repair` it, and ask again.
        """
        self._alteration.alter(Order(field, representations, pruning, pooling), wait=wait)

    # Reads

    def stats(self) -> CollectionStats:
        """Counts and bytes, by representation, and what `measure_recall` found last."""
        store = self._store
        snapshot, jobs = store.snapshot(), self._jobs.listed()
        with store.environment.kv.read() as txn:
            recalls = read_recalls(txn, snapshot)
        own = [job for job in jobs if job.collection == self.name]
        return store.sparing(
            lambda quarantined: collection_stats(store.snapshot(), quarantined, own, recalls)
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
            explain: hits carry a report for each stage, and those of a multivector field which of
                their vectors matched (read when first asked for).

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
            Hits, best first, each record once; `partial` where records in a damaged segment are
            left out.
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
        return store.sparing(lambda quarantined: scored.rerank(store.find(encoded, quarantined)))

    def matches(self, vectors: Mapping[str, Any] | Any, ids: Ids) -> list[TokenMatches | None]:
        """Which vector of each record matches each vector of a query best: what MaxSim adds up.

        Args:
            vectors: field name -> query [n, D] of a multivector field.
            ids: records.

        Returns:
            For each id its matches; None where there is no such record, it lacks the field, or is
            in a damaged segment.
        """
        encoded = check_ids_asked(ids, "matches", options.LIMIT_MAX)
        unique, store = list(dict.fromkeys(encoded)), self._store
        field, _, queries = check_queries(self.schema, vectors, many=False)
        found = store.sparing(lambda wrong: match_tokens(field, queries, store.find(unique, wrong)))
        by_id = dict(zip(unique, found, strict=True))
        return [by_id[id_] for id_ in encoded]

    def measure_recall(
        self,
        vectors: Mapping[str, Any] | Any = None,
        *,
        field: str | None = None,
        limit: int = 10,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> Recall:
        """Measure how much of the exact answers the default plan finds.

        Every query is answered twice, the second time with `exact=True`. `stats` shows the last
        measurement of each field, where the database is open for writing: it is stored.

        Args:
            vectors: queries as in `search_batch`, at most 1,000 and 16 MiB as float32. None: live
                queries: up to 256 of a field that this process answered by the default plan, kept
                in memory: the first ones, which about one of 128 later ones replaces.
            field: of live queries, whose scores ranked the hits; needed where several were asked.
            limit: hits to ask for.
            where: a filter; live queries have the one that they came with, unless this is given.
            progress: told how many queries are done; raising stops the work.

        Raises:
            RequestError: there are no queries, too many, or none for which there is something to
                find.
        """
        store = self._store
        snapshot = store.snapshot()
        schema = snapshot.info.schema
        check_progress(progress)
        check_count("limit", limit, options.LIMIT_MAX)
        to_filter(where, schema)
        if field is not None:
            schema.vector(field)
        if vectors is None:
            requests = self._live.requests(field, limit, where)
        else:
            requests = [to_measure(schema, vectors, field, limit, where)]
        found = measure(requests, store.snapshot, self._answer, progress)
        measured = replace(found, where=where, live=vectors is None)
        if store.environment.writable and not store.environment.failure:
            commit(store, lambda change: put_recall(change.txn, snapshot, measured))
        return measured

    def _search(self, vectors: object, asked: SearchOptions, *, many: bool) -> list[Hits]:
        snapshot = self._store.snapshot()
        field, queries, token_queries = check_queries(
            snapshot.info.schema, vectors, many=many, agg=asked["agg"]
        )
        request = SearchRequest(field=field, queries=queries, token_queries=token_queries, **asked)
        found = self._answer(request, snapshot)
        self._live.offer(request)
        return found

    def _answer(self, request: SearchRequest, snapshot: Snapshot) -> list[Hits]:
        """Search; where a segment turns out to be damaged, what there is then without it."""
        store, given = self._store, [snapshot]
        return store.sparing(
            lambda quarantined: answer_request(
                request,
                given.pop() if given else store.snapshot(),
                self._workers,
                quarantined,
                store.quarantine,
            )
        )
