"""Open images of disks that lost power, and say what is wrong with each.

python -m tests.fault.power.verify SEED        reads "FOLDER ACKNOWLEDGED" lines, answers one each

A process of its own, as an image might kill the one that opens it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import vecstore as vs
from tests.fault.power.workload import State, states_of, steps_of
from tests.fault.writer import same_sets


def content(path: Path) -> tuple[list[str], State | None]:
    """Problems that check finds in a database, and its records; None: no collection yet."""
    with vs.open(path, options=vs.Options(background=False)) as db:
        problems = db.check()
        if "items" not in db.collections():
            return problems, None
        codec = db.collection("items").codec("coded")
        found: State = {}
        for record in db.collection("items").scroll(with_vectors=True):
            found[record.id] = (tuple(record.vectors["v"].tolist()), record.payload)
            coded = codec.decode(codec.encode(record.vectors["v"][None]))[0]
            if record.vectors["coded"].tolist() != coded.tolist():
                problems.append(f"the codes of {record.id} are not of its vector")
            if not same_sets(record.vectors):
                problems.append(f"the sets of {record.id} are not of its vector")
        count = db.collection("items").count()
        if count != len(found):
            problems.append(f"count is {count}, scroll gives {len(found)}")
        return problems, found


def wrong(folder: Path, acknowledged: int, seed: int) -> Iterator[str]:
    """What is wrong with an image after so many acknowledged steps."""
    steps = steps_of(seed)
    states = states_of(steps)
    if acknowledged or (folder / "db" / "data.mdb").exists():
        try:
            problems, found = content(folder / "db")
        except vs.errors.NotADatabaseError as error:
            if acknowledged:
                yield f"it does not open: {error}"
            return
        yield from problems
        # The next step may have been applied, though nobody was told.
        allowed = [*([None] if acknowledged == 0 else []), *states[max(acknowledged - 1, 0) :][:2]]
        if found not in allowed:
            yield f"after {acknowledged} steps it holds {found}, expected one of {allowed}"
    for number, step in enumerate(steps):
        path = folder / f"snapshot-{number}"
        if step.name == "snapshot" and (number < acknowledged or path.exists()):
            problems, found = content(path)
            yield from problems
            if found != states[number]:
                yield f"{path.name} holds {found}, expected {states[number]}"


def main() -> None:
    """Answer one line for each image."""
    seed = int(sys.argv[1])
    for line in sys.stdin:
        folder, acknowledged = line.rsplit(maxsplit=1)
        try:
            answer = "; ".join(wrong(Path(folder), int(acknowledged), seed))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        sys.stdout.write(answer.replace("\n", " ") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
