"""Fakes of the edges, for our own tests and for those who build on us: clock, engine, launcher, machine, books."""

from enginehouse.testing.asgi import Answer, Caller, SocketCaller
from enginehouse.testing.books import FakeBooks, FakeSpool
from enginehouse.testing.clock import simulate
from enginehouse.testing.engines import (
    WHOLE,
    FakeClassifier,
    FakeEmbedder,
    FakeEngine,
    FakeGpuLauncher,
    FakeLauncher,
    FakeReranker,
)
from enginehouse.testing.lines import MemoryLines, SharedMemory
from enginehouse.testing.machine import FakeMachine

__all__ = [
    "WHOLE",
    "Answer",
    "Caller",
    "FakeBooks",
    "FakeClassifier",
    "FakeEmbedder",
    "FakeEngine",
    "FakeGpuLauncher",
    "FakeLauncher",
    "FakeMachine",
    "FakeReranker",
    "FakeSpool",
    "MemoryLines",
    "SharedMemory",
    "SocketCaller",
    "simulate",
]
