"""The Anthropic face: Messages, streamed and not, and the counting of tokens."""

from collections.abc import Mapping

from enginehouse.api.attending import Attended
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.generation import GenerationFace
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, patience
from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.anthropic.request import CountTokensBody, MessagesBody
from enginehouse.types import Operation
from enginehouse.types.generation import Dialect

__all__ = ["anthropic_faces"]

_MESSAGES = Page(
    summary="An answer to a conversation; `stream: true` answers server-sent events.",
    body=MessagesBody,
    tag="anthropic",
)
_COUNT = Page(summary="How many tokens a conversation has.", body=CountTokensBody, tag="anthropic")


def anthropic_faces(gateway: Gateway) -> Mapping[str, Face]:
    """The hot routes of the dialect, by path."""
    codec = AnthropicMessages()
    return {
        "/v1/messages": GenerationFace(gateway, Dialect.ANTHROPIC_MESSAGES, codec, Operation.CHAT, _MESSAGES),
        "/v1/messages/count_tokens": _CountFace(gateway, codec),
    }


class _CountFace(Face):
    """`POST /v1/messages/count_tokens`: as the engine counts, and an estimate where it does not."""

    def __init__(self, gateway: Gateway, codec: AnthropicMessages) -> None:
        super().__init__(codec, _COUNT)
        self._gateway = gateway
        self._codec = codec

    async def handle(self, exchange: Exchange) -> None:
        generation = self._codec.read_count_request(await exchange.read_body())
        request = request_of(exchange, Dialect.ANTHROPIC_MESSAGES.value, Operation.COUNT, generation.model)
        async with Attended(exchange, streams=False), patience(request):
            tokens, estimated = await self._gateway.count(request, generation)
        if estimated:
            exchange.headers.append((b"x-enginehouse-estimated", b"true"))
        await exchange.respond(200, self._codec.write_count(tokens))
