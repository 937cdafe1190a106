"""Warm-ups: real requests of the service itself, so that the first caller meets a model that is warm."""

import asyncio
from typing import Self
from uuid import uuid4

import structlog
from msgspec import Struct

from enginehouse.core.gateway import Gateway
from enginehouse.core.identity import SERVICE
from enginehouse.errors import EnginehouseError, InvalidRequest, ShuttingDown
from enginehouse.residency.base import terms_of
from enginehouse.residency.figures import WarmUp
from enginehouse.residency.manager import Residency
from enginehouse.types import Kind, Model, Operation, Priority, Request, Timings
from enginehouse.types.generation import Generation, Prompt, Role, Sampling, Text, Turn

__all__ = ["WarmUps"]

log = structlog.get_logger()

_TOKENS = 8
"""Of an answer: enough to have written some."""


class _Ended(Struct, frozen=True, kw_only=True):
    """How a warm-up ended: measured, or with an error that left nothing to measure."""

    measured: WarmUp | None = None
    error: EnginehouseError | None = None


class WarmUps:
    """The owner of all warm-ups; who asks for one that runs already joins it.

    Args:
        gateway: the way of every request.
        residency: loads first, and keeps what was measured.
    """

    def __init__(self, gateway: Gateway, residency: Residency) -> None:
        self._gateway = gateway
        self._residency = residency
        self._running: dict[str, asyncio.Task[_Ended]] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Open for business."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop those that run: nobody waits for them."""
        for task in self._running.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def begin(self, model: Model) -> None:
        """Start one, unless one runs already; it goes on whoever waits for it.

        Raises:
            InvalidRequest: the model runs elsewhere, or takes no requests that could warm it.
        """
        _operation(model)
        if model.id not in self._running:
            task = self._tasks.create_task(self._run(model), name=f"warm up {model.id}")
            self._running[model.id] = task
            task.add_done_callback(lambda _: self._running.pop(model.id, None))

    async def run(self, model: Model) -> WarmUp:
        """Start one, and wait for its end.

        Raises:
            InvalidRequest: the model runs elsewhere, or takes no requests that could warm it.
            ShuttingDown: the service is on its way out.
            EnginehouseError: the model could not be loaded, or none of the requests was answered.
        """
        self.begin(model)
        task = self._running[model.id]
        await asyncio.wait([task])
        if task.cancelled():
            raise ShuttingDown("The service is shutting down.", retry_after=5)
        ended = task.result()
        if ended.error is not None:
            raise ended.error
        assert ended.measured is not None, "what ended without an error was measured"
        return ended.measured

    async def _run(self, model: Model) -> _Ended:
        try:
            return await self._warm(model)
        except EnginehouseError as error:
            return _Ended(error=error)
        except Exception:
            log.exception("warm_up_broke", model=model.id)
            return _Ended(error=EnginehouseError("The service made a mistake; its log says more."))

    async def _warm(self, model: Model) -> _Ended:
        await self._residency.load(model.deployments[0], terms_of(model))
        clock = asyncio.get_running_loop().time
        began, count = clock(), self._residency.settings.warmup_requests
        times: list[float] = []
        error: EnginehouseError | None = None
        for number in range(count):
            try:
                times.append(await self._ask(model, number))
            except EnginehouseError as failure:
                error = error or failure
        if error is not None and not times:
            return _Ended(error=error)
        measured = WarmUp(
            requests=count,
            failed=count - len(times),
            seconds=clock() - began,
            mean=sum(times) / len(times) if times else None,
            error=error.message if error else None,
        )
        self._residency.warmed_up(model.deployments[0].id, measured)
        log.info("warmed_up", model=model.id, requests=count, failed=measured.failed, seconds=measured.seconds)
        return _Ended(measured=measured)

    async def _ask(self, model: Model, number: int) -> float:
        """One request, each with another text; returns the seconds that the engine took."""
        request = _request(model)
        if request.operation is Operation.EMBEDDING:
            await self._gateway.embed(request, [f"sample {number + 1}"])
        elif request.operation is Operation.CLASSIFICATION:
            await self._gateway.classify(request, [f"sample {number + 1}"])
        else:
            generation = _generation(model, request.operation, f"Sample {number + 1}: say hello.")
            async with self._gateway.events(request, generation) as answering:
                async for _ in answering.pieces:
                    pass
        assert request.timings.upstream is not None, "an answer has been timed"
        return request.timings.upstream


def _operation(model: Model) -> Operation:
    if not model.deployments[0].engine.here:
        raise InvalidRequest(f"The model {model.id!r} runs elsewhere; there is nothing to warm up here.")
    if model.kind is Kind.EMBEDDING:
        return Operation.EMBEDDING
    if model.kind is Kind.CLASSIFIER:
        return Operation.CLASSIFICATION
    if model.kind is Kind.CHAT:
        without_template = "completion" in model.capabilities and "chat" not in model.capabilities
        return Operation.COMPLETION if without_template else Operation.CHAT
    raise InvalidRequest(f"{model.id!r} is a {model.kind.value} model; rerankers are not warmed up.")


def _generation(model: Model, operation: Operation, text: str) -> Generation:
    sampling = Sampling(max_tokens=_TOKENS)
    if operation is Operation.COMPLETION:
        return Generation(model=model.id, prompt=Prompt(texts=(text,)), sampling=sampling)
    turn = Turn(role=Role.USER, parts=(Text(text=text),))
    return Generation(model=model.id, turns=(turn,), sampling=sampling)


def _request(model: Model) -> Request:
    return Request(
        operation=_operation(model),
        model=model.id,
        principal=SERVICE,
        request_id=f"warm-up-{uuid4().hex}",
        face="warm-up",
        priority=Priority.LOW,
        timings=Timings(),
    )
