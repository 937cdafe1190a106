"""Remote servers are always 'in memory': loading one is opening its connection pool."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from enginehouse.engines.openai_http import OpenAIHttp
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.types import Deployment

__all__ = ["RemoteLauncher"]


class RemoteLauncher:
    """Connects to any server that speaks OpenAI's dialect.

    Args:
        silence: seconds without a byte after which the server counts as gone.
    """

    def __init__(self, *, silence: float) -> None:
        self._silence = silence

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Nothing here."""
        del deployment, watcher
        return 0

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Open the pool; no byte is sent."""
        del watcher  # nothing moves, and a pool does not end by itself
        assert deployment.base_url is not None, "an openai deployment has a base_url"
        silence = deployment.request_timeout or self._silence
        async with OpenAIHttp(deployment.base_url, deployment.api_key, silence=silence) as engine:
            yield Loaded(engine=engine)
