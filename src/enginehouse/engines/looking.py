"""A look at a server elsewhere, beside its requests: whether it answers, and which models it has in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from enginehouse.engines.http import HttpServer, address_of
from enginehouse.engines.ollama import server_of
from enginehouse.errors import EnginehouseError
from enginehouse.types import Deployment, EngineName

__all__ = ["Sight", "look"]

_BROKEN = 500
"""Statuses from here on are a server that does not answer; a refusal is an answer."""


class Sight(Struct, frozen=True, kw_only=True):
    """What a look has shown."""

    trouble: str = ""
    """Why it cannot be asked; empty when it can."""
    loaded: frozenset[str] | None = None
    """The models it has in memory, by its own names; None where it does not tell."""


async def look(deployment: Deployment, patience: float) -> Sight | None:
    """How a deployment's server is; None where it is not to be asked, as with a maker's own API.

    Args:
        patience: seconds it may take.
    """
    asking = _ASKING.get(deployment.engine)
    if asking is None:
        return None
    try:
        async with asyncio.timeout(patience):
            return await asking(deployment, patience)
    except TimeoutError:
        return Sight(trouble=f"It did not answer within {patience:g} s.")
    except EnginehouseError as error:
        return Sight(trouble=error.message)


async def _in_memory(deployment: Deployment, patience: float) -> Sight:
    async with server_of(deployment, patience) as server:
        return Sight(loaded=frozenset(running.name for running in await server.ps()))


async def _list_of_models(deployment: Deployment, patience: float) -> Sight:
    """Any compatible server has one, or refuses to show it."""
    async with (
        HttpServer(
            address_of(deployment), deployment.api_key, silence=patience, headers=dict(deployment.headers)
        ) as server,
        server.request("GET", "/v1/models", timeout=patience) as reply,
    ):
        return Sight(trouble=f"It answers {reply.status}." if reply.status >= _BROKEN else "")


_ASKING: Mapping[EngineName, Callable[[Deployment, float], Awaitable[Sight]]] = {
    EngineName.OLLAMA: _in_memory,
    EngineName.OPENAI: _list_of_models,
}
