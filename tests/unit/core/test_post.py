"""The post in memory: the contract."""

import pytest

from enginehouse.testing.post import MemoryPost, PostOffice
from tests.post_contract import *  # noqa: F403 - the tests themselves


class Replicas:
    def __init__(self):
        office = PostOffice()
        self.a, self.b = MemoryPost(office, "a"), MemoryPost(office, "b")

    async def kill_a(self):
        self.a.die()

    async def cut_off(self):
        self.b.up = False


@pytest.fixture
def replicas():
    return Replicas()
