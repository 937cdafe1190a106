"""The garbage collector of a process that is to serve.

While the house is built nearly all that is made stays, and to look at it again and again is a good part of the time
until it is ready.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["go_on", "resting", "spare_what_stands"]

_LOOKS = (5_000, 4, 50)
"""New objects after which the garbage collector looks at these, such looks after which it looks at what outlived
one, and so on: rings that are looked at late cost memory, old objects that are looked at often cost time. Rows on
their way to SQLite are a thousand or two at once, and no rings: they alone shall make nobody look."""


@contextmanager
def resting() -> Generator[None]:
    """Look at nothing, until `spare_what_stands` or `go_on`, or the end of this."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def go_on() -> None:
    """Look as ever."""
    gc.enable()


def spare_what_stands() -> None:
    """What stands by now stays: it need not be looked at again, and what comes not after every request."""
    gc.enable()
    gc.freeze()  # unlooked at: of what was made until now, hardly anything is to be had back
    gc.set_threshold(*_LOOKS)
