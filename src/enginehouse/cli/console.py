"""The two streams a command writes to: answers go out, remarks and errors go to standard error."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console

__all__ = ["for_terminal", "remarks", "results", "seen"]

T = TypeVar("T")

_TOLD_EVERY = 100

# Everything that could move the cursor or change the terminal, but for tabs and line ends.
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code not in (9, 10, 13)} | {13: None}


def results() -> Console:
    """Standard output; without colours where it is no terminal, or NO_COLOR is set."""
    return Console(highlight=False, markup=False, emoji=False)


def remarks() -> Console:
    """Standard error, likewise."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def seen(what: str, items: Iterable[T]) -> Iterator[T]:
    """The items, counted on a terminal's standard error as they pass."""
    with remarks().status(f"0 {what}") as status:
        for count, item in enumerate(items):
            if not count % _TOLD_EVERY:
                status.update(f"{count:,} {what}")
            yield item


def for_terminal(text: str) -> str:
    """Text of others without the control characters that could take over a terminal."""
    return text.translate(_CONTROLS)
