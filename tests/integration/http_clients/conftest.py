"""What is shown of our connections holds with and without TLS, on both event loops: asyncio's and uvloop."""

import asyncio

import pytest
import uvloop

from tests.integration.authority import authority
from tests.integration.http_clients.server import Server


def pytest_asyncio_loop_factories():
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[False, True], ids=["plain", "tls"], autouse=True)
def tls(request, monkeypatch):
    """Whether the servers of a test speak TLS."""
    if request.param:
        monkeypatch.setattr(Server, "tls", authority().serving())
    return request.param
