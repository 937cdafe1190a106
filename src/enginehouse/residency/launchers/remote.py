"""Remote servers are always 'in memory': loading one is connecting to it, as its provider does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from enginehouse.engines.providers import connect_of
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.types import Deployment

__all__ = ["RemoteLauncher"]


class RemoteLauncher:
    """Connects to servers elsewhere, whatever dialect they speak.

    Args:
        silence: seconds without a byte after which a server counts as gone, where a model does not say.
    """

    def __init__(self, *, silence: float) -> None:
        self._silence = silence

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Nothing here."""
        del deployment, watcher
        return 0

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Connect."""
        del watcher  # nothing moves, and a connection does not end by itself
        connect = connect_of(deployment.engine)
        async with connect(deployment, deployment.request_timeout or self._silence) as engine:
            yield Loaded(engine=engine)
