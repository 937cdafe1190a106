"""Exact repeats among recorded requests: what a cache of answers would have saved."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

__all__ = ["SCOPES", "Repeated", "Repeats"]

SCOPES = ("user", "tenant")
"""Who would have shared answers: each user alone, or the users of a tenant."""
_MICROSECONDS = 1_000_000

Row = Mapping[str, Any]


class Repeated(Struct, kw_only=True):
    """Repeats of one model's requests in one scope."""

    requests: int = 0
    unpriced: int = 0
    """Those among them whose cost is unknown."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    cost: int = 0
    """Picodollars."""

    def add(self, row: Row) -> None:
        """One more."""
        self.requests += 1
        self.unpriced += row["cost"] is None
        self.input_tokens += row["input_tokens"]
        self.cached_input_tokens += row["cached_input_tokens"]
        self.output_tokens += row["output_tokens"] + row["reasoning_tokens"]
        self.cost += row["cost"] or 0


class Repeats:
    """Goes through completed requests in the order of their coming.

    A request is a repeat when the same was asked before, and the answer to that was complete when it came and not
    older than a cache would have kept it.

    Args:
        ttl: seconds for which a cache keeps an answer.
        scopes: those of `SCOPES` to tell.
    """

    def __init__(self, ttl: float, scopes: Iterable[str] = SCOPES) -> None:
        self.seen = 0
        """Requests looked at."""
        self.without_digest = 0
        """Those of which nobody can say whether they are repeats."""
        self._ttl = round(ttl * _MICROSECONDS)
        self._ready: dict[str, dict[int, int]] = {scope: {} for scope in scopes}
        self._found: dict[tuple[str, str], Repeated] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """The next requests."""
        for row in rows:
            self.seen += 1
            if not row["digest"]:
                self.without_digest += 1
                continue
            for scope, ready in self._ready.items():
                if self._again(ready, _key(scope, row), row):
                    self._found.setdefault((scope, row["model"]), Repeated()).add(row)

    def found(self) -> Iterator[tuple[str, str, Repeated]]:
        """Scope, model and its repeats, the dearest first."""
        for (scope, model), repeated in sorted(self._found.items(), key=lambda item: (-item[1].cost, item[0])):
            yield scope, model, repeated

    def _again(self, ready: dict[int, int], key: int, row: Row) -> bool:
        since = ready.get(key)
        if since is None or row["time"] >= since + self._ttl:
            ready[key] = row["time"] + row["total_us"]
            return False
        return row["time"] >= since


def _key(scope: str, row: Row) -> int:
    """A number instead of the texts: hundreds of thousands are held at once.

    The digest is a tenant's, or that of a user who has none, so that a tenant needs no name here.
    """
    whose = row["user_id"] if scope == "user" else ""
    return hash((whose, row["model"], row["operation"], row["face"], row["digest"]))
