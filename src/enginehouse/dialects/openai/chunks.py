"""What the streams of chat and text completions have in common: the frame around a choice, the usage, the end."""

import msgspec

from enginehouse.dialects.base import Head
from enginehouse.dialects.framing import sse
from enginehouse.dialects.openai.shapes import error_json, usage_json
from enginehouse.errors import EnginehouseError, UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import Counted
from enginehouse.types.generation import Json

__all__ = ["DONE", "ChunkWriter"]

DONE = b"[DONE]"


class ChunkWriter:
    """The part of a `StreamWriter` that is the same for both.

    Args:
        id: with the dialect's prefix.
        kind: what every chunk calls itself in `object`.
    """

    def __init__(self, head: Head, *, id: str, kind: str) -> None:  # noqa: A002 - the field's name
        self._base: Json = {"id": id, "object": kind, "created": int(head.created), "model": head.model}
        self._wants_usage = head.wants_usage
        self._open: dict[int, bool] = {}
        """The choices that have begun, and whether they still go on."""
        self._usage = Usage()

    def close(self) -> bytes:
        """The usage chunk, if it is wanted, and `[DONE]`."""
        if not self._open or any(self._open.values()):
            raise UpstreamDied("The engine's stream broke off before its end.")
        usage = b""
        if self._wants_usage:
            usage = sse(msgspec.json.encode(self._base | {"choices": [], "usage": usage_json(self._usage)}))
        return usage + sse(DONE)

    def fail(self, error: EnginehouseError, status: int) -> bytes:
        """An error frame, and no `[DONE]`: clients take a bare end for success."""
        return sse(msgspec.json.encode(error_json(error, status)))

    def ping(self) -> bytes:
        """A comment."""
        return b": ping\n\n"

    def _counted(self, event: Counted) -> bytes:
        self._usage = event.usage
        return b""

    def _chunk(self, choice: Json) -> bytes:
        chunk = self._base | {"choices": [choice]}
        if self._wants_usage:
            chunk["usage"] = None
        return sse(msgspec.json.encode(chunk))
