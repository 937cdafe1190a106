"""The fast path over this service's rooms."""

from enginehouse.api.fastpath import FastPath
from enginehouse.app.rooms import Rooms
from enginehouse.core.gateway.fast import Route
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.plain import read_plain_chat, read_plain_completion
from enginehouse.settings.schema import Settings
from enginehouse.types import Operation
from enginehouse.types.generation import Dialect

__all__ = ["fast_path"]

_ROUTES = (
    Route(
        path="/v1/chat/completions",
        dialect=Dialect.OPENAI_CHAT,
        operation=Operation.CHAT,
        codec=OpenAIChat(),
        read=read_plain_chat,
    ),
    Route(
        path="/v1/completions",
        dialect=Dialect.OPENAI_COMPLETIONS,
        operation=Operation.COMPLETION,
        codec=OpenAICompletions(),
        read=read_plain_completion,
    ),
)


def fast_path(rooms: Rooms, settings: Settings) -> FastPath:
    """For requests that come over HTTP/1.1 to this very process."""
    ground = rooms.ground
    return FastPath(
        {route.path: route for route in _ROUTES},
        rooms.tracks,
        ground.access.identity,
        ground.access.limits,
        settings.server,
        ground.leaving.is_set,
    )
