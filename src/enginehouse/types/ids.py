"""Random letters for names that nobody else has, bought by the page: a request needs several of them."""

import os
import time

__all__ = ["ordered_hex", "random_hex"]

_DIGITS = 32
_TIME = 12
"""Digits that milliseconds since 1970 have, for some thousand years."""
_PAGE = 256
"""Names that one question to the kernel is asked for; it takes hardly longer than one name does."""

_bought: list[str] = []
_ordered: list[str] = []
if hasattr(os, "register_at_fork"):  # or two processes would give the same names
    os.register_at_fork(after_in_child=_bought.clear)
    os.register_at_fork(after_in_child=_ordered.clear)


def random_hex(digits: int = _DIGITS) -> str:
    """So many random hex digits, at most 32; any thread may ask."""
    try:
        return _bought.pop()[:digits]
    except IndexError:
        _bought.extend(_page(_DIGITS))
        return random_hex(digits)


def ordered_hex() -> str:
    """32 hex digits, of which the last 20 are random; any thread may ask.

    The first say when the page was bought. So names of one time lie beside each other in a database's index, where
    random ones would be all over it: to write one down costs a fraction.
    """
    try:
        return _ordered.pop()
    except IndexError:
        now = f"{time.time_ns() // 1_000_000:0{_TIME}x}"
        _ordered.extend([now + rest for rest in _page(_DIGITS - _TIME)])
        return ordered_hex()


def _page(digits: int) -> list[str]:
    return os.urandom(_PAGE * digits // 2).hex(" ", digits // 2).split()
