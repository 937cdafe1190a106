"""Providers: what connects to the servers of a dialect, ours and those that packages beside us add.

A package adds one with a line of its own metadata, `acme = "acme_provider:connect"` under the entry points
`enginehouse.providers`; models name it as their engine.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import TypeAlias

from enginehouse.engines import anthropic, ollama, openai
from enginehouse.engines.base import Engine
from enginehouse.errors import ModelLoadFailed
from enginehouse.types import Deployment, EngineName
from enginehouse.types.engines import PROVIDERS

__all__ = ["Connect", "connect_of"]

Connect: TypeAlias = Callable[[Deployment, float], AbstractAsyncContextManager[Engine]]
"""From a deployment, and the seconds without a byte after which its server counts as gone, to an engine that can be
asked within the context."""

_OWN: Mapping[EngineName, Connect] = {
    EngineName.OPENAI: openai.connect,
    EngineName.ANTHROPIC: anthropic.connect,
    EngineName.OLLAMA: ollama.connect,
}


def connect_of(name: EngineName) -> Connect:
    """The provider of this name.

    Raises:
        ModelLoadFailed: there is none, or its package cannot be imported.
    """
    if name in _OWN:
        return _OWN[name]
    for found in entry_points(group=PROVIDERS, name=name.value):
        try:
            return found.load()
        except (ImportError, AttributeError) as error:
            raise ModelLoadFailed(f"The provider {name.value!r} cannot be imported: {error}.") from error
    raise ModelLoadFailed(f"The provider {name.value!r} is not installed.")
