"""Where the server keeps the snapshots that clients ask for: they give a name, never a path."""

from __future__ import annotations

import os
from pathlib import Path

from vecstore.backup.objects import find_folder, find_objects
from vecstore.errors import RequestError
from vecstore.schema import check_name


class SnapshotPlace:
    """A directory, or the URL of an object store, below which each snapshot has a name.

    Args:
        place: where; None for a server that makes no snapshots.
        database: the directory of the database, where there is one.

    Raises:
        RequestError: no path or URL, or one inside of the database.
        MissingExtraError: obstore is not installed, and it is a URL.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | None,
        database: str | os.PathLike[str] | None = None,
    ) -> None:
        if place is not None and (
            not isinstance(place, str | os.PathLike) or not os.fspath(place) or "\0" in str(place)
        ):
            raise RequestError(
                f"snapshots is {place!r}, expected a directory or the URL of an object store"
            )
        self.root = None if place is None else os.fsdecode(place)
        if self.root is not None and database is not None:
            _check_outside(self.root, database)
        find_objects(self.root)  # a store that cannot be is told now

    def target(self, name: str) -> str:
        """What `Database.snapshot` is told for the snapshot of a name.

        Raises:
            RequestError: this server makes no snapshots.
            SchemaError: it is no plain name.
        """
        check_name("snapshot", name)
        if self.root is None:
            raise RequestError(
                "this server has no place for snapshots; start it with "
                "`vecstore serve DIR --snapshots DIR_OR_URL`"
            )
        return f"{self.root.rstrip('/')}/{name}"


def _check_outside(root: str, database: str | os.PathLike[str]) -> None:
    place = find_folder(root) if "://" in root else Path(os.path.realpath(root))
    if place is not None and place.is_relative_to(os.path.realpath(database)):
        raise RequestError(
            f"snapshots is {root!r}, which is in the database {os.fspath(database)!r}; "
            "choose a place outside of it"
        )
