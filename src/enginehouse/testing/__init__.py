"""Fakes of the edges, for our own tests and for those who build on us: a clock, an engine, a launcher, books."""

from enginehouse.testing.asgi import Answer, Caller
from enginehouse.testing.books import FakeBooks, FakeSpool
from enginehouse.testing.clock import simulate
from enginehouse.testing.engines import FakeEmbedder, FakeEngine, FakeLauncher

__all__ = ["Answer", "Caller", "FakeBooks", "FakeEmbedder", "FakeEngine", "FakeLauncher", "FakeSpool", "simulate"]
