"""The bearer token, as both sides know it."""

from __future__ import annotations

from vecstore.errors import RequestError

TOKEN_KEY = "authorization"
TOKEN_CHARS_MAX = 4096


def bearer(token: str) -> str:
    """The value of the metadata for a token, or RequestError where it cannot be sent."""
    if not isinstance(token, str) or not 1 <= len(token) <= TOKEN_CHARS_MAX:
        raise RequestError(f"token is not a str of 1 to {TOKEN_CHARS_MAX:,} characters")
    if not all("!" <= character <= "~" for character in token):
        raise RequestError("token holds a space or a character that is not printable ASCII")
    return f"Bearer {token}"
