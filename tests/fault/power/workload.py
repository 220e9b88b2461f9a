"""What the recorded process does, and what must be there after each step.

python -m tests.fault.power.workload FOLDER ACK SEED BACKGROUND

Each step is acknowledged by a line in the file ACK, once its call returned.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from tests.fault.writer import sets_of
from vecstore import options

DIM = 8
STEPS = 60
LADDERS = (["bits2", "float16"], ["bits1", "bits4", "float16"], ["float16"])
CODED = ["bits1", "bits8"]  # of the same vectors, which come as codes

# id -> (vector, payload)
State = dict[int | str, tuple[tuple[float, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Step:
    """A call: its name, and what it is given."""

    name: str
    ids: tuple[int | str, ...] = ()
    seed: int = 0
    ladder: int = 0


def steps_of(seed: int) -> list[Step]:
    """The steps of a workload, which anyone can work out again."""
    rng = np.random.default_rng(seed)
    steps = [Step("create")]
    names = ["upsert", "delete", "flush", "compact", "alter", "snapshot"]
    for number in range(STEPS):
        name = str(rng.choice(names, p=[0.5, 0.15, 0.15, 0.1, 0.06, 0.04]))
        chosen = rng.choice(40, size=int(rng.integers(1, 12)), replace=False).tolist()
        ids: tuple[int | str, ...] = tuple(i if i % 3 else f"k{i}" for i in chosen)
        steps.append(Step(name, ids, number, int(rng.integers(len(LADDERS)))))
    return steps


def vectors_of(step: Step) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vectors that a step writes, exact in float16: [n, DIM]."""
    rng = np.random.default_rng(step.seed)
    return rng.integers(-9, 9, (len(step.ids), DIM)).astype(np.float32)


def states_of(steps: list[Step]) -> list[State]:
    """What is there after each step."""
    state: State = {}
    states = []
    for step in steps:
        state = dict(state)
        if step.name == "upsert":
            for id_, vector in zip(step.ids, vectors_of(step).tolist(), strict=True):
                state[id_] = (tuple(vector), {"step": step.seed})
        elif step.name == "delete":
            for id_ in step.ids:
                state.pop(id_, None)
        states.append(state)
    return states


def run(db: Any, folder: Path, number: int, step: Step) -> None:
    """One step."""
    if step.name == "create":
        vector = vs.Vector("v", DIM, "dot", LADDERS[0])
        coded = vs.Vector("coded", DIM, "dot", CODED)
        pages = vs.MultiVector("pages", DIM, "dot", LADDERS[2])
        db.create_collection("items", vs.Schema([vector, coded, pages], [vs.Column("step", "int")]))
        return
    items = db.collection("items")
    if step.name == "upsert":
        vectors = vectors_of(step)
        codes = items.codec("coded").encode(vectors)
        payloads = [{"step": step.seed}] * len(step.ids)
        fields = {"v": vectors, "coded": codes, "pages": sets_of(vectors)}
        items.upsert(list(step.ids), fields, payloads)
    elif step.name == "delete":
        items.delete(list(step.ids))
    elif step.name == "flush":
        items.flush()
    elif step.name == "compact":
        items.compact()
    elif step.name == "alter":
        items.alter("v", LADDERS[step.ladder])
    else:
        db.snapshot(folder / f"snapshot-{number}")


def main() -> None:
    """Run every step, and acknowledge each."""
    folder, ack, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    options.LISTS_ROWS_MIN = 10  # what is compacted has lists
    options.SPARE_BYTES_MIN, options.SPARE_SHARE_MIN, options.HOLE_BYTES_MIN = 1, 0.0, 4096
    chosen = vs.Options(flush_bytes_max=6_000, background=sys.argv[4] == "1")
    answers = os.open(ack, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with vs.open(folder / "db", options=chosen) as db:
        for number, step in enumerate(steps_of(seed)):
            run(db, folder, number, step)
            os.write(answers, b"%d\n" % number)


if __name__ == "__main__":
    main()
