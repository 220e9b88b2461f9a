"""What happens around every rpc: the token, the log, and errors turned into statuses."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from vecstore.errors import AuthenticationError
from vecstore_proto.auth import TOKEN_KEY, bearer
from vecstore_proto.status import Status, error_to_status

_LOG = logging.getLogger("vecstore_server")
_ACCESS = logging.getLogger("vecstore_server.access")

OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""What may be called without a token, as probes of an orchestrator have none."""

_SERIOUS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS})

Behavior = Callable[[Any, Any], Any]


class ErrorInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Logs each call, and answers errors with the status that tells the client what to raise."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a call."""
        return _wrapped(continuation(details), details.method, _reporting)


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses every call without the token, whatever it calls, except `OPEN_METHODS`."""

    def __init__(self, token: str) -> None:
        self._expected = bearer(token).encode()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Pass a call on, or replace its handler by one that refuses."""
        handler = continuation(details)
        if details.method in OPEN_METHODS:
            return handler
        given = dict(details.invocation_metadata).get(TOKEN_KEY, "")
        if hmac.compare_digest(str(given).encode("utf-8", "replace"), self._expected):
            return handler
        missing = "no token came with the call" if not given else "the token is not the server's"
        return _wrapped(
            handler or grpc.unary_unary_rpc_method_handler(None),
            details.method,
            lambda behavior, method, handler: _refusing(missing),
        )


def _wrapped(handler: Any, method: str, wrap: Callable[[Behavior, str, Any], Behavior]) -> Any:
    """The same handler around another behaviour; None where no such method is served."""
    if handler is None:
        return None
    kind = f"{'stream' if handler.request_streaming else 'unary'}_" + (
        "stream" if handler.response_streaming else "unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    behavior = wrap(getattr(handler, kind), method, handler)
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def _refusing(missing: str) -> Behavior:
    def refuse(request: Any, context: Any) -> Any:
        raise AuthenticationError(f"{missing}; connect with the token the server was started with")

    return refuse


def _reporting(behavior: Behavior, method: str, handler: Any) -> Behavior:
    def answer(request: Any, context: Any) -> Any:
        started = time.perf_counter()
        try:
            found = behavior(request, context)
        except Exception as error:
            _fail(error, method, started, context)
        _log(method, "OK", started, context)
        return found

    def answer_in_parts(request: Any, context: Any) -> Iterator[Any]:
        started = time.perf_counter()
        try:
            yield from behavior(request, context)
        except Exception as error:
            _fail(error, method, started, context)
        _log(method, "OK", started, context)

    return answer_in_parts if handler.response_streaming else answer


def _fail(error: Exception, method: str, started: float, context: Any) -> None:
    status: Status = error_to_status(error)
    if status.code in _SERIOUS:
        _LOG.error("%s failed", method, exc_info=error)
    _log(method, status.code.name, started, context)
    context.set_trailing_metadata(status.metadata)
    context.abort(status.code, status.details)  # raises


def _log(method: str, code: str, started: float, context: Any) -> None:
    if _ACCESS.isEnabledFor(logging.INFO):
        milliseconds = (time.perf_counter() - started) * 1e3
        _ACCESS.info("%s %s %.1f ms %s", method, code, milliseconds, context.peer())
