"""What a request passes through, and for how long: written down as it happens, at next to no cost."""

import asyncio

from msgspec import Struct

__all__ = ["Phase", "Span"]


class Span(Struct, frozen=True, gc=False):
    """A stay in one phase; a request that is tried again has several of one name."""

    name: str
    """`identity`, `limits`, `cache`, `queue`, `load`, `upstream` or `ledger`."""
    began: float
    """Seconds, on the event loop's clock."""
    seconds: float


class Phase:
    """A context that adds its own span to a list, however it ends."""

    __slots__ = ("_began", "_name", "_spans", "_time")

    def __init__(self, spans: list[Span], name: str) -> None:
        self._spans = spans
        self._name = name

    def __enter__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._began = self._time()

    def __exit__(self, *_: object) -> None:
        self._spans.append(Span(self._name, self._began, self._time() - self._began))
