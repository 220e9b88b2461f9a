"""Every exception vecstore raises.

    VecstoreError
    ├── InvalidInputError(ValueError)  what the caller sent cannot be used; nothing was changed
    │   ├── DimensionError             a vector array of the wrong shape
    │   ├── VectorError                a vector with NaN, infinity, or an unusable dtype
    │   ├── CodecError                 codes that the field's codec did not make
    │   ├── IdError                    an id that is not an int64 or a str of 1 to 255 bytes
    │   ├── PayloadError               a payload that is not a JSON object, or a mistyped column
    │   ├── FilterError                a malformed `where`
    │   ├── SchemaError                a schema, name or representation that cannot be
    │   └── RequestError               a limit, plan or option out of range
    ├── NotFoundError(LookupError)     no such collection, field or representation
    ├── AlreadyExistsError             a collection of that name exists
    ├── StorageError(OSError)          the directory or the machine failed us
    │   ├── NotADatabaseError          the directory holds something else
    │   ├── FormatVersionError         written by a newer vecstore
    │   ├── LockedError                another process writes here
    │   ├── CorruptionError            what is on disk is not what was written
    │   ├── DatabaseFullError          no space, or the map is full
    │   └── UnknownOutcomeError        the disk failed during a commit: applied, or not at all
    ├── ReadOnlyError                  a write through a reader
    ├── ClosedError                    used after close()
    ├── RemoteError                    the network, not the database
    │   ├── UnavailableError           no server answers
    │   ├── DeadlineError              the server took too long
    │   ├── AuthenticationError        missing or wrong token
    │   └── InternalError              the server failed; its log says why
    └── MissingExtraError(ImportError) an optional dependency is not installed

Each is made from one message only, which says what was got, what was expected and what to do, so
that a server can send any of them and a client can raise the same.
"""

from __future__ import annotations


class VecstoreError(Exception):
    """The base of every error raised on purpose."""


class InvalidInputError(VecstoreError, ValueError):
    """What the caller sent cannot be used; nothing was changed."""


class DimensionError(InvalidInputError):
    """A vector array has the wrong shape."""


class VectorError(InvalidInputError):
    """A vector holds NaN, an infinity, or values that its representation cannot hold."""


class CodecError(InvalidInputError):
    """Ready-made codes are of another codec than the one that the field has."""


class IdError(InvalidInputError):
    """An id is not a 64-bit integer or a string of 1 to 255 bytes."""


class PayloadError(InvalidInputError):
    """A payload is not a JSON object, or one of its columns has the wrong type."""


class FilterError(InvalidInputError):
    """A `where` expression is malformed; the message points at the place."""


class SchemaError(InvalidInputError):
    """A schema, a name or a representation that cannot be."""


class RequestError(InvalidInputError):
    """A limit, a plan or an option is out of range."""


class NotFoundError(VecstoreError, LookupError):
    """No such collection, field or representation."""


class AlreadyExistsError(VecstoreError):
    """A collection of that name exists."""


class StorageError(VecstoreError, OSError):
    """The directory or the machine failed."""


class NotADatabaseError(StorageError):
    """The directory holds something else."""


class FormatVersionError(StorageError):
    """The database was written by a newer vecstore."""


class LockedError(StorageError):
    """Another process, or another handle in this one, writes here."""


class CorruptionError(StorageError):
    """What is on disk is not what was written: a checksum, a missing file, a lost record."""

    folder: str = ""  # of the damaged segment, where it is one


class DatabaseFullError(StorageError):
    """No space is left on the device or in the map; nothing acknowledged is lost."""


class UnknownOutcomeError(StorageError):
    """The disk failed during a commit. The write was applied whole or not at all: read to see."""


class ReadOnlyError(VecstoreError):
    """A write through a database that was opened for reading."""


class ClosedError(VecstoreError):
    """The database was used after close()."""


class RemoteError(VecstoreError):
    """The network or the server process failed, not the database."""


class UnavailableError(RemoteError):
    """No server answers at that address, or the connection to it broke during a call."""


class DeadlineError(RemoteError):
    """The server did not answer in time."""


class AuthenticationError(RemoteError):
    """The token is missing or wrong."""


class InternalError(RemoteError):
    """The server failed unexpectedly; its log says why."""


class MissingExtraError(VecstoreError, ImportError):
    """An optional dependency is not installed; the message names the extra."""
