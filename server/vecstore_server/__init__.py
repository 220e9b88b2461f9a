"""The gRPC server of vecstore: `serve` in a process of yours, `python -m vecstore_server` alone."""

from __future__ import annotations

from vecstore.errors import MissingExtraError

try:
    from vecstore_server.app import Server, run, serve
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("grpc", "google", "grpc_health"):
        raise
    raise MissingExtraError(
        f"serving needs {error.name}, which is not installed; "
        "install it with: pip install 'vecstore[server]'"
    ) from None

__all__ = ["Server", "run", "serve"]
