"""Letters between replicas, and which of them has a thing that only one of them can have."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["Post"]


class Post(Protocol):
    """The post as one replica sees it. Letters come once or never; who wants to be sure asks again."""

    name: str
    """This replica's address."""

    def receive(self, hear: Callable[[bytes], None]) -> None:
        """From now on this one is told what is sent to this replica."""
        ...

    async def send(self, replica: str, letter: bytes) -> bool:
        """Send a letter; whether somebody is there to hear it.

        Raises:
            StoreUnavailable: the store is away. Whether it was sent is not known.
        """
        ...

    async def claim(self, thing: str, seconds: float) -> str | None:
        """This replica has a thing from now on; or the other one that has it already, and is alive.

        Args:
            seconds: after which it is given up, however things are.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def release(self, thing: str, seconds: float) -> None:
        """Anybody may claim it now; until then, and for so many seconds, it is still found here.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def find(self, thing: str) -> str | None:
        """The replica that has a thing, if there is one and it is alive.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...
