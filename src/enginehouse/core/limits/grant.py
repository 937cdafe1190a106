"""What one request was given of its caller's limits, and how they stand."""

import math
from collections.abc import Sequence

from enginehouse.core.limits.rules import Bounds, Rule
from enginehouse.core.limits.telling import headers, lines, span
from enginehouse.errors import RateLimitExceeded, StoreUnavailable
from enginehouse.stores.kv import Asked, Spent, Standing, Taken, Tallies

__all__ = ["Grant"]

_SOON = 1.0
"""Seconds after which to try again when a request of one's own has to end first: nobody knows when."""


class Grant:
    """A request's own; from `Limits.admit`.

    Args:
        id_: unique.
        bounds: its caller's limits.
        tallies: where they are counted; None when there are none.
        lenient: whether what cannot be counted later on is let in.
    """

    __slots__ = ("_bounds", "_id", "_lenient", "_reserved", "_spent", "_standings", "_tallies")

    def __init__(self, id_: str, bounds: Bounds, tallies: Tallies | None, *, lenient: bool = False) -> None:
        self._id = id_
        self._lenient = lenient
        self._bounds = bounds
        self._tallies = tallies
        self._reserved: list[tuple[int, int]] = []
        self._spent = 0
        self._standings: tuple[Standing, ...] | None = None
        """As they were when it was taken."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """How the caller's limits stand, for the answer."""
        told = () if self._standings is None else headers(self._bounds, self._standings)
        return [(name.encode(), value.encode()) for name, value in told]

    @property
    def lines(self) -> bytes:
        """The same as the answer's head holds them: each line with its end."""
        standings = self._standings
        return b"" if standings is None else lines(self._bounds, [(one.used, one.reset) for one in standings])

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited at all."""
        return bool(self._bounds.tokens) and self._tallies is not None

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
        rules = self._bounds.tokens
        if not rules or self._tallies is None or tokens <= 0:
            return
        windows = tuple([rule.window(min(tokens, rule.count), tokens) for rule in rules])
        asked = Asked(id=f"{self._id}:{len(self._reserved) + 1}", windows=windows)
        try:
            taken = await self._tallies.take(asked)
        except StoreUnavailable:
            if self._lenient:
                return
            raise
        if not taken.admitted:
            raise refusal(rules, taken)
        self._reserved.append((taken.at, tokens))

    async def take(self) -> None:
        """Take a request's own part: one request, a seat, and the right to spend tokens while any are left.

        Raises:
            RateLimitExceeded: it is not there.
            StoreUnavailable: it cannot be counted.
        """
        assert self._tallies is not None, "there is nothing to take from"
        bounds = self._bounds
        taken = await self._tallies.take(Asked(id=self._id, windows=bounds.taken, seats=bounds.held))
        if not taken.admitted:
            raise refusal((*bounds.windows, *bounds.seats), taken, headers(bounds, taken.windows))
        self._standings = taken.windows

    async def settle(self) -> None:
        """The request has ended: its seat is free, and its tokens are what they were."""
        if self._tallies is None:
            return
        seats = self._bounds.seat_keys
        windows = self._settled()
        if seats or windows:
            await self._tallies.settle(Spent(id=self._id, windows=windows, seats=seats))

    def _settled(self) -> list[tuple[str, float, int, int, int]]:
        """What was reserved comes back; what was really spent counts in the step that takes the last of it back."""
        if not self._reserved and not self._spent:
            return []
        *before, (at, tokens) = self._reserved or [(0, 0)]
        windows = [(rule.key, rule.seconds, at, tokens, self._spent) for rule in self._bounds.tokens]
        for at, tokens in before:
            windows += [(rule.key, rule.seconds, at, tokens, 0) for rule in self._bounds.tokens]
        return windows


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
