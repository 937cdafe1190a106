"""Remote servers are always 'in memory': loading one is opening its connection pool, and asking Ollama to load."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import structlog

from enginehouse.engines.anthropic import AnthropicHttp
from enginehouse.engines.ollama import Ollama
from enginehouse.engines.openai import OpenAIServer
from enginehouse.errors import EngineError, EnginehouseError, ModelLoadFailed
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.types import Deployment, EngineName

__all__ = ["RemoteLauncher"]

log = structlog.get_logger()

_OPENAI = "api.openai.com"


class RemoteLauncher:
    """Connects to servers elsewhere, whatever dialect they speak.

    Args:
        silence: seconds without a byte after which a server counts as gone.
    """

    def __init__(self, *, silence: float) -> None:
        self._silence = silence

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Nothing here."""
        del deployment, watcher
        return 0

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Open the pool; only Ollama is sent anything: it brings the model into its memory, and lets go of it."""
        del watcher  # nothing moves, and a pool does not end by itself
        match deployment.engine:
            case EngineName.ANTHROPIC:
                async with self._anthropic(deployment) as engine:
                    yield Loaded(engine=engine)
            case EngineName.OLLAMA:
                async with self._ollama(deployment) as engine:
                    await _brought_in(engine, deployment)
                    yield Loaded(engine=engine)
                    with suppress(EngineError):
                        await engine.unload()
            case _:
                async with self._openai(deployment) as engine:
                    yield Loaded(engine=engine)

    def _silence_of(self, deployment: Deployment) -> float:
        return deployment.request_timeout or self._silence

    def _openai(self, deployment: Deployment) -> OpenAIServer:
        base_url = _address(deployment)
        return OpenAIServer(
            base_url,
            deployment.api_key,
            silence=self._silence_of(deployment),
            connect=deployment.connect_timeout,
            model=_name(deployment),
            extended=_OPENAI not in base_url,
            headers=dict(deployment.headers),
        )

    def _anthropic(self, deployment: Deployment) -> AnthropicHttp:
        return AnthropicHttp(
            _address(deployment),
            deployment.api_key,
            silence=self._silence_of(deployment),
            connect=deployment.connect_timeout,
        )

    def _ollama(self, deployment: Deployment) -> Ollama:
        return Ollama(
            _address(deployment),
            deployment.api_key,
            model=_name(deployment),
            kind=deployment.kind,
            silence=self._silence_of(deployment),
            connect=deployment.connect_timeout,
        )


async def _brought_in(engine: Ollama, deployment: Deployment) -> None:
    """A server that is away, or does not have the model, says so to the request itself."""
    try:
        await engine.load()
    except EnginehouseError as error:
        log.warning("ollama_did_not_load", deployment=deployment.id, error=error.message)


def _address(deployment: Deployment) -> str:
    if deployment.base_url is None:
        raise ModelLoadFailed(
            f"It is not known where {deployment.model!r} runs: set its base_url, or an address or a key in the "
            f"section {deployment.engine.value}."
        )
    return deployment.base_url


def _name(deployment: Deployment) -> str:
    return deployment.upstream_model or deployment.model
