"""The client of vecstore: the methods of an embedded database, answered by a server.

`vecstore.connect` is `connect` of this package; `vecstore_client.aio.connect` is its asyncio twin.
"""

from __future__ import annotations

from vecstore.errors import MissingExtraError

try:
    from vecstore_client.collection import RemoteCollection
    from vecstore_client.database import RemoteDatabase, connect
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("grpc", "google"):
        raise
    raise MissingExtraError(
        f"connecting needs {error.name}, which is not installed; "
        "install it with: pip install 'vecstore[client]'"
    ) from None

__all__ = ["RemoteCollection", "RemoteDatabase", "connect"]
