"""Token states of the texts of a set, for late interaction: once, kept in the cache.

    python -m bench.embed_tokens --data DIR [SET ...] [--keep DIR]

The model is that of `bench.embed`: the last hidden states of every token, special ones too, of at
most 256 tokens, each at unit length; of `scifact` by default. They are kept as they are, and
projected to 128 dimensions by the leading eigenvectors of the set's own states, without centring:

    KEEP/tokens/SET/tokens384-corpus.f16.npy, tokens128-corpus.i8.npy (127 times the value),
                    tokens128-corpus.len.npy (of both), and the same for queries
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bench.embed import BATCH_TEXTS, ENVIRONMENT, KINDS, ROOT, loaded_model, save, texts
from bench.peers.base import Float32
from bench.peers.envs import EnvironmentFailedError, folder, python_of

States: TypeAlias = Callable[[list[str]], list[Float32]]

WIDE, NARROW = 384, 128
SETS = ("scifact",)
STEP_TEXTS = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed what is asked for; the exit status."""
    asked = _asked(arguments)
    if asked.here:
        states = token_states()
        for name in asked.sets or SETS:
            embed(asked.data / name, asked.keep / "tokens" / name, states)
        return 0
    try:
        python = python_of(ENVIRONMENT)
    except EnvironmentFailedError as error:
        print(f"no model: {error}", file=sys.stderr)
        return 1
    given = sys.argv[1:] if arguments is None else list(arguments)
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "bench.embed_tokens", "--here", *given]
    return subprocess.run(command, env=os.environ | quiet, check=False).returncode


def embed(source: Path, place: Path, states: States) -> None:
    """Write the files of one set; the lengths last, so that they are there when all is."""
    place.mkdir(parents=True, exist_ok=True)
    basis: Float32 | None = None
    for kind in KINDS:  # the corpus first: its states give the basis
        if (place / f"tokens{NARROW}-{kind}.len.npy").exists() and kind != "corpus":
            continue
        lines = texts(source, kind)
        found: list[Float32] = []
        for start in range(0, len(lines), STEP_TEXTS):
            found += states(lines[start : start + STEP_TEXTS])
            print(f"{source.name} {kind}: {len(found):,} of {len(lines):,}", flush=True)
        wide = np.concatenate(found)
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        if basis is None:
            basis = np.linalg.eigh(wide.T @ wide)[1][:, : -NARROW - 1 : -1]
        narrow = wide @ basis
        narrow /= np.linalg.norm(narrow, axis=1, keepdims=True)
        save(place / f"tokens{WIDE}-{kind}.f16.npy", wide.astype(np.float16))
        save(place / f"tokens{NARROW}-{kind}.i8.npy", np.rint(127 * narrow).astype(np.int8))
        save(place / f"tokens{NARROW}-{kind}.len.npy", np.array([len(each) for each in found]))


def token_states() -> States:
    """The model's last hidden states of some texts, [t, 384] each."""
    model: Any = loaded_model()

    def states(lines: list[str]) -> list[Float32]:
        found = model.encode(
            lines,
            batch_size=BATCH_TEXTS,
            output_value="token_embeddings",
            convert_to_numpy=False,
            show_progress_bar=False,
        )
        return [each.float().numpy() for each in found]

    return states


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.embed_tokens", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sets", nargs="*", metavar="SET", help="by default scifact")
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout")
    parser.add_argument("--keep", type=Path, default=folder(), help="cache; $VECSTORE_BENCH_CACHE")
    parser.add_argument("--here", action="store_true", help="in this environment, which has it all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
