"""uvicorn's HTTP connections, which tell who serves a request in the moment in which its caller leaves.

ASGI has no word for that: an application has to ask `receive()` all the time, by a task of its own for each
request, which costs a quarter of what a bare answer takes.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["Connection"]


class Connection(HttpToolsProtocol):
    """One connection; what its application is told of its caller's leaving is `scope["leaving"]`."""

    _running: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cycle.scope["leaving"] = _Leaving(self.flow.resume_reading)  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left, or has what it wanted."""
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.scope["leaving"].tell()  # type: ignore[typeddict-item]


class _Leaving:
    """Satisfies `api.attending.Leaving`.

    Args:
        listen: lets the connection be read, without which nobody notices its end.
    """

    __slots__ = ("_listen", "_told", "gone")

    def __init__(self, listen: Callable[[], None]) -> None:
        self.gone = False
        self._listen = listen
        self._told: Callable[[], None] | None = None

    def hear(self, told: Callable[[], None] | None) -> None:
        self._told = told
        if told is not None:
            self._listen()
            if self.gone:
                told()

    def tell(self) -> None:
        self.gone = True
        if self._told is not None:
            self._told()
