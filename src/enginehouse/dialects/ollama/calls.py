"""Tool calls as Ollama writes them: whole, with arguments that are objects, and often without an id."""

from hashlib import blake2s
from typing import Any, cast

import msgspec
from msgspec import Struct

from enginehouse.types.generation import Json

__all__ = ["Called", "arguments_of", "call_json", "id_of"]


class _Function(Struct):
    name: str
    arguments: Json = {}


class Called(Struct):
    """A call in a message of either side."""

    function: _Function
    id: str = ""

    def arguments(self) -> str:
        """As JSON text."""
        return msgspec.json.encode(self.function.arguments).decode()


def id_of(call: Called, index: int) -> str:
    """The call's own id, or one that is made of what it says.

    The official clients leave ids out when they send a call back; made so, it is the same one both times.
    """
    if call.id:
        return call.id
    said = f"{index}\0{call.function.name}\0{call.arguments()}"
    return f"call_{blake2s(said.encode(), digest_size=12).hexdigest()}"


def arguments_of(text: str) -> Json | None:
    """The object that a call's arguments are, None when they are something else."""
    try:
        value: Any = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("Json", value) if isinstance(value, dict) else None


def call_json(call_id: str, name: str, arguments: Json, index: int) -> Json:
    """A call as both sides write it."""
    return {"id": call_id, "function": {"index": index, "name": name, "arguments": arguments}}
