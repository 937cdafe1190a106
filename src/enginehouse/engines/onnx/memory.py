"""Giving freed memory back to the system at once, so that what was unloaded is seen to be gone."""

import ctypes
import sys

__all__ = ["return_memory"]


def return_memory() -> None:
    """Ask the C library to hand its free pages back.

    Loading a model leaves some 40 MB of them behind and unloading one twice that; glibc keeps both for later.
    Other C libraries do not have the call, nor the habit.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
