"""The threads in which a model works, so that the event loop is free meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from enginehouse.engines.onnx.memory import return_memory
from enginehouse.errors import EngineError

__all__ = ["Workers"]

HEALTH_TIMEOUT = 5.0
"""Seconds after which a silent model counts as ill."""

A = TypeVar("A")
R = TypeVar("R")


class Workers:
    """At most so many calls at once, in threads of their own.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix="onnx")

    def submit(self, call: Callable[[A], R], given: A) -> "asyncio.Future[R]":
        """One call, as soon as a thread is free."""
        return asyncio.get_running_loop().run_in_executor(self._threads, call, given)

    async def run(self, call: Callable[[A], R], given: A) -> R:
        """The same, waited for."""
        return await self.submit(call, given)

    async def close(self) -> None:
        """Let running calls end, forget those that wait, and give memory back."""
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        return_memory()


async def answers(call: Callable[[A], object], given: A) -> bool:
    """Whether a call answers in time; made beside the workers, so that load is not illness."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT):
            await asyncio.to_thread(call, given)
    except (EngineError, TimeoutError):
        return False
    return True
