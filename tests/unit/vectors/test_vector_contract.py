"""The contract over the embedded index without its process, and over Qdrant's client in its local mode."""

import os

import pytest

from tests.vector_contract import VectorContract
from tests.vectors import edge_store, server_store


class TestEdge(VectorContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with edge_store(tmp_path) as store:
            yield store


@pytest.mark.skipif("QDRANT_URL" in os.environ, reason="runs against that server, among the integration tests")
class TestServerForm(VectorContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with server_store(tmp_path) as store:
            yield store
