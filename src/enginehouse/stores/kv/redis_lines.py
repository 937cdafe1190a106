"""Lines in Redis: one Lua script makes a step, and published messages call whoever may run.

The order is in `lua/order.lua`, leases, slots and figures in `lua/step.lua`. The time is always Redis's own.
"""

import msgspec

from enginehouse.stores.kv.lines import Listener, Moves, Outcome
from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["RedisLines"]

_KEYS = (
    *("line", "ages", "tickets", "meta", "ring:0", "ring:1", "ring:2"),
    *("waiting", "running", "owners", "stated", "waits"),
)
"""In the order in which the scripts number them."""


class RedisLines:
    """Satisfies `Lines`.

    Args:
        store: where they are kept.
        clock: microseconds, for tests of the order; Redis's own clock when left out.
    """

    def __init__(self, store: RedisStore, *, clock: "list[int] | None" = None) -> None:
        self._store = store
        self._step = store.script("order.lua", "step.lua")
        self._clock = clock

    @property
    def up(self) -> bool:
        """Whether Redis is believed to be there."""
        return self._store.up

    def listen(self, listener: Listener) -> None:
        """From now on this one is told."""

        def hear(message: bytes) -> None:
            line, ticket = msgspec.msgpack.decode(message, type=tuple[str, str])
            listener.turn(line, ticket)

        self._store.listen(hear, lambda up: listener.connection(up=up))

    async def step(self, line: str, moves: Moves) -> Outcome:
        """Say something, let in whoever may run then, and hear how things are.

        Raises:
            StoreUnavailable: Redis is away. Whether the step happened is not known.
        """
        keys = [f"enginehouse:line:{{{line}}}:{key}" for key in _KEYS]
        now = "" if self._clock is None else str(self._clock[-1])
        args = [msgspec.msgpack.encode(moves), self._store.name, line, self._store.channel, now]
        return msgspec.msgpack.decode(await self._store.run(self._step, keys, args), type=Outcome)
