"""Policies run again: what they refuse, what they leave alone, and what crosses their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import vecstore as vs
from tests.unit.altering import ALONE, at, folders, named
from tests.unit.test_alter_background import until
from vecstore import errors, options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest import alter_work
from vecstore.ingest.alter_job import read_job
from vecstore.ingest.batch import make_batch
from vecstore.segment.reader import Segment
from vecstore.segment.reducing import Reducing
from vecstore.segment.reduction import Reduction
from vecstore.types import Array

DIM = 8
_RNG = np.random.default_rng(3)
PAGES = [_RNG.standard_normal((2 + row % 7, DIM)).astype(np.float32) for row in range(30)]


def make(db: Database, *ladder: str, pruning: str = "") -> Collection:
    """Records in two segments and in the write buffer; one of them lacks the field."""
    fields = [
        vs.MultiVector("pages", DIM, "dot", ladder or ("float16",), pruning),
        vs.Vector("text", 2),
    ]
    made = db.create_collection("c", vs.Schema(fields))
    for start in (0, 10, 20):
        given: list[Array | None] = [*PAGES[start : start + 9], None]
        made.upsert(range(start, start + 10), {"pages": given, "text": np.ones((10, 2))})
        if start < 20:
            made.flush()
    return made


def lengths(made: Collection) -> list[int]:
    """How many tokens each record has that has some."""
    found = made.get(range(30), with_vectors=True)
    return [len(each.vectors["pages"]) for each in found if each and "pages" in each.vectors]


HALF = [-(-len(page) // 2) for row, page in enumerate(PAGES) if row % 10 != 9]
WHOLE = [len(page) for row, page in enumerate(PAGES) if row % 10 != 9]


def weighed(pages: Sequence[Array]) -> vs.Tokens:
    """Tokens with salience."""
    salience = np.concatenate([np.arange(1, len(page) + 1) for page in pages])
    return vs.Tokens.of_lengths(np.concatenate(pages), list(map(len, pages)), salience=salience)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """Nothing asked for, no policy, a field of one vector, salience that nobody gave."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        for error, words, field, given in (
            (errors.RequestError, "asks for nothing", "pages", {}),
            (errors.SchemaError, "unknown pruning policy 'half'", "pages", {"pruning": "half"}),
            (errors.SchemaError, "unknown pooling policy", "pages", {"pooling": "share0.5"}),
            (errors.SchemaError, "expected a string", "pages", {"pruning": 7}),
            (errors.SchemaError, "one vector a record", "text", {"pruning": "share0.5"}),
            (errors.SchemaError, "of 27 records no salience", "pages", {"pruning": "salience0.5"}),
            (errors.NotFoundError, "'page'", "page", {"pooling": "ward2"}),
        ):
            with pytest.raises(error, match=words):
                made.alter(field, **given)  # type: ignore[arg-type]
        assert read_job(made._store) is None
        assert lengths(made) == WHOLE


def test_salience_that_some_lack_is_missed(tmp_path: Path) -> None:
    """Also where a segment holds records with and without; not where those without are dead."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        made.upsert(range(29), {"pages": weighed(PAGES[:29])})
        with pytest.raises(errors.SchemaError, match="of 1 records"):
            made.upsert([50], {"pages": PAGES[:1]})
            made.compact()
            made.alter("pages", pruning="salience0.5")
        made.delete([50])
        made.alter("pages", pruning="salience0.5")
        assert sum(lengths(made)) < sum(WHOLE)
        assert db.check() == []


def test_salience_that_is_missing_in_the_end(tmp_path: Path) -> None:
    """Written while it runs, records without salience take the alteration back."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        made.upsert(range(30), {"pages": weighed(PAGES)})
        with (
            at("alter.built", lambda: made.upsert([1], {"pages": PAGES[1:2]})),
            pytest.raises(errors.SchemaError, match="of 1 records"),
        ):
            made.alter("pages", pruning="salience0.5")
        assert read_job(made._store) is None
        assert folders(db) == named(made)
        assert lengths(made) == [len(page) for page in PAGES]


def test_the_same_policy_does_nothing(tmp_path: Path) -> None:
    """Neither the policy that the field has, nor none."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db, pruning="share0.5")
        before = folders(db)
        made.alter("pages", pruning="share0.5")
        assert (folders(db), lengths(made)) == (before, HALF)
        made.alter("pages", pruning="")
        assert (folders(db), lengths(made)) == (before, HALF)
        made.upsert([0], {"pages": PAGES[:1]})
        assert lengths(made)[0] == len(PAGES[0])


def test_codes_of_kept_tokens_stay(tmp_path: Path) -> None:
    """Pruning encodes nothing anew: what is left of each code is what it was."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db, "sign", "int8", "float16")
        made.flush()
        before = {spec: token_codes(made, spec) for spec in ("sign", "int8", "float16")}
        made.alter("pages", pruning="share0.5")
        assert lengths(made) == HALF
        for spec, codes in before.items():
            assert token_codes(made, spec) < codes


