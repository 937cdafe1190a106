"""What keeps one engine on its node: an actor that starts it, tells how it is, and takes it along when it goes."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from enginehouse.engines.metadata import Weight
from enginehouse.errors import EnginehouseError
from enginehouse.residency.base import Door
from enginehouse.residency.fleet.base import Pulse, Refusal, refusal_of
from enginehouse.residency.launchers.environ import engine_environ
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.memory import measured
from enginehouse.settings.environment import current_environ
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Deployment

__all__ = ["Keeper", "Outfit", "weighed"]

_NEWS = 1.0
"""Seconds for which who listens waits for news."""


class Outfit(Struct, frozen=True, kw_only=True):
    """What an engine's keeper has to know of the settings; the same on every node."""

    data_dir: Path
    """Where fetched files are kept, on each node."""
    sources: SourceSettings
    binary: Path | None
    """The user's own `llama-server`, on each node."""
    gpus: tuple[int, ...]
    silence: float
    grace: float
    orphan_timeout: float

    def launcher(self, host: str) -> LlamaLauncher:
        """One whose engines listen on this address of the node."""
        return LlamaLauncher(
            FetchedFiles(Artifacts(self.data_dir / "artifacts", self.sources), _nobody),
            binary=self.binary,
            environ=engine_environ(current_environ(), self.gpus),
            silence=self.silence,
            grace=self.grace,
            host=host,
        )


class _Notes:
    """Satisfies `Watcher`: kept until somebody asks."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._sign: str | None = None
        self._ended: str | None = None
        self._news = asyncio.Event()

    def progressed(self, sign: str) -> None:
        self._sign = sign
        self._news.set()

    def printed(self, lines: Sequence[str]) -> None:
        self._lines.extend(lines)
        self._news.set()

    def ended(self, reason: str) -> None:
        self._ended = reason
        self._news.set()

    async def read(self) -> Pulse:
        try:
            async with asyncio.timeout(_NEWS):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
        pulse = Pulse(lines=tuple(self._lines), sign=self._sign, ended=self._ended)
        self._lines, self._sign = [], None
        return pulse


class Keeper:
    """Runs as an actor of its own; the engine is its child, and dies with it.

    Args:
        deployment: what is loaded.
        node: where this is.
        host: the node's address.
        weight: bytes that are set aside.
        gpus: those on each GPU; None leaves GPUs to its flags.
        outfit: of the settings.
    """

    def __init__(
        self,
        deployment: Deployment,
        node: str,
        host: str,
        weight: Weight,
        gpus: Mapping[int, int] | None,
        outfit: Outfit,
    ) -> None:
        self._deployment, self._node, self._host = deployment, node, host
        self._weight, self._gpus, self._outfit = weight, gpus, outfit
        self._notes: _Notes | None = None
        self._door: asyncio.Future[Door | Refusal] | None = None
        self._over = asyncio.Event()
        self._heard_at = 0.0
        self._gone = asyncio.Event()
        self._pid: int | None = None

    async def run(self) -> None:
        """Load, and stay until it is told to stop, or nobody listens any more."""
        door, notes = self._opened()
        launcher = self._outfit.launcher(self._host)
        if self._gpus is None:
            loading = launcher.load(self._deployment, notes)
        else:
            loading = launcher.load_on(self._deployment, notes, self._gpus)
        try:
            async with loading as loaded:
                self._pid = loaded.pid
                assert loaded.door is not None, "a llama-server is reached over HTTP"
                door.set_result(loaded.door)
                await self._stay()
        except EnginehouseError as error:
            if not door.done():
                door.set_result(refusal_of(error))
            await self._stay()
        finally:
            self._gone.set()

    async def door(self) -> Door | Refusal:
        """How the engine is reached, once it answers; or why it will not."""
        return await asyncio.shield(self._opened()[0])

    async def listen(self) -> Pulse:
        """What there is to tell, or nothing after a moment."""
        self._heard_at = asyncio.get_running_loop().time()
        return await self._opened()[1].read()

    async def measure(self) -> int | None:
        """Bytes of main memory that the engine takes."""
        return 0 if self._pid is None else await asyncio.to_thread(measured, self._pid)

    async def describe(self) -> tuple[Deployment, str, Weight] | None:
        """What is kept where; None while it is not ready."""
        ready = self._door is not None and self._door.done() and isinstance(self._door.result(), Door)
        return (self._deployment, self._node, self._weight) if ready and not self._gone.is_set() else None

    async def stop(self) -> None:
        """Returns when the engine is gone."""
        self._over.set()
        await self._gone.wait()

    def _opened(self) -> tuple["asyncio.Future[Door | Refusal]", _Notes]:
        if self._door is None or self._notes is None:
            self._door, self._notes = asyncio.get_running_loop().create_future(), _Notes()
        return self._door, self._notes

    async def _stay(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while (left := self._heard_at + self._outfit.orphan_timeout - loop.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._over.wait()
                    return


async def weighed(deployment: Deployment, outfit: Outfit) -> Weight | Refusal:
    """What its files say, as seen here."""
    launcher, notes = outfit.launcher("127.0.0.1"), _Notes()
    try:
        on_gpus = await launcher.offload(deployment, notes)
        return on_gpus or Weight(ram=await launcher.weigh(deployment, notes))
    except EnginehouseError as error:
        return refusal_of(error)


def _nobody() -> None:
    """Nobody waits for files to arrive."""
