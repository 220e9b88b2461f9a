"""Errors to gRPC statuses and back, so that a client raises what the database raised.

The class of an error travels as trailing metadata, its message as the details of the status, which
gRPC percent-encodes: newlines and any Unicode arrive as they were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc

from vecstore import errors
from vecstore.errors import VecstoreError

ERROR_KEY = "vecstore-error"
"""The trailing metadata that names the class of an error."""

METADATA_BYTES_MAX = 256 << 10
"""Both sides accept this much metadata, as a message may be long and is encoded as such."""

KEEPALIVE_MS = 20_000
"""A client asks for a sign of life after this long without one, while a call is under way."""

_MESSAGE_BYTES_MAX = 64 << 10

# What gRPC says of a call that it sent to nobody.
_UNREACHED = ("failed to connect", "resolving", "dns resolution", "connection refused")
_UNKNOWN = "it is not known whether the write was applied: read to see, and write again if not"

_CODES: dict[type[VecstoreError], grpc.StatusCode] = {
    errors.VecstoreError: grpc.StatusCode.UNKNOWN,
    errors.InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DimensionError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.VectorError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.CodecError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IdError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PayloadError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.FilterError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SchemaError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.StorageError: grpc.StatusCode.INTERNAL,
    errors.NotADatabaseError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.FormatVersionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LockedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CorruptionError: grpc.StatusCode.DATA_LOSS,
    errors.DatabaseFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownOutcomeError: grpc.StatusCode.UNKNOWN,
    errors.ReadOnlyError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ClosedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RemoteError: grpc.StatusCode.UNKNOWN,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    errors.InternalError: grpc.StatusCode.INTERNAL,
    errors.MissingExtraError: grpc.StatusCode.UNIMPLEMENTED,
}
_CLASSES = {kind.__name__: kind for kind in _CODES}


class AnswerTooLarge(Exception):  # noqa: N818 - a signal between our two ends, never seen by users
    """One message cannot hold the answer: the client asks for a stream instead."""


class Status(NamedTuple):
    """What a server sends in place of an answer."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...]


def error_to_status(error: Exception) -> Status:
    """The status of an error; of one that is not vecstore's it tells nothing."""
    if isinstance(error, AnswerTooLarge):
        return Status(grpc.StatusCode.OUT_OF_RANGE, "the answer needs a stream", ())
    if not isinstance(error, VecstoreError):
        error = errors.InternalError("the server failed unexpectedly; its log says why")
    kind = next(base for base in type(error).__mro__ if base in _CODES)
    return Status(_CODES[kind], _shortened(str(error)), ((ERROR_KEY, kind.__name__),))


def error_from_status(
    error: Any, address: str, timeout_s: float, *, writes: bool = False
) -> Exception:
    """The inverse.

    Args:
        error: the `grpc.RpcError` of a call.
        address: the server that was called.
        timeout_s: how long the call was allowed to take.
        writes: the call changes what the database holds.

    Returns:
        What the database raised, with the same type and message, or a RemoteError for what
        happened between client and database, or AnswerTooLarge.
    """
    code, details = error.code(), error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_KEY and value in _CLASSES:
            return _CLASSES[value](details)
    if code is grpc.StatusCode.OUT_OF_RANGE:
        return AnswerTooLarge(details)
    if code is grpc.StatusCode.UNAVAILABLE:
        reached = not any(sign in details.lower() for sign in _UNREACHED)
        return (cut_off if writes and reached else unavailable)(address, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineError(
            f"the server at {address} did not answer within {timeout_s:g} s; "
            "connect with a larger timeout_s, or ask for less" + (f"; {_UNKNOWN}" if writes else "")
        )
    return errors.RemoteError(f"the server at {address} answered {code.name}: {details}")


def unavailable(address: str, details: str = "") -> errors.UnavailableError:
    """The error of a server that cannot be reached, with the end of what gRPC says about it."""
    return errors.UnavailableError(
        f"no vecstore server answers at {address}{_reason(details)}; "
        "start one with `vecstore serve`, or check the address"
    )


def cut_off(address: str, details: str = "") -> errors.UnavailableError:
    """The error of a write that the server may have got before the connection broke."""
    return errors.UnavailableError(
        f"the connection to the vecstore server at {address} broke in the middle of a write"
        f"{_reason(details)}; {_UNKNOWN}"
    )


def _reason(details: str) -> str:
    """It comes last after much about addresses: "...: UNKNOWN: ...: Connection refused"."""
    reason = details.rpartition(":")[2].strip(" ].")[:80].lower()
    return f" ({reason})" if reason else ""


def _shortened(message: str) -> str:
    """The message, cut where it would outgrow the metadata, as text that can be encoded."""
    data = message.encode("utf-8", "backslashreplace")
    if len(data) > _MESSAGE_BYTES_MAX:
        data = data[:_MESSAGE_BYTES_MAX] + "…".encode()
    return data.decode("utf-8", "ignore")
