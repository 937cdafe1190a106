"""A bell that one task listens for: `asyncio.Event` in a tenth of the room, for what there are thousands of."""

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung by anybody on the loop, heard by one."""

    __slots__ = ("_listener", "_rung")

    def __init__(self) -> None:
        self._rung = False
        self._listener: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Heard now, or when somebody listens; twice is heard once."""
        self._rung = True
        if self._listener is not None and not self._listener.done():
            self._listener.set_result(None)

    async def heard(self) -> None:
        """Wait until it has been rung since the last time."""
        while not self._rung:
            self._listener = asyncio.get_running_loop().create_future()
            try:
                await self._listener
            finally:
                self._listener = None
        self._rung = False
