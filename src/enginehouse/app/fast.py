"""The fast path over this service's rooms."""

from collections.abc import Mapping
from types import MappingProxyType

from enginehouse.api.fast import FastPath
from enginehouse.app.rooms import Rooms
from enginehouse.core.gateway.fast import Route
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.plain import read_plain_chat, read_plain_completion
from enginehouse.settings.schema import Settings
from enginehouse.types import Operation
from enginehouse.types.generation import Dialect

__all__ = ["ROUTES", "fast_path"]

_CHAT = Route(
    path="/v1/chat/completions",
    dialect=Dialect.OPENAI_CHAT,
    operation=Operation.CHAT,
    codec=OpenAIChat(),
    read=read_plain_chat,
)
_TEXT = Route(
    path="/v1/completions",
    dialect=Dialect.OPENAI_COMPLETIONS,
    operation=Operation.COMPLETION,
    codec=OpenAICompletions(),
    read=read_plain_completion,
)
ROUTES: Mapping[str, Route] = MappingProxyType({route.path: route for route in (_CHAT, _TEXT)})
"""Those of plain requests, by path."""


def fast_path(rooms: Rooms, settings: Settings) -> FastPath:
    """For requests that come over HTTP/1.1 to this very process."""
    ground = rooms.ground
    return FastPath(
        ROUTES,
        rooms.tracks,
        ground.access.identity,
        ground.access.limits,
        settings.server,
        ground.leaving.is_set,
    )
