"""Requests and a model for tests of the ledger."""

import asyncio
from itertools import count

from enginehouse.types import Deployment, EngineName, Kind, Model, Operation, Principal, Request, Timings

_numbers = count()

DEPLOYMENT = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
MODEL = Model(id="m", kind=Kind.CHAT, deployments=(DEPLOYMENT,))


def request(user="ann", **changes):
    made = {
        "operation": Operation.CHAT,
        "model": "m",
        "principal": Principal(user=user),
        "request_id": f"r{next(_numbers)}",
        "body": b"",
        "timings": Timings(),
    }
    return Request(**made | changes)


async def until(true, *, every=0.05, tries=10_000):
    """Wait for something that has no event."""
    for _ in range(tries):
        if true():
            return
        await asyncio.sleep(every)
    raise AssertionError("it did not come true")
