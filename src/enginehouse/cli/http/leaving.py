"""How full the wire to a caller is, and whether the caller is still there."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl

from enginehouse.cli.gates import Gate

__all__ = ["Flow", "Leaving"]


class Flow(FlowControl):
    """uvicorn's, in less room."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = cast("Any", Gate())


class Leaving:
    """Satisfies `api.attending.Leaving`.

    Args:
        listen: lets the connection be read, without which nobody notices its end.
        gone: whether the caller has left already.
    """

    __slots__ = ("_listen", "_told", "gone")

    def __init__(self, listen: Callable[[], None], gone: bool) -> None:
        self.gone = gone
        self._listen = listen
        self._told: Callable[[], None] | None = None

    def hear(self, told: Callable[[], None] | None) -> None:
        """Tell this one when the caller leaves; None is told nothing any more."""
        self._told = told
        if told is not None:
            self._listen()
            if self.gone:
                told()

    def tell(self) -> None:
        """The caller has left."""
        self.gone = True
        if self._told is not None:
            self._told()
