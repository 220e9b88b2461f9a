"""Files of records, read a chunk at a time so that they may be larger than memory.

.npy      vectors [N, D]; ids are row numbers, or come from another file
.npz      vectors [T, D] and offsets [N + 1], maybe salience [T], of a multivector field (see
          `vecstore.types.Tokens`); ids as of .npy
.jsonl    an object on each line: an id, a vector, and what else becomes the payload
.parquet  a column of ids, one of vectors (lists of numbers), others become the payload

Of a multivector field, .jsonl and .parquet have a list of vectors for each record.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from vecstore.cli.arrays import load_array, load_tokens
from vecstore.errors import InvalidInputError, RequestError
from vecstore.tokens import Tokens
from vecstore.types import Array, Id, Payload

CHUNK_ROWS_MAX = 4_096
CHUNK_BYTES_TARGET = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What .jsonl and .parquet files call the id and the vector of a record.

    Attributes:
        id: the key or column of ids.
        vector: the key or column of vectors.
        left_out: keys or columns that are not part of payloads.
    """

    id: str
    vector: str
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some records of one file, in its order.

    Attributes:
        ids: N ids.
        vectors: [N, D], or a list of N with None where a record has no vector, or Tokens.
        payloads: N objects, or None.
        places: N line or row numbers.
        done: how much of the file is read after it, in the unit of `Source.size`.
    """

    ids: Sequence[Id]
    vectors: Any
    payloads: list[Payload] | None
    places: Sequence[int]
    done: int

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.vectors) == len(self.places)

    def only(self, positions: Sequence[int]) -> Chunk:
        """The records at some positions."""
        rows, vectors = list(positions), self.vectors
        if isinstance(vectors, np.ndarray):
            vectors = vectors[rows]
        elif isinstance(vectors, Tokens):
            vectors = vectors.take(rows)
        else:
            vectors = [vectors[row] for row in rows]
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            vectors=vectors,
            payloads=None if self.payloads is None else [self.payloads[row] for row in rows],
            places=[self.places[row] for row in rows],
        )


class Source(Protocol):
    """A file of records."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def unit(self) -> str:
        """What `Chunk.places` count: "line" or "row"."""
        ...

    @property
    def size(self) -> int:
        """How long it is, in the unit of `Chunk.done`."""
        ...

    def dim(self) -> int | None:
        """Dimensions of the first vector; None if there is none."""
        ...

    def several(self) -> bool:
        """Whether records have several vectors."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The records; InvalidInputError at a bad one, after a chunk of those before it."""
        ...


def open_sources(
    paths: Sequence[Path], keys: Keys, ids: Path | None, *, first_id: int = 0
) -> list[Source]:
    """The files, each by its ending.

    Args:
        paths: the files.
        keys: for .jsonl and .parquet files.
        ids: a file with an id for each record of all .npy and .npz files together: a .npy file,
            or text with an id on each line. None for row numbers, counted over all of them.
        first_id: the number of the first row.

    Raises:
        RequestError: a file that is not of one of these kinds, a file that is named twice, or
            too few or too many ids.
    """
    _check_distinct(paths)
    readers: dict[str, Callable[[Path], Array | Tokens]]
    readers = {".npy": _vectors, ".npz": load_tokens}
    arrays = [readers[path.suffix](path) if path.suffix in readers else None for path in paths]
    count = sum(len(array) for array in arrays if array is not None)
    names: Sequence[Id] | Array = range(first_id, first_id + count)
    if ids is not None:
        names = _read_ids(ids)
        if len(names) != count:
            raise RequestError(
                f"{ids} has {len(names):,} ids, the .npy and .npz files have {count:,} records"
            )
    sources: list[Source] = []
    first = 0
    for path, array in zip(paths, arrays, strict=True):
        if array is not None:
            after = first + len(array)
            sources.append(ArraySource(path=path, vectors=array, ids=names[first:after]))
            first = after
        elif path.suffix == ".jsonl":
            sources.append(JsonlSource(path=path, keys=keys))
        elif path.suffix == ".parquet":
            from vecstore.cli.parquet import open_parquet

            sources.append(open_parquet(path, keys))
        else:
            raise RequestError(
                f"{path} has another ending, expected .npy, .npz, .jsonl or .parquet"
            )
    return sources


def dim_of(vector: Any) -> int | None:
    """The length of a vector, or of the first of several; None where there is none."""
    if is_list_of_lists(vector):
        return len(vector[0])
    return None if vector is None else len(vector)


def is_list_of_lists(vector: Any) -> bool:
    """Whether these are several vectors."""
    return isinstance(vector, list) and bool(vector) and isinstance(vector[0], list)