def token_codes(made: Collection, spec: str) -> set[tuple[int, int, bytes]]:
    """Seq, place and code of each token."""
    found = set()
    for live in made._store.snapshot().segments:
        source, tokens = live.source, live.source.tokens("pages")
        codes, rows = source.codes("pages", spec), source.field_rows("pages")
        assert codes is not None
        assert tokens is not None
        seqs = source.seqs if rows is None else source.seqs[rows]
        owners = np.repeat(seqs, np.diff(tokens.offsets).astype(np.int64)).tolist()
        read = codes.read(np.arange(tokens.count))
        found |= set(zip(owners, tokens.all_places().tolist(), map(bytes, read), strict=True))
    return found


def test_both_at_once(tmp_path: Path) -> None:
    """A ladder and both policies come in one commit; pruning comes before pooling."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        made.alter("pages", ["int8", "float16"], pruning="first4", pooling="fixed2")
        assert lengths(made) == [min(2, count) for count in WHOLE]
        assert made.schema.vector("pages") == vs.MultiVector(
            "pages", DIM, "dot", ("int8", "float16"), "first4", "fixed2"
        )
        assert db.check() == []


def test_a_batch_of_before_comes_after(tmp_path: Path) -> None:
    """Records that were checked before the end, and written after it, are reduced as all."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        late = make_batch(made.schema, [40], {"pages": PAGES[6:7]}, None)
        unweighed = make_batch(made.schema, [41], {"pages": PAGES[6:7]}, None)
        made.alter("pages", pruning="share0.5", pooling="fixed2")
        made._store.upsert(late)
        assert len(made.get([40], with_vectors=True)[0].vectors["pages"]) == 2  # type: ignore[union-attr]
        made.upsert(range(41), {"pages": weighed([PAGES[0]] * 41)})
        made.alter("pages", pruning="salience0.5")
        with pytest.raises(errors.VectorError, match="salience"):
            made._store.upsert(unweighed)


def test_stand_ins_stay(tmp_path: Path) -> None:
    """Where too few tokens are there to learn from, policies do not make them learn."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db, "res2")
        made.alter("pages", pruning="share0.5")
        assert lengths(made) == HALF
        for live in made._store.snapshot().segments:
            assert live.source.specs("pages") == ("float32",)


def test_it_goes_on_after_a_crash(tmp_path: Path) -> None:
    """Cut off in the middle nothing changes; opened again, it ends by itself with what it made."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)

        def crash() -> None:
            raise KeyboardInterrupt

        with at("alter.built", crash), pytest.raises(KeyboardInterrupt):
            made.alter("pages", pruning="share0.5", pooling="fixed2")
        assert lengths(made) == WHOLE
        job = read_job(made._store)
        assert job is not None
        [built] = job.built
    with vs.open(tmp_path) as db:
        made = db.collection("c")
        until(lambda: read_job(made._store) is None)
        assert lengths(made) == [min(2, count) for count in HALF]
        assert built.info.id in {segment.id for segment in made._store.snapshot().manifest.segments}
        assert db.check() == []
        assert folders(db) == named(made)


def test_a_paused_alteration_holds_up_no_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even inside its flush of a large buffer."""
    monkeypatch.setattr(alter_work, "MERGED_BYTES_MAX", 100)
    with vs.open(tmp_path) as db:
        made = make(db)
        db.pause_jobs()
        with at("flush.begin", db.pause_jobs):
            db.resume_jobs()
            made.alter("pages", pruning="share0.5", wait=False)
            until(lambda: not made._store.snapshot().buffer_batches)
        writer = Thread(target=lambda: (made.upsert([50], {"pages": PAGES[:1]}), made.flush()))
        writer.start()
        writer.join(60)
        assert not writer.is_alive()
        assert read_job(made._store) is not None
        db.resume_jobs()
        until(lambda: read_job(made._store) is None)
        assert lengths(made) == HALF


def test_long_reductions_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask after each piece whether they are to go on, and count what they write."""
    monkeypatch.setattr(options, "CHUNK_BYTES", 4 * DIM * 10)
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        made.compact()
        [live] = made._store.snapshot().segments
        assert isinstance(live.source, Segment)
        had = made.schema.vector("pages")
        assert isinstance(had, vs.MultiVector)
        for number, policy in enumerate(({"pruning": "share0.5"}, {"pooling": "fixed1"})):
            written: list[int] = []
            reduction = Reduction.between(had, replace(had, **policy))  # type: ignore[arg-type]
            files, folder = made._store.environment.files, tmp_path / str(number)
            folder.mkdir()
            work = Reducing(files, folder, live.source, reduction, written.append)
            with work.done() as (_, bounds):
                assert len(written) > 10
                assert sum(written) == (2 * DIM * bounds.count if number else 0)


def test_salience_may_be_anything(tmp_path: Path) -> None:
    """Below zero, or zero throughout: it is known then, unlike what nobody gave."""
    with vs.open(tmp_path, options=ALONE) as db:
        made = make(db)
        made.upsert(range(30), {"pages": weighed(PAGES)})
        for record, salience in ((0, -np.arange(1.0, 3.0)), (1, np.zeros(3))):
            tokens = vs.Tokens.of_lengths(PAGES[record], [len(salience)], salience=salience)
            made.upsert([record], {"pages": tokens})
        made.compact()
        made.alter("pages", pruning="salience-1.0std")
        assert len(made.get([1], with_vectors=True)[0].vectors["pages"]) == 3  # type: ignore[union-attr]
