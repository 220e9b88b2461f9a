"""What happens around every rpc: the token, the log, and errors turned into statuses."""

from __future__ import annotations

import functools
import hmac
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from vecstore.errors import (
    AlreadyExistsError,
    AuthenticationError,
    ClosedError,
    ReadOnlyError,
    StorageError,
)
from vecstore_proto.auth import TOKEN_KEY, bearer
from vecstore_proto.status import error_to_status
from vecstore_server.health import CHECK_METHOD

_LOG = logging.getLogger("vecstore_server")
_ACCESS = logging.getLogger("vecstore_server.access")

_WITH_PATHS = StorageError, ClosedError, ReadOnlyError, AlreadyExistsError
_SERIOUS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS})

Behavior = Callable[[Any, Any], Any]


class ErrorInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Logs each call, and answers errors with the status that tells the client what to raise.

    Args:
        tell: makes of a text with paths of files one that clients may read.
    """

    def __init__(self, tell: Callable[[str], str]) -> None:
        self._tell = tell

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a call."""
        report = functools.partial(_reporting, details.method, self._tell)
        return _wrapped(continuation(details), report)


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses every call without the token, whatever it calls, except health checks.

    Probes of an orchestrator have no token. Neither they nor those refused are waited for: their
    handlers read no message.
    """

    def __init__(self, token: str) -> None:
        self._expected = bearer(token).encode()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Pass a call on, or replace its handler by one that refuses."""
        if details.method == CHECK_METHOD:
            return continuation(details)
        given = dict(details.invocation_metadata).get(TOKEN_KEY, "")
        if hmac.compare_digest(str(given).encode("utf-8", "replace"), self._expected):
            return continuation(details)
        missing = "no token came with the call" if not given else "the token is not the server's"
        return grpc.stream_unary_rpc_method_handler(_refusing(missing))


def _wrapped(handler: Any, wrap: Callable[[Behavior, Any], Behavior]) -> Any:
    """The same handler around another behaviour; None where no such method is served."""
    if handler is None:
        return None
    kind = f"{'stream' if handler.request_streaming else 'unary'}_" + (
        "stream" if handler.response_streaming else "unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    behavior = getattr(handler, kind)
    around = functools.wraps(behavior)(wrap(behavior, handler))  # keeps what gRPC reads from it
    return make(around, handler.request_deserializer, handler.response_serializer)


def _refusing(missing: str) -> Behavior:
    def refuse(requests: Any, context: Any) -> Any:
        raise AuthenticationError(f"{missing}; connect with the token the server was started with")

    return refuse


def _reporting(
    method: str, tell: Callable[[str], str], behavior: Behavior, handler: Any
) -> Behavior:
    def answer(request: Any, context: Any) -> Any:
        started = time.perf_counter()
        try:
            found = behavior(request, context)
        except Exception as error:
            fail(error, started, context)
        log = functools.partial(_log, method, "OK", started, context)
        if not context.add_callback(log):  # runs once the answer was sent, which waits for no log
            log()
        return found

    def answer_in_parts(request: Any, context: Any) -> Iterator[Any]:
        started = time.perf_counter()
        try:
            yield from behavior(request, context)
        except GeneratorExit:
            _log(method, "CANCELLED", started, context)
            raise
        except Exception as error:
            fail(error, started, context)
        _log(method, "OK" if context.is_active() else "CANCELLED", started, context)

    def fail(error: Exception, started: float, context: Any) -> None:
        if isinstance(error, grpc.RpcError):  # raised where a client went away or was too slow
            _log(method, "CANCELLED", started, context)
            raise error
        code, details, metadata = error_to_status(error)
        if code in _SERIOUS or isinstance(error, StorageError):
            _LOG.error("%s failed", method, exc_info=error)
        if isinstance(error, _WITH_PATHS):
            details = tell(details)
        _log(method, code.name, started, context)
        context.set_trailing_metadata(metadata)
        context.abort(code, details)  # raises

    return answer_in_parts if handler.response_streaming else answer


def _log(method: str, code: str, started: float, context: Any) -> None:
    if _ACCESS.isEnabledFor(logging.INFO):
        milliseconds = (time.perf_counter() - started) * 1e3
        _ACCESS.info("%s %s %.1f ms %s", method, code, milliseconds, context.peer())