def chunk_rows(dim: int | None) -> int:
    """Records to write at a time: a few megabytes of vectors."""
    return max(1, min(CHUNK_ROWS_MAX, CHUNK_BYTES_TARGET // (4 * (dim or 1))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySource:
    """Vectors [N, D] or the tokens of N records, and N ids."""

    path: Path
    vectors: Array | Tokens
    ids: Sequence[Id] | Array
    unit: str = "row"

    @property
    def size(self) -> int:
        """N."""
        return len(self.vectors)

    def dim(self) -> int:
        """D."""
        tokens = isinstance(self.vectors, Tokens)
        return int((self.vectors.vectors if tokens else self.vectors).shape[1])  # type: ignore[union-attr]

    def several(self) -> bool:
        """Whether they are tokens."""
        return isinstance(self.vectors, Tokens)

    def chunks(self) -> Iterator[Chunk]:
        """Slices of the array, which stays mapped."""
        dim = self.dim()
        if isinstance(self.vectors, Tokens):
            dim *= max(1, len(self.vectors.vectors) // max(1, self.size))
        step = chunk_rows(dim)
        for start in range(0, self.size, step):
            stop = min(start + step, self.size)
            yield Chunk(
                ids=[*self.ids[start:stop]],
                vectors=self.vectors[start:stop],
                payloads=None,
                places=range(start, stop),
                done=stop,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlSource:
    """A JSON object on each line; empty lines are passed over.

    The first must have a vector, even if it is null, so that a misspelled key is found; others
    may go without.
    """

    path: Path
    keys: Keys
    unit: str = "line"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    def dim(self) -> int | None:
        """The length of the first vector that is not null."""
        return dim_of(self._first())

    def several(self) -> bool:
        """Whether the first one that is not null is a list of vectors."""
        return is_list_of_lists(self._first())

    def _first(self) -> Any:
        found = (record.get(self.keys.vector) for _, _, record in self._records())
        return next((vector for vector in found if isinstance(vector, list)), None)

    def chunks(self) -> Iterator[Chunk]:
        """Lines, parsed; RequestError at one that is no record."""
        step = chunk_rows(self.dim())
        found: list[tuple[int, int, dict[str, Any]]] = []
        try:
            for item in self._records():
                found.append(item)
                if len(found) == step:
                    yield self._chunk(found)
                    found = []
        except InvalidInputError:
            if found:
                yield self._chunk(found)
            raise
        if found:
            yield self._chunk(found)

    def _records(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Line number, bytes up to its end, object."""
        done = 0
        wanted = [(self.keys.id, "--id-key"), (self.keys.vector, "--vector-key")]
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                done += len(line)
                text = line.removeprefix(BOM_UTF8) if number == 1 else line
                if text.strip():
                    yield number, done, self._parse(number, text, wanted)
                    del wanted[1:]

    def _parse(self, number: int, line: bytes, wanted: Sequence[tuple[str, str]]) -> dict[str, Any]:
        place = f"{self.path} line {number:,}"
        try:
            record = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(f"{place} is {line[:40]!r} ({error}), expected an object") from None
        for name, option in wanted:
            if name not in record:
                raise RequestError(
                    f"{place} has no {name!r} but {', '.join(map(repr, record)) or 'nothing'}; "
                    f"say with {option} what it is called"
                )
        return record

    def _chunk(self, found: Sequence[tuple[int, int, dict[str, Any]]]) -> Chunk:
        records = [record for _, _, record in found]
        ids = [record.pop(self.keys.id) for record in records]
        vectors = [record.pop(self.keys.vector, None) for record in records]
        for record in records:
            for name in self.keys.left_out & record.keys():
                del record[name]
        return Chunk(
            ids=ids,
            vectors=vectors,
            payloads=records,
            places=[number for number, _, _ in found],
            done=found[-1][1],
        )


def _vectors(path: Path) -> Array:
    array = load_array(path)
    if array.ndim != 2 or not array.shape[1]:
        raise RequestError(f"{path} has an array of shape {array.shape}, expected (N, D)")
    return array


def _read_ids(path: Path) -> Sequence[Id] | Array:
    if path.suffix != ".npy":
        try:
            return path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise RequestError(f"{path} is not UTF-8 ({error}), expected an id a line") from None
    array = load_array(path)
    if array.ndim != 1:
        raise RequestError(f"{path} has an array of shape {array.shape}, expected (N,)")
    return array


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        found = path.stat()
        place = (found.st_dev, found.st_ino)
        if place in seen:
            raise RequestError(f"{path} and {seen[place]} are the same file, expected each once")
        seen[place] = path
