"""The connection to Redis: opened once, watched for as long as the service runs, and found again when it was lost.

One task holds it: it listens, and asks now and then whether Redis still takes writes. Everybody else only uses it.
A call that fails marks Redis as gone at once, and each change is logged once; nobody else has to log or try again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast
from urllib.parse import urlsplit

import structlog

from enginehouse.errors import SettingsError, StoreUnavailable
from enginehouse.settings.secrecy import without_passwords

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

__all__ = ["RedisStore", "Script"]

log = structlog.get_logger()

_PATIENCE = 1.5
"""Seconds Redis may take to connect or to answer."""
_PAUSE = 0.5
"""Seconds between two attempts to find it again."""
_LOOK = 1.0
"""Seconds without a message after which the listener looks whether it is still wanted."""
_CHECK = 5.0
"""Seconds between two checks whether it takes writes."""


class Script(Protocol):
    """A Lua script that Redis knows by its digest."""

    async def __call__(self, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """Run it; what it returns."""
        ...


class RedisStore:
    """One Redis, by its URL; use as a context.

    Entering waits for the first attempt to connect, whether it succeeds or not.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the database's number as path.
        name: this replica; unique, since what is sent to it is sent to this name.
        introduce: what others may read of it for as long as it is heard of; asked every few seconds.

    Raises:
        SettingsError: on making it; the URL cannot be one, or the driver is not installed.
    """

    def __init__(self, url: str, name: str, introduce: Callable[[], bytes] = bytes) -> None:
        self.name = name
        self._client = _client(url)
        self._up = False
        self._tried = asyncio.Event()
        self._reason = "It has not been asked yet."
        self._hear: Callable[[bytes], None] = lambda _: None
        self._receive: Callable[[bytes], None] = lambda _: None
        self._changed: Callable[[bool], None] = lambda _: None
        self._introduce = introduce
        self._tasks = asyncio.TaskGroup()

    @property
    def up(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._up

    def script(self, *names: str) -> Script:
        """A script made of these files of `lua/`, one after the other."""
        folder = files("enginehouse.stores.kv") / "lua"
        text = "\n".join((folder / name).read_text("utf-8") for name in names)
        return cast("Script", self._client.register_script(text))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """What a script returns.

        Raises:
            StoreUnavailable: Redis is away, or does not run it. Whether it ran is not known.
        """
        return await self.ask(lambda _: script(keys, args))

    async def ask(self, command: Callable[[Any], Awaitable[Any]], *, waits: float = 0.0) -> Any:
        """What a command of the driver's client returns.

        Args:
            waits: seconds for which Redis itself may keep it waiting.

        Raises:
            StoreUnavailable: Redis is away, or does not run it. Whether it ran is not known.
        """
        from redis.exceptions import RedisError

        if not self._up:
            raise StoreUnavailable(self._reason)
        try:
            async with asyncio.timeout(_PATIENCE + waits):
                return await command(self._client)
        except (RedisError, OSError) as error:
            self._turn(error)
            raise StoreUnavailable(self._reason) from error

    async def ping(self) -> None:
        """Ask it now.

        Raises:
            StoreUnavailable: it does not answer, with what is known of the reason.
        """
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(_PATIENCE):
                await cast("Any", self._client).ping()
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_said(error)) from error
        if not self._up:
            raise StoreUnavailable(self._reason)

    def listen(self, hear: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Hand on what is sent to this replica, and every loss and return of Redis."""
        self._hear, self._changed = hear, changed

    def receive(self, hear: Callable[[bytes], None]) -> None:
        """Hand on the letters to this replica."""
        self._receive = hear

    async def introductions(self) -> list[bytes]:
        """What every replica says of itself that was heard of lately, this one too.

        Raises:
            StoreUnavailable: Redis is away.
        """

        async def told(client: Any) -> list[bytes]:
            names = [name async for name in client.scan_iter(match=f"{self.alive}*", count=1000)]
            return [said for said in await client.mget(names) if said is not None] if names else []

        return await self.ask(told)

    @property
    def channel(self) -> str:
        """Where lines call replicas: followed by a replica's name."""
        return "enginehouse:to:"

    @property
    def mailbox(self) -> str:
        """Where letters to replicas are sent: followed by a replica's name."""
        return "enginehouse:post:"

    @property
    def alive(self) -> str:
        """What the keys of living replicas begin with: followed by a replica's name."""
        return "enginehouse:replica:"

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._link = self._tasks.create_task(self._hold(), name="redis")
        await self._tried.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.cancel()
        await self._tasks.__aexit__(kind, error, trace)
        await self._take_leave()
        await self._client.aclose()

    async def _take_leave(self) -> None:
        """Nobody has to wait for this replica's sign of life to fade."""
        from redis.exceptions import RedisError

        if self._up:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(_PATIENCE):
                    await cast("Any", self._client).delete(self.alive + self.name)

    async def _hold(self) -> None:
        from redis.exceptions import RedisError

        while True:
            try:
                async with cast("Any", self._client).pubsub(ignore_subscribe_messages=True) as ears:
                    async with asyncio.timeout(_PATIENCE):
                        await ears.subscribe(self.channel + self.name, self.mailbox + self.name)
                    await self._listen(ears)
            except (RedisError, OSError) as error:
                self._turn(error)
            await asyncio.sleep(_PAUSE)

    async def _listen(self, ears: "PubSub") -> None:
        """Until the connection breaks, or somebody else finds that Redis has gone."""
        clock = asyncio.get_running_loop().time
        await self._check()
        self._turn(None)
        checked = clock()
        while self._up:
            message = await cast("Any", ears).get_message(timeout=_LOOK)
            if message is not None:
                letter = message["channel"] == (self.mailbox + self.name).encode()
                (self._receive if letter else self._hear)(message["data"])
            if clock() - checked >= _CHECK:
                await self._check()
                checked = clock()

    async def _check(self) -> None:
        """A replica that only reads, or a full one, would answer a ping."""
        async with asyncio.timeout(_PATIENCE):
            await cast("Any", self._client).set(self.alive + self.name, self._introduce(), px=int(_CHECK * 3000))

    def _turn(self, error: Exception | None) -> None:
        """Gone, for this reason, or back; the same twice is no news."""
        up = error is None
        changed = up != self._up or not self._tried.is_set()
        if error is not None:
            self._reason = _said(error)
        self._up = up
        self._tried.set()
        if not changed:
            return
        if up:
            log.info("redis_connected")
        else:
            log.warning("redis_lost", error=self._reason)
        self._changed(up)


def _client(url: str) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise SettingsError(
            "stores.redis_url is set, but the Redis driver is missing: pip install 'enginehouse[redis]'."
        ) from error
    try:
        _check_database(url)
        client: Redis = cast("Any", Redis).from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 1),  # a connection that was closed while idle; every script may run twice
            socket_connect_timeout=_PATIENCE,
            socket_timeout=None,  # the driver would use `wait_for`, which loses cancellations before Python 3.12
        )
        client.connection_pool.make_connection()  # an option that does not exist shows only now
    except (ValueError, TypeError) as error:
        raise SettingsError(f"stores.redis_url is no Redis URL: {without_passwords(str(error))}") from error
    return client


def _check_database(url: str) -> None:
    """The driver takes database 0 for what it cannot read."""
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if parts.scheme in {"redis", "rediss"} and number and not number.isdecimal():
        raise ValueError(f"the database {number!r} is not a number")


def _said(error: Exception) -> str:
    """What an error says, without secrets; its name when it says nothing."""
    return without_passwords(str(error)) or f"It did not answer ({type(error).__name__})."
