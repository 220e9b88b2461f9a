"""An object store that holds snapshots; the only code that knows obstore.

    files/<sha256>                  the bytes of a file; those of many snapshots lie here once
    snapshots/<12 digits>.json      a manifest, from 1 on; made once, never written over

What was put is never changed. A manifest comes after the files that it lists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeGuard
from urllib.parse import unquote

from vecstore.errors import (
    CorruptionError,
    MissingExtraError,
    RequestError,
    StorageError,
    VecstoreError,
)
from vecstore.storage.files import RealFiles

# A request moves so many bytes at most; larger files go in several.
PART_BYTES = 8 << 20
PARTS_MAX = 9_000  # S3 takes 10,000
PARTS_AT_ONCE = 4
_SUM = re.compile(r"files/([0-9a-f]{64})")
_FOLDER = re.compile(r"\s*file://[^/?#]*(?P<path>[^?#]*)", re.IGNORECASE)
_NUMBER = re.compile(r"snapshots/([0-9]{12})\.json")


class ObjectStore(Protocol):
    """What is asked of a store of obstore: S3Store, GCSStore, AzureStore, LocalStore, ..."""

    def put(
        self,
        path: str,
        file: bytes | Iterator[bytes],
        *,
        mode: Any = None,
        chunk_size: int = ...,
        max_concurrency: int = ...,
    ) -> Any:
        """Make an object, whole or not at all."""
        ...

    def get(self, path: str) -> Any:
        """Read an object; its `bytes()`."""
        ...

    def get_range(self, path: str, *, start: int, length: int) -> Any:
        """Read a part of an object."""
        ...

    def list(self, prefix: str | None = None) -> Iterable[Sequence[Mapping[str, Any]]]:
        """Objects, each with "path" and "size", in pieces."""
        ...


class Objects:
    """The snapshots in an object store.

    Every method raises StorageError where the store fails for good: obstore has tried again before,
    as often as the store says.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.name = name
        self._store = store
        self._obstore: Any = _load()
        self._folder = find_folder(store)

    @classmethod
    def at(cls, url: str) -> Objects:
        """The store at a URL, such as "s3://bucket/prefix" or "file:///folder".

        Credentials and settings come from the environment, as obstore reads them.

        Raises:
            RequestError: no kind of store has such a URL, or it is the root of the file system.
            MissingExtraError: obstore is not installed.
        """
        obstore = _load()
        settings = {} if find_folder(url) is None else {"mkdir": True}
        try:
            return cls(obstore.store.from_url(url, **settings), url)
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise RequestError(f"{url!r} is no URL of an object store: {_line(error)}") from error

    def sizes(self) -> dict[str, int]:
        """The bytes of each file that is there, by its SHA-256."""
        return {
            found[1]: size
            for path, size in self._list("files")
            if (found := _SUM.fullmatch(path)) is not None
        }

    def numbers(self) -> dict[int, int]:
        """The bytes of each manifest, by its number, ascending."""
        return dict(
            sorted(
                (int(found[1]), size)
                for path, size in self._list("snapshots")
                if (found := _NUMBER.fullmatch(path)) is not None
            )
        )

    def put_file(self, sha256: str, size: int, chunks: Iterator[bytes]) -> None:
        """Upload a file; what `chunks` raises ends it, and nothing is there.

        Args:
            sha256: of its bytes.
            size: its bytes.
            chunks: its bytes, in order.
        """
        key = f"files/{sha256}"
        with self._errors("write", key):
            if size <= PART_BYTES:
                self._store.put(key, b"".join(chunks))
            else:
                self._store.put(
                    key,
                    chunks,
                    chunk_size=max(PART_BYTES, -(-size // PARTS_MAX)),
                    max_concurrency=PARTS_AT_ONCE,
                )
        self._sync(key)

    def put_manifest(self, number: int, data: bytes) -> bool:
        """Make a manifest; False where another snapshot has the number."""
        key = _manifest_key(number)
        with self._errors("write", key):
            try:
                self._store.put(key, data, mode="create")
            except self._obstore.exceptions.AlreadyExistsError:
                # Ours, where the answer to an earlier try was lost.
                return bytes(self._store.get(key).bytes()) == data
        self._sync(key)
        return True

    def manifest(self, number: int) -> bytes:
        """The bytes of a manifest; look at their number first, in `numbers`."""
        key = _manifest_key(number)
        with self._errors("read", key):
            return bytes(self._store.get(key).bytes())

    def read_file(self, sha256: str, size: int) -> Iterator[bytes]:
        """The bytes of a file, in order; look at their number first, in `sizes`.

        Raises:
            CorruptionError: there are fewer.
        """
        key = f"files/{sha256}"
        for start in range(0, size, PART_BYTES):
            length = min(PART_BYTES, size - start)
            with self._errors("read", key):
                part = bytes(self._store.get_range(key, start=start, length=length))
            if len(part) != length:
                raise CorruptionError(f"{key} in {self.name} has fewer than {size:,} bytes")
            yield part

    def _list(self, prefix: str) -> list[tuple[str, int]]:
        with self._errors("list", prefix):
            return [
                (str(item["path"]), int(item["size"]))
                for chunk in self._store.list(prefix)
                for item in chunk
            ]

    def _sync(self, key: str) -> None:
        """Make an object durable where the store does not: in a folder of this machine."""
        if self._folder is not None:
            path = self._folder / key
            for place in (path, path.parent, self._folder, self._folder.parent):
                RealFiles().sync_dir(place)

    @contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except VecstoreError:
            raise
        except FileNotFoundError as error:
            raise CorruptionError(f"{self.name} has no {key}, which a snapshot needs") from error
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise StorageError(f"cannot {action} {key} in {self.name}: {_line(error)}") from error


def find_objects(place: object) -> Objects | None:
    """The object store that a caller named, by its URL or itself; None for what is neither."""
    if isinstance(place, str):
        return Objects.at(place) if "://" in place else None
    return Objects(place, repr(place)) if _is_store(place) else None


def find_folder(place: object) -> Path | None:
    """The folder of this machine, without links, that an object store is, by its URL or itself.

    None for every other store, and for what is none.

    Raises:
        RequestError: it is the root of the file system.
    """
    if isinstance(place, str):
        found = _FOLDER.match(place)
        path = None if found is None else unquote(found["path"].strip())
    elif _is_store(place) and isinstance(place, _load().store.LocalStore):
        path = str(place.prefix or "/")  # type: ignore[attr-defined]
    else:
        path = None
    if path is None:
        return None
    folder = Path(os.path.realpath("/" + path.strip("/").replace("\0", "")))
    if folder == folder.parent:
        raise RequestError(f"{place!r} has no path; name a folder, such as file:///backups")
    return folder


def _is_store(place: object) -> TypeGuard[ObjectStore]:
    return all(hasattr(place, method) for method in ("put", "get", "get_range", "list"))


def _manifest_key(number: int) -> str:
    return f"snapshots/{number:012d}.json"


def _load() -> Any:
    try:
        import obstore.exceptions
        import obstore.store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "obstore":
            raise
        raise MissingExtraError(
            "snapshots in object stores need obstore, which is not installed; "
            "install it with: pip install 'vecstore[objects]'"
        ) from None
    return obstore


def _line(error: Exception) -> str:
    """The first line of an error; obstore's go on with details of its own."""
    return str(error).partition("\n")[0]
