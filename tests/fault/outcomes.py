"""What a damaged database answers, and what it is after a repair.

python -m tests.fault.outcomes ask|repair DIRECTORY FIRST STRIDE

    tries each STRIDE-th place of places.json from FIRST on: damages it, asks everything or repairs
    it, undoes it, and prints the number of the place before and the outcome after, so that whoever
    reads that knows at which place the process died.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from tests.fault.damage import DIM, FILTERS, Damaged, Flip
from vecstore.collection import Collection
from vecstore.errors import VecstoreError
from vecstore.storage import keys
from vecstore.types import Hits, Record


def questions(items: Collection) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything one can ask, by name."""
    rng = np.random.default_rng(5)
    for field, coarse, finest in (("v", "bits1", "float16"), ("w", "bits4", "float32")):
        search = partial(items.search, {field: rng.standard_normal(DIM)})
        yield f"search {field}", partial(search, with_vectors=True)
        yield f"exact {field}", partial(search, exact=True)
        probe = vs.Cascade([vs.Probe(coarse, nprobe=2, keep=30), vs.Rescore(finest, keep=10)])
        yield f"probe {field}", partial(search, plan=probe)
        yield f"all {field}", partial(search, exact=True, limit=500)
        for number, where in enumerate(FILTERS):
            yield f"exact {field} where {number}", partial(search, where=where, exact=True)
    names = [*range(170), *(f"name-{batch}-{row}" for batch in range(4) for row in range(10))]
    for start in range(0, len(names), 30):
        part = names[start : start + 30]
        yield f"get {start}", partial(items.get, part, with_vectors=True)
    yield "scroll", lambda: list(items.scroll(with_vectors=True))
    yield "count", items.count
    for where in FILTERS:
        yield f"count {where}", partial(items.count, where)


def digest(records: Any) -> str:
    """Records in few letters."""
    found = hashlib.sha256()
    for record in records:
        found.update(repr(shown(record)).encode())
    return found.hexdigest()


def shown(record: Record | None) -> Any:
    """Everything of a record, to be compared."""
    if record is None:
        return None
    vectors = {name: vector.tobytes().hex() for name, vector in record.vectors.items()}
    return record.id, record.payload, vectors


def hits_of(hits: Hits) -> list[tuple[Any, float]]:
    """Ids and scores."""
    return [(hit.id, hit.score) for hit in hits]


def ask(path: Path) -> dict[str, Any]:
    """Every answer by its question; an error as the text "! " and its class."""
    answers: dict[str, Any] = {}
    try:
        with vs.open(path, read_only=True) as db:
            answers["names"] = db.collections()
            answers["check"] = db.check()
            items = db.collection("items")
            for name, question in questions(items):
                try:
                    found = question()
                    if isinstance(found, Hits):
                        answers[name] = {"partial": found.partial, "hits": hits_of(found)}
                    else:
                        answers[name] = digest(found) if isinstance(found, list) else found
                except VecstoreError as error:
                    answers[name] = f"! {type(error).__name__}"
            for name in ("other", "coded"):
                answers[name] = digest(db.collection(name).get(range(50), with_vectors=True))
    except VecstoreError as error:
        answers["open"] = f"! {type(error).__name__}"
    return answers


def judge(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Say "detected", "harmless", or what is wrong with the answers."""
    detected = bool(found.get("check")) or "open" in found
    for name, answer in found.items():
        if isinstance(answer, str) and answer.startswith("! "):
            detected = True
        elif name in {"check", "open"} or answer == expected[name]:
            continue
        elif isinstance(answer, dict) and answer["partial"]:
            detected = True
            field = name.split()[1]
            scores = dict(expected[f"all {field}"]["hits"])
            if any(scores.get(id_) != score for id_, score in answer["hits"]):
                return f"wrong: {name} has a score that is none"
        else:
            return f"wrong: {name}"
    return "detected" if detected else "harmless"


def everything(path: Path) -> dict[str, dict[str, Any]]:
    """Every record by the repr of its id, by the name of the collection."""
    with vs.open(path, options=vs.Options(background=False)) as db:
        found = {}
        for name in db.collections():
            records = db.collection(name).scroll(with_vectors=True)
            found[name] = {repr(record.id): shown(record) for record in records}
            ids = [record[0] for record in found[name].values()]
            assert None not in db.collection(name).get(ids), name
    return found


def judge_repair(path: Path, flip: Flip, expected: Mapping[str, Mapping[str, Any]]) -> str:
    """Repair a database; say "repaired", "lost", "hopeless", or what is wrong after it."""
    try:
        with vs.open(path, options=vs.Options(background=False)) as db:
            report = db.repair()
            if report.remaining != tuple(db.check()) and "restore" not in report.remaining[0]:
                return f"wrong: check finds {db.check()}, and not {report.remaining}"
            if db.repair().lost:
                return "wrong: more is lost the second time"
    except VecstoreError as error:
        return "hopeless" if _may_be_hopeless(flip) else f"wrong: {error!r}"
    if report.remaining:
        return "hopeless" if _may_be_hopeless(flip) else f"wrong: remains {report.remaining}"
    found = everything(path)
    for name, records in expected.items():
        told = [text for text in report.lost if f"collection {name!r}: " in text]
        lost = {id_ for text in told for id_ in re.findall(r"record (\S+?):? ", text)}
        for id_, record in records.items():
            if id_ not in lost and found[name].get(id_) != record:
                return f"wrong: record {id_} of {name} is {found[name].get(id_)}, {report}"
        if not found[name].keys() <= records.keys():
            return f"wrong: records came back: {found[name].keys() - records.keys()}"
    return "lost" if report.lost else "repaired"


def _may_be_hopeless(flip: Flip) -> bool:
    """Whether a place holds what nothing else on disk tells."""
    space = flip.kind.partition(":")[0]
    return space in {"collections", "manifests", "lmdb"} or flip.kind in {
        *(f"{db}: node" for db in keys.DATABASES),
        *("meta: key", "meta: value", "meta: checksum"),  # the format among them
    }


def main() -> None:
    """Try some of the places."""
    mode, path, first, stride = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    flips = [Flip(*item) for item in json.loads((path.parent / "places.json").read_text())]
    answers = ask(path)
    assert judge(answers, answers) == "harmless", answers
    records = everything(path) if mode == "repair" else {}
    scratch = path.parent / f"scratch-{first % stride}"
    for number in range(first, len(flips), stride):
        sys.stdout.write(f"try {number}\n")
        sys.stdout.flush()
        if mode == "ask":
            with Damaged(path, flips[number]):
                outcome = judge(answers, ask(path))
        else:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(path, scratch)
            with Damaged(scratch, flips[number], keep=True):
                outcome = judge_repair(scratch, flips[number], records)
        sys.stdout.write(f"did {number} {outcome}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
