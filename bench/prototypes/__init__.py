"""Measuring sticks: tiny gateways, each with one choice of server layer and client, none of them a gateway to use.

They read `model` and `stream`, pass the body on and the answer back; no keys, no limits, no errors, no
records. What they cost is the floor that a choice sets under the real gateway.
"""

from msgspec import Struct

__all__ = ["PROTOTYPES", "Prototype"]


class Prototype(Struct, frozen=True):
    """Where a measuring stick is, and which choice it stands for."""

    module: str
    choice: str


PROTOTYPES = {
    "a": Prototype("bare", "bare ASGI, aiohttp client, disconnect watcher"),
    "b": Prototype("validated", "FastAPI route, pydantic, aiohttp client"),
    "c": Prototype("routed", "Starlette route, aiohttp client"),
    "d": Prototype("mounted", "as a, in front of a mounted FastAPI"),
    "e": Prototype("httpx", "as a, with the httpx client"),
    "f": Prototype("pooled", "as a, with our own pool of connections"),
    "g": Prototype(
        "raw", "bare ASGI, an HTTP client of a hundred lines, disconnect watcher: what the goals were set by"
    ),
}
"""By the letter under which they are asked for (`--gateway prototype:a`)."""
