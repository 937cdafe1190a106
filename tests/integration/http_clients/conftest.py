"""What is shown of our connections holds on both event loops: asyncio's and, where the service has it, uvloop."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories():
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
