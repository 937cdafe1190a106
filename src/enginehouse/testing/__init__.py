"""Fakes of the edges, for our own tests and for those who build on us: a clock, an engine, a launcher."""

from enginehouse.testing.asgi import Answer, Caller
from enginehouse.testing.clock import simulate
from enginehouse.testing.engines import FakeEmbedder, FakeEngine, FakeLauncher
from enginehouse.testing.lines import MemoryLines, SharedMemory

__all__ = [
    "Answer",
    "Caller",
    "FakeEmbedder",
    "FakeEngine",
    "FakeLauncher",
    "MemoryLines",
    "SharedMemory",
    "simulate",
]
