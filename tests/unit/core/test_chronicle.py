"""The chronicle in memory: the contract."""

import pytest

from enginehouse.testing.chronicle import MemoryChronicle, Shelf
from tests.chronicle_contract import *  # noqa: F403 - the tests themselves


class Replicas:
    def __init__(self):
        self._shelf = Shelf()
        self.a, self.b = MemoryChronicle(self._shelf, "a"), MemoryChronicle(self._shelf, "b")

    async def cut_off(self):
        self.b.up = False

    async def let_back(self):
        self.b.up = True

    async def lose(self):
        self._shelf.lines.clear()


@pytest.fixture
def replicas():
    return Replicas()
