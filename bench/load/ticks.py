"""A tick to the microsecond: asyncio's timers, and uvloop's, are rounded to the millisecond.

That is longer than what is measured here, so that open-loop requests are sent by a `timerfd` of Linux.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from bench.schedule import Schedule

__all__ = ["ticking"]

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class _Itimerspec(ctypes.Structure):
    """`struct itimerspec` of <time.h>."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


@contextmanager
def ticking(schedule: Schedule, tick: Callable[[], None]) -> Generator[None]:
    """Call `tick` at each of the schedule's times, or once for several when the loop is late.

    Raises:
        OSError: the kernel gives no timer.
    """
    loop = asyncio.get_running_loop()
    descriptor = _timer(schedule)

    def expired() -> None:
        with suppress(BlockingIOError):
            os.read(descriptor, 8)
            tick()

    loop.add_reader(descriptor, expired)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _timer(schedule: Schedule) -> int:
    """A file descriptor that becomes readable at each of the schedule's times."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    times = _Itimerspec(*divmod(schedule.interval, 10**9), *divmod(schedule.start, 10**9))
    if descriptor < 0 or libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(times), None) < 0:
        raise OSError(ctypes.get_errno(), "no timerfd")
    return descriptor
