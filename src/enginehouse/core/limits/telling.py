"""How a caller's limits stand, as headers say it."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from enginehouse.core.limits.rules import Bounds, Telling
from enginehouse.stores.kv import Standing

__all__ = ["headers", "lines", "lines_of_all", "span"]

_SECOND = 1_000_000

State: TypeAlias = tuple[int, int]
"""What is used of a window, and in how many microseconds all of it is free again."""


def headers(bounds: Bounds, standings: Sequence[Standing]) -> list[tuple[str, str]]:
    """Names and values; of several limits on the same thing the one of which the least is left.

    Args:
        bounds: what limits the caller.
        standings: of its windows, in their order.
    """
    told: list[tuple[str, str]] = []
    states = [(standing.used, standing.reset) for standing in standings]
    for same in bounds.told:
        one = _tightest(same, states)
        used, reset = states[one.at]
        told += [
            (f"x-ratelimit-limit-{one.what}", str(one.count)),
            (f"x-ratelimit-remaining-{one.what}", str(max(0, one.count - used))),
            (f"x-ratelimit-reset-{one.what}", _until(reset)),
        ]
    return told


def lines(bounds: Bounds, states: Sequence[State]) -> bytes:
    """The same as an answer's head holds them: each line with its end."""
    tellings = bounds.only or [_tightest(same, states) for same in bounds.told]
    form = bounds.form or b"".join([one.form for one in tellings])
    told: list[int | bytes] = []
    for one in tellings:
        used, reset = states[one.at]
        told += max(0, one.count - used), _until(reset).encode()
    return form % tuple(told)


def lines_of_all(bounds: Bounds, windows: Sequence[Sequence[State]]) -> Sequence[bytes]:
    """The same of several requests, of which there are some, in the same moment.

    Args:
        bounds: what limits their caller.
        windows: as in `headers`; each as it stood for one request after the other.
    """
    if not bounds.only:  # of some things the tightest limit has to be found, for each
        return [lines(bounds, states) for states in zip(*windows, strict=True)]
    told: list[Sequence[int | bytes]] = []
    for one in bounds.only:
        count, left, until = one.count, list[int](), list[bytes]()
        latest, written = -1, b""
        for used, reset in windows[one.at]:
            left.append(count - used if count > used else 0)
            if reset != latest:
                latest, written = reset, _until(reset).encode()
            until.append(written)
        told += left, until
    form = bounds.form
    return [form % values for values in zip(*told, strict=True)]


def span(seconds: float) -> str:
    """A time as the headers write it: `6m0s`, `1s`, `250ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _tightest(same: Sequence[Telling], states: Sequence[State]) -> Telling:
    def left(one: Telling) -> tuple[int, int, int]:
        used, reset = states[one.at]
        return max(0, one.count - used), one.count, reset

    return min(same, key=left)


def _until(microseconds: int) -> str:
    return _span(-(-microseconds // _SECOND)) if microseconds >= _SECOND else span(microseconds / _SECOND)


_span = lru_cache(4096)(span)
