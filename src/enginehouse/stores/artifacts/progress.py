"""How a fetch tells that it moves: to a bar, to plain lines, or to a load that wants a sign of progress."""

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Somebody who watches files arrive. Called on the event loop; must return at once and raise nothing."""

    def started(self, name: str, total: int | None, already: int) -> None:
        """`name` has begun: `total` bytes in all (None: unknown), of which `already` are here.

        Called again for the same name when the transfer goes on after a break, or had to begin anew.
        """
        ...

    def advanced(self, name: str, count: int) -> None:
        """Another `count` bytes of `name` are here."""
        ...

    def waiting(self, name: str, reason: str) -> None:
        """`name` stands still for now, for this reason, and goes on by itself."""
        ...

    def finished(self, name: str) -> None:
        """`name` is complete and checked."""
        ...


class _Silent:
    """Watches nothing."""

    def started(self, name: str, total: int | None, already: int) -> None: ...

    def advanced(self, name: str, count: int) -> None: ...

    def waiting(self, name: str, reason: str) -> None: ...

    def finished(self, name: str) -> None: ...


SILENT: Progress = _Silent()
"""For callers who do not watch."""
