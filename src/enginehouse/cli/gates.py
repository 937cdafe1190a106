"""Gates that are nearly always open, for things of which there are thousands."""

import asyncio

__all__ = ["Gate"]


class Gate:
    """Open but for a while: `asyncio.Event` that has been set, whose room is taken only while it is shut."""

    __slots__ = ("_opens",)

    def __init__(self) -> None:
        self._opens: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._opens is None

    def clear(self) -> None:
        """Shut it."""
        self._opens = self._opens or asyncio.Event()

    def set(self) -> None:
        """Open it; everybody who waits goes on."""
        opens, self._opens = self._opens, None
        if opens is not None:
            opens.set()

    async def wait(self) -> None:
        """Wait until it is open."""
        if self._opens is not None:
            await self._opens.wait()
