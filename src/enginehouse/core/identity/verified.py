"""Tokens whose signature was found right, so that it is not computed again at each of their holder's requests.

Only what was verified is kept, and of the token only a digest of the whole text. A known token counts no longer
than it says itself; whether the key that it was verified with still counts is the caller's to see.
"""

import time
from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

from enginehouse.types import Principal

__all__ = ["Known", "Verified"]

_MOST = 4096


class Known(Struct, frozen=True):
    """A token that was verified."""

    holder: Principal
    kid: str | None
    """The id of the key that it names."""
    key: object
    """The key that it was verified with."""
    until: float
    """Seconds since 1970, from which on it counts no more."""


class Verified:
    """Tokens by digest; when there are too many, the one that was kept first makes room.

    Args:
        most: how many are kept.
        clock: seconds since 1970.
    """

    def __init__(self, most: int = _MOST, *, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock = clock
        self._known: dict[bytes, Known] = {}

    def find(self, text: str) -> Known | None:
        """What is known of a token; None when it was not verified, or has expired since."""
        digest = _digest(text)
        known = self._known.get(digest)
        if known is not None and self._clock() >= known.until:
            del self._known[digest]
            return None
        return known

    def keep(self, text: str, known: Known) -> None:
        """Remember a token that was verified."""
        digest = _digest(text)
        if digest not in self._known and len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[digest] = known


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
