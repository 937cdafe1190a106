"""The fast path at the HTTP edge: which requests may take it (`lane`), and their answers as bytes (`answers`)."""

from enginehouse.api.fast.lane import SAYING_NOTHING, FastPath

__all__ = ["SAYING_NOTHING", "FastPath"]
