"""Digests by which repeats of a request are told, and nothing else: keyed, so that no prompt can be guessed.

Who has the database alone can neither try prompts nor see that two tenants asked the same.
"""

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from enginehouse.types import Principal
from enginehouse.types.keyed import Keyed, brief

__all__ = ["APART", "Digests", "canonical", "canonical_plain"]

_PURPOSE = b"enginehouse: digests of requests"
_LONGEST_PARSED = 64 * 1024
"""Bytes of a body that is brought into one way of writing; a longer one counts as it was written."""
_NO_MATTER = frozenset(
    {
        *("model", "stream", "stream_options", "user", "metadata", "keep_alive"),
        *("safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    }
)
"""Fields that change nothing in what is said; the model is a column of its own."""
_REMEMBERED = frozenset({"conversation", "conversation_id", "session_id", "previous_response_id"})
"""Fields that point at earlier turns: the same words need not be the same question."""
APART = frozenset({*_REMEMBERED, "user", "safety_identifier", "metadata", "service_tier"})
"""Fields with which a body's form here may be another than the one under which the cache keeps answers."""
_SIZE = 16
"""Bytes of a digest."""
_SCOPES = 4096
"""Tenants and users whose part of a digest is remembered."""

_written = msgspec.json.Encoder(order="sorted").encode


class Digests:
    """Makes digests.

    Args:
        secret: the service's own; the digests' key is derived from it.
        enabled: whether any are made.
    """

    def __init__(self, secret: bytes, *, enabled: bool) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        self._enabled = enabled
        self._begun = lru_cache(_SCOPES)(self._beginning)

    def adopt(self, *, enabled: bool) -> None:
        """Counts from the next request on."""
        self._enabled = enabled

    def of(self, principal: Principal, question: Callable[[], bytes]) -> str:
        """128 bits in hex, equal for the same question of one tenant; empty when it is not to be kept.

        Args:
            principal: who asks; without a tenant, a user is one of its own.
            question: what is asked, asked for only when it is needed.
        """
        return self.of_canonical(principal, question()) if self._enabled else ""

    def of_canonical(self, principal: Principal, asked: bytes) -> str:
        """The same for a question that is written already, in the form that `canonical` has.

        The cache's form of a body (`core.cache.questions.Written.canonical`, not shared) is the very same bytes
        when the body is a JSON object of at most 64 KiB that has none of the fields `APART`: users and tiers of
        service are left out by one of the two only, and what points at earlier turns has no form here. What is long
        may be there in `brief` as well.
        """
        if not self._enabled or not asked:
            return ""
        return self._begun(principal.tenant, principal.user).digest(brief(asked))[:_SIZE].hex()

    def _beginning(self, tenant: str, user: str) -> Keyed:
        """What all digests of one tenant, or of a user without one, begin with."""
        scope = msgspec.json.encode(("tenant", tenant) if tenant else ("user", user))
        return Keyed(self._key, scope + b"\n")


def canonical(body: bytes) -> bytes:
    """A JSON body in one way of writing it, without what changes nothing in the answer.

    Empty when it leans on earlier turns that it only points at. What is no JSON object, or very long, stays as it
    is.
    """
    if len(body) > _LONGEST_PARSED:
        return b"" if any(name.encode() in body for name in _REMEMBERED) else body
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
        if not _REMEMBERED.isdisjoint(fields):
            return b""
        return _written({name: value for name, value in fields.items() if name not in _NO_MATTER})
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return body


def canonical_plain(body: bytes, written: bytes) -> bytes:
    """`canonical` of a body that holds words only, and is there in that way of writing already.

    Args:
        written: `PlainRequest.anonymous`.
    """
    return canonical(body) if len(body) > _LONGEST_PARSED else written
