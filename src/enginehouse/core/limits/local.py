"""Limits that are counted in this process, so that they are taken, settled and undone without waiting."""

from collections.abc import Iterable, Sequence
from itertools import count

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.rules import NO_BOUNDS, Bounds
from enginehouse.core.limits.telling import lines, lines_of_all
from enginehouse.stores.kv import Account, MemoryTallies, Standing

__all__ = ["LocalBounds", "LocalGrant", "settle_all"]

_number = count(1).__next__
"""Names seats that are held: nobody else's here, where those of others are random."""


class LocalBounds:
    """One caller's limits at one endpoint, as they are counted here; from `Limits.now`.

    Args:
        bounds: the limits.
        memory: where they are counted; None only where there are none.
    """

    __slots__ = ("_account", "_memory", "bounds", "counts_tokens", "is_open")

    def __init__(self, bounds: Bounds, memory: MemoryTallies | None) -> None:
        self.bounds = bounds
        self.is_open = bounds is NO_BOUNDS
        """Whether nothing is limited."""
        self.counts_tokens = bool(bounds.tokens)
        self._memory = memory
        self._account = None if memory is None or self.is_open else memory.account(bounds.taken, bounds.held)

    def take(self, tokens: Sequence[int]) -> "Sequence[LocalGrant | None]":
        """What `Limits.grant` gives, and `Grant.expect` reserves, in one step, for some requests in their order.

        Args:
            tokens: so many are expected to be read and written, by each.

        Returns:
            For each its grant; None when something of it is refused: then nothing was taken, and `grant` tells why.
        """
        account = self._account
        if account is None:
            return [LocalGrant("", self.bounds, self._memory) for _ in tokens]
        expected = [each if self.counts_tokens and each > 0 else 0 for each in tokens]
        ids = [str(_number()) if self.bounds.held else "" for _ in tokens]
        taken = account.take_all(ids, expected)
        if taken is None:  # for all of them; some may still be let in
            return [self._take(account, *one) for one in zip(ids, expected, strict=True)]
        at, windows = taken
        bounds, memory = self.bounds, self._memory
        told = lines_of_all(bounds, windows) if windows else [b""] * len(ids)
        stood = zip(*windows, strict=True) if windows else [()] * len(ids)
        return [
            LocalGrant(id_, bounds, memory, account, at, each, stands, said)
            for id_, each, stands, said in zip(ids, expected, stood, told, strict=True)
        ]

    def _take(self, account: Account, id_: str, expected: int) -> "LocalGrant | None":
        taken = account.take(id_, expected)
        if taken is None:
            return None
        at, stands = taken
        said = lines(self.bounds, stands)
        return LocalGrant(id_, self.bounds, self._memory, account, at, expected, stands, said)


class LocalGrant(Grant):
    """From `LocalBounds.take`. What a `Grant` does it does as well.

    Args:
        id_: unique.
        bounds: its caller's limits.
        memory: where they are counted; None when there are none.
        account: where exactly.
        at: when it was taken.
        expected: tokens that are reserved.
        told: of each window what was used then, and when all of it is free again.
        said: the same as an answer's head has it.
    """

    __slots__ = ("_account", "_at", "_memory", "_said", "_told")

    def __init__(
        self,
        id_: str,
        bounds: Bounds,
        memory: MemoryTallies | None,
        account: Account | None = None,
        at: int = 0,
        expected: int = 0,
        told: tuple[tuple[int, int], ...] = (),
        said: bytes = b"",
    ) -> None:
        # As of `Grant`, which is one call more for every request.
        self._id = id_
        self._lenient = False
        self._bounds = bounds
        self._tallies = self._memory = memory
        self._reserved = [(at, expected)] if expected else []
        self._spent = 0
        self._standings = None
        self._account = account
        self._at = at
        self._told = told
        self._said = said

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As of `Grant`."""
        if self._account is not None and self._standings is None:
            self._standings = tuple([Standing(used=used, reset=reset, wait=0) for used, reset in self._told])
        return super().headers

    @property
    def lines(self) -> bytes:
        """As of `Grant`."""
        return self._said

    def settle_now(self, tokens: int) -> None:
        """The request has ended, and so many tokens were read and written: `spent`, then `settle`."""
        settle_all([(self, tokens)])

    def ends(self, tokens: int) -> tuple[Account, str, tuple[int, int, int]] | None:
        """As `settle_now` has it, but for its account, which is to hear of it yet.

        Returns:
            It, what it knows the grant by, and when tokens were reserved, how many, and how many were spent. None
            where nothing is left to be told.
        """
        account, reserved = self._account, self._reserved
        if account is None:
            return None
        if tokens > 0:
            self._spent += tokens
        if len(reserved) <= 1:
            at, expected = reserved[0] if reserved else (0, 0)
            return account, self._id, (at, expected, self._spent)
        if self._memory is not None:  # it went on by the general way
            self._memory.settle_now(self._id, self._settled(), self._bounds.seat_keys)
        return None

    def undo_now(self) -> None:
        """As though the request had never been."""
        if self._memory is None:
            return
        expected = sum([tokens for _, tokens in self._reserved])
        taken = [(one.key, one.seconds, self._at, one.take or expected, 0) for one in self._bounds.taken]
        self._memory.settle_now(self._id, taken, self._bounds.seat_keys)


def settle_all(ended: Iterable[tuple[LocalGrant, int]]) -> None:
    """`LocalGrant.settle_now` for some, with the tokens that each took."""
    of: dict[Account, tuple[list[str], list[tuple[int, int, int]]]] = {}
    for grant, tokens in ended:
        end = grant.ends(tokens)
        if end is not None:
            account, id_, spent = end
            ids, spendings = of.get(account) or of.setdefault(account, ([], []))
            ids.append(id_)
            spendings.append(spent)
    for account, (ids, spendings) in of.items():
        account.settle_all(ids, spendings)
