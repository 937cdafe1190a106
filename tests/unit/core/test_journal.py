"""The journal in memory: the contract."""

import pytest

from enginehouse.testing.journal import MemoryJournal, Shelf
from tests.journal_contract import *  # noqa: F403 - the tests themselves


class Replicas:
    def __init__(self):
        self._shelf = Shelf()
        self.a, self.b = MemoryJournal(self._shelf, "a"), MemoryJournal(self._shelf, "b")

    async def cut_off(self):
        self.b.up = False

    async def let_back(self):
        self.b.up = True

    async def lose(self):
        self._shelf.lines.clear()


@pytest.fixture
def replicas():
    return Replicas()
