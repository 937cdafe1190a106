"""What one request was given of its caller's limits, and how they stand."""

import math
from collections.abc import Iterable, Sequence

from enginehouse.core.limits.rules import Rule
from enginehouse.errors import RateLimitExceeded, StoreUnavailable
from enginehouse.stores.kv import Asked, Seats, Spent, Standing, Taken, Tallies, Window

__all__ = ["Grant", "span"]

_SOON = 1.0
"""Seconds after which to try again when a request of one's own has to end first: nobody knows when."""


class Grant:
    """A request's own; from `Limits.admit`.

    Args:
        id_: unique.
        rules: its caller's limits.
        tallies: where they are counted; None when there are none.
        lenient: whether what cannot be counted later on is let in.
    """

    def __init__(self, id_: str, rules: Sequence[Rule], tallies: Tallies | None, *, lenient: bool = False) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        """How the caller's limits stand, for the answer."""
        self._id = id_
        self._lenient = lenient
        self._rules = rules
        self._tallies = tallies
        self._tokens = [rule for rule in rules if rule.what == "tokens"]
        self._reserved: list[tuple[int, int]] = []
        self._spent = 0

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited at all."""
        return bool(self._tokens) and self._tallies is not None

    def spent(self, tokens: int) -> None:
        """So many tokens more were read and written; a call that asks models several times says so each time."""
        self._spent += max(0, tokens)

    async def expect(self, tokens: int) -> None:
        """Reserve tokens beforehand; what is not spent of them comes back in the end.

        A request that may take more than a whole limit is let in when nothing of it is used.

        Raises:
            RateLimitExceeded: so many are not left.
            StoreUnavailable: they cannot be counted.
        """
        if not self._tokens or self._tallies is None or tokens <= 0:
            return
        windows = tuple(_window(rule, min(tokens, rule.count), tokens) for rule in self._tokens)
        asked = Asked(id=f"{self._id}:{len(self._reserved) + 1}", windows=windows)
        try:
            taken = await self._tallies.take(asked)
        except StoreUnavailable:
            if self._lenient:
                return
            raise
        if not taken.admitted:
            raise refusal(self._tokens, taken)
        self._reserved.append((taken.at, tokens))

    async def take(self) -> None:
        """Take a request's own part: one request, a seat, and the right to spend tokens while any are left.

        Raises:
            RateLimitExceeded: it is not there.
            StoreUnavailable: it cannot be counted.
        """
        assert self._tallies is not None, "there is nothing to take from"
        windows = tuple(_window(rule, 1, int(rule.what == "requests")) for rule in self._windows)
        seats = tuple(Seats(key=rule.key, limit=rule.count) for rule in self._seats)
        taken = await self._tallies.take(Asked(id=self._id, windows=windows, seats=seats))
        told = _told(self._windows, taken.windows)
        if not taken.admitted:
            raise refusal([*self._windows, *self._seats], taken, told)
        self.headers = [(name.encode(), value.encode()) for name, value in told]

    async def settle(self) -> None:
        """The request has ended: its seat is free, and its tokens are what they were."""
        if self._tallies is None:
            return
        seats = tuple(rule.key for rule in self._seats)
        windows = [part for rule in self._tokens for part in self._settled(rule)]
        if seats or windows:
            await self._tallies.settle(Spent(id=self._id, windows=windows, seats=seats))

    def _settled(self, rule: Rule) -> Iterable[tuple[str, float, int, int, int]]:
        for at, tokens in self._reserved:
            yield rule.key, rule.seconds, at, tokens, 0
        if self._spent:
            yield rule.key, rule.seconds, 0, 0, self._spent

    @property
    def _windows(self) -> list[Rule]:
        return [rule for rule in self._rules if rule.what != "concurrent"]

    @property
    def _seats(self) -> list[Rule]:
        return [rule for rule in self._rules if rule.what == "concurrent"]


def refusal(rules: Sequence[Rule], taken: Taken, told: Sequence[tuple[str, str]] = ()) -> RateLimitExceeded:
    """What to say of the limit that is longest in the way.

    Args:
        rules: windows first, then seats, as they were asked.
    """
    full = [
        (standing.wait / 1_000_000, rule)
        for rule, standing in zip(rules, taken.windows, strict=False)
        if standing.wait
    ]
    if not full:
        return _no_seat(rules[len(taken.windows) :], taken, told)
    wait, rule = max(full, key=lambda one: one[0])
    seconds = math.ceil(wait)
    return RateLimitExceeded(
        f"The limit of {rule.whose} is {rule.count} {rule.what} in {span(rule.seconds)}; this is one too many. "
        f"Try again in {span(seconds)}.",
        told=told,
        retry_after=seconds,
    )


def _no_seat(seats: Sequence[Rule], taken: Taken, told: Sequence[tuple[str, str]]) -> RateLimitExceeded:
    rule = next(rule for rule, held in zip(seats, taken.seats, strict=True) if held >= rule.count)
    return RateLimitExceeded(
        f"The limit of {rule.whose} is {rule.count} requests at the same time; wait for one of yours to end.",
        told=told,
        retry_after=_SOON,
    )


def span(seconds: float) -> str:
    """A time as the headers write it: `6m0s`, `1s`, `250ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _window(rule: Rule, need: int, take: int) -> Window:
    return Window(key=rule.key, seconds=rule.seconds, limit=rule.count, need=need, take=take)


def _told(rules: Sequence[Rule], standings: Sequence[Standing]) -> list[tuple[str, str]]:
    """Of several limits on the same thing the one of which the least is left."""
    told: list[tuple[str, str]] = []
    for what in ("requests", "tokens"):
        left = [
            (max(0, rule.count - standing.used), rule.count, standing.reset)
            for rule, standing in zip(rules, standings, strict=True)
            if rule.what == what
        ]
        if left:
            remaining, limit, reset = min(left)
            told += [
                (f"x-ratelimit-limit-{what}", str(limit)),
                (f"x-ratelimit-remaining-{what}", str(remaining)),
                (f"x-ratelimit-reset-{what}", span(reset / 1_000_000)),
            ]
    return told
