"""Random letters for names that nobody else has, bought by the page: a request needs several of them."""

import os

__all__ = ["random_hex"]

_DIGITS = 32
_PAGE = 256
"""Names that one question to the kernel is asked for; it takes hardly longer than one name does."""

_bought: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_bought.clear)  # or two processes would give the same names


def random_hex(digits: int = _DIGITS) -> str:
    """So many random hex digits, at most 32; any thread may ask."""
    try:
        return _bought.pop()[:digits]
    except IndexError:
        page = os.urandom(_PAGE * _DIGITS // 2).hex()
        _bought.extend([page[at : at + _DIGITS] for at in range(0, len(page), _DIGITS)])
        return random_hex(digits)
