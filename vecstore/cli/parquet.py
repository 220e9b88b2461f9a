"""Reads .parquet files of records; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecstore.cli.records import Chunk, Keys, chunk_rows, dim_of, is_list_of_lists
from vecstore.errors import MissingExtraError, RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSource:
    """A table: a column of ids, one of vectors, others for payloads; nulls are left out."""

    path: Path
    keys: Keys
    file: Any  # pyarrow.parquet.ParquetFile
    unit: str = "row"

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.file.metadata.num_rows)

    def dim(self) -> int | None:
        """The length of the first vector that is not null."""
        return dim_of(self._first())

    def several(self) -> bool:
        """Whether the first one that is not null is a list of vectors."""
        return is_list_of_lists(self._first())

    def _first(self) -> Any:
        for batch in self.file.iter_batches(batch_size=256, columns=[self.keys.vector]):
            for vector in batch.column(0):
                if vector.is_valid:
                    return vector.as_py()
        return None

    def chunks(self) -> Iterator[Chunk]:
        """Slices of the table, read when they are asked for."""
        dim = self.dim()
        done = 0
        own = (self.keys.id, self.keys.vector)
        names = [name for name in self.file.schema_arrow.names if name not in self.keys.left_out]
        others = [name for name in names if name not in own]
        for batch in self.file.iter_batches(batch_size=chunk_rows(dim), columns=[*own, *others]):
            rows = batch.select(others).to_pylist() if others else [{}] * len(batch)
            start, done = done, done + len(batch)
            yield Chunk(
                ids=batch.column(self.keys.id).to_pylist(),
                vectors=_vectors(batch.column(self.keys.vector), dim),
                payloads=[
                    {name: value for name, value in row.items() if value is not None}
                    for row in rows
                ],
                places=range(start, done),
                done=done,
            )


def open_parquet(path: Path, keys: Keys) -> ParquetSource:
    """Open a file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        RequestError: the file is no Parquet file, or lacks one of the columns.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"reading {path} needs pyarrow, which is not installed; "
            "install it with: pip install 'vecstore[arrow]'"
        ) from None
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RequestError(f"{path} cannot be read ({error}), expected a Parquet file") from None
    schema = file.schema_arrow
    wanted = [(keys.id, "--id-key"), (keys.vector, "--vector-key")]
    for name, option in [*wanted, *((name, "--skip-column") for name in sorted(keys.left_out))]:
        if name not in schema.names:
            raise RequestError(
                f"{path} has no column {name!r} but {', '.join(map(repr, schema.names))}; "
                f"say with {option} what it is called"
            )
    kind = schema.field(keys.vector).type
    value = getattr(kind, "value_type", None)
    value = getattr(value, "value_type", value)
    if value is None or not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        raise RequestError(
            f"{path} has a column {keys.vector!r} of type {kind}, expected "
            "lists of numbers, or lists of these"
        )
    return ParquetSource(path=path, keys=keys, file=file)


def _vectors(column: Any, dim: int | None) -> Any:
    """[N, D] where every row has D values, else a list with None where there is no vector."""
    if hasattr(column.type.value_type, "value_type"):
        return column.to_pylist()
    values = column.flatten()
    lengths = set(column.value_lengths().to_pylist())
    if dim is not None and lengths == {dim} and not values.null_count:
        return values.to_numpy(zero_copy_only=False).reshape(len(column), dim)
    return column.to_pylist()
