"""Launches llama-servers: the model's files, a process of its own, and proof that the answer comes from it."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import structs

from enginehouse.engines.llama_server import (
    LOOPBACK,
    ChildPlan,
    LlamaServer,
    UnknownFlag,
    device_list_command,
    divided_bytes,
    estimated_bytes,
    plan_child,
)
from enginehouse.engines.metadata import Weight, describe
from enginehouse.errors import EngineError, ModelLoadFailed
from enginehouse.residency.base import Door, Loaded, Watcher
from enginehouse.residency.launchers.devices import lists_gpus
from enginehouse.residency.launchers.process import EngineProcess, engine_process
from enginehouse.types import Deployment, Source

__all__ = ["Files", "LlamaLauncher", "connecting"]

_PORT_TRIES = 3
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_FIRST_POLL, _LAST_POLL = 0.02, 0.25


class Files(Protocol):
    """Where model files come from."""

    async def fetch(self, source: Source, sha256: Source | None, watcher: Watcher) -> Path:
        """The local path, fetched first if it has to be."""
        ...


class _PortStolen(Exception):
    """Somebody else listens where our child was told to."""


class LlamaLauncher:
    """Starts the bundled engine, or the user's binary when there is one.

    Args:
        files: where model files come from.
        binary: the user's own `llama-server`, or None.
        environ: the environment the child gets; the house's own secrets are not in it.
        silence: seconds without a byte after which a running engine counts as gone.
        grace: seconds between SIGTERM and SIGKILL.
        host: the address of this machine that engines listen on.
    """

    def __init__(
        self,
        files: Files,
        *,
        binary: Path | None,
        environ: Mapping[str, str],
        silence: float,
        grace: float,
        host: str = LOOPBACK,
    ) -> None:
        self._files = files
        self._binary = binary
        self._environ = environ
        self._silence = silence
        self._grace = grace
        self._host = host
        self._gpus_used: bool | None = None

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Weights, key-value cache and the program; the bare file when it is corrupt, since the engine says why."""
        self._check_binary()
        model = await self._model(deployment, watcher)
        return await asyncio.to_thread(_weight, deployment, model) if model else 0

    async def offload(self, deployment: Deployment, watcher: Watcher) -> Weight | None:
        """The same with its layers on GPUs; None when the engine was built without them, or nobody can tell."""
        self._check_binary()
        model = await self._model(deployment, watcher)
        if model is None or not await self._uses_gpus():
            return None
        return await asyncio.to_thread(_divided, deployment, model)

    def load(self, deployment: Deployment, watcher: Watcher) -> AbstractAsyncContextManager[Loaded]:
        """Fetch, start, wait until it answers as itself; a stolen port is tried again elsewhere."""
        return self._load(deployment, watcher, self._environ)

    def load_on(
        self, deployment: Deployment, watcher: Watcher, gpus: Mapping[int, int]
    ) -> AbstractAsyncContextManager[Loaded]:
        """The same; the process sees these GPUs only, and divides its layers among them as its room is divided."""
        order = sorted(gpus)
        if len(order) > 1:
            shares = ",".join(str(max(gpus[index] >> 20, 1)) for index in order)
            deployment = structs.replace(deployment, flags=(*deployment.flags, "--tensor-split", shares))
        return self._load(deployment, watcher, {**self._environ, _VISIBLE: ",".join(map(str, order))})

    @asynccontextmanager
    async def _load(
        self, deployment: Deployment, watcher: Watcher, environ: Mapping[str, str]
    ) -> AsyncGenerator[Loaded]:
        model = await self._model(deployment, watcher)
        async with AsyncExitStack() as stack:
            for _ in range(_PORT_TRIES):
                try:
                    loaded = await self._start(stack, deployment, model, watcher, environ)
                    break
                except _PortStolen:
                    await stack.aclose()
                    watcher.progressed("another port is tried")
            else:
                raise ModelLoadFailed("Every port the engine was given was taken by another process.")
            yield loaded

    async def _start(
        self,
        stack: AsyncExitStack,
        deployment: Deployment,
        model: Path | None,
        watcher: Watcher,
        environ: Mapping[str, str],
    ) -> Loaded:
        plan = self._plan(deployment, model)
        environ = {**environ, "LLAMA_API_KEY": plan.api_key} if plan.port else environ
        process = await stack.enter_async_context(
            engine_process(plan.argv, watcher, environ=environ, grace=self._grace)
        )
        if plan.port is None:
            process.say(plan.api_key)
            address: str = msgspec.json.decode(await process.announcement)["address"]
            engine = await stack.enter_async_context(self._client(address, plan, deployment))
        else:
            address = f"http://{self._host}:{plan.port}"
            engine = await stack.enter_async_context(self._client(address, plan, deployment))
            await _until_it_answers(engine, process, deployment.model)
        process.serve()
        door = Door(address=address, api_key=plan.api_key)
        return Loaded(engine=engine, pid=process.pid, port=door.port, door=door)

    async def _uses_gpus(self) -> bool:
        """Asked of the engine once; one that does not know the question is taken to use what there is."""
        if self._gpus_used is None:
            command = device_list_command(self._binary)
            self._gpus_used = await lists_gpus(command, self._environ)
        return self._gpus_used

    def _client(self, address: str, plan: ChildPlan, deployment: Deployment) -> LlamaServer:
        silence = deployment.request_timeout or self._silence
        return LlamaServer(address, plan.api_key, silence=silence, keep_alive=False)

    def _plan(self, deployment: Deployment, model: Path | None) -> ChildPlan:
        port = _free_port(self._host) if self._binary else None
        key = secrets.token_urlsafe(32)
        try:
            return plan_child(deployment, model, binary=self._binary, api_key=key, port=port, host=self._host)
        except UnknownFlag as error:
            raise ModelLoadFailed(error.message) from error

    async def _model(self, deployment: Deployment, watcher: Watcher) -> Path | None:
        """The model's file, or None when the user's own flags say where it is."""
        if deployment.source is None:
            return None
        return await self._files.fetch(deployment.source, deployment.sha256, watcher)

    def _check_binary(self) -> None:
        if self._binary is not None and not os.access(self._binary, os.X_OK):
            raise ModelLoadFailed(
                f"The llama-server binary {self._binary} does not exist or may not be run. Set "
                "engines.llama_server.path to yours, or leave it out to use the bundled engine."
            )


def connecting(silence: float) -> Callable[[Deployment, Door], LlamaServer]:
    """Opens the way to engines that run elsewhere.

    Args:
        silence: seconds without a byte after which one counts as gone, where its model does not say.
    """

    def connect(deployment: Deployment, door: Door) -> LlamaServer:
        silent = deployment.request_timeout or silence
        return LlamaServer(door.address, door.api_key, silence=silent, keep_alive=False)

    return connect


async def _until_it_answers(engine: LlamaServer, process: EngineProcess, alias: str) -> None:
    """Poll until our own child says it is healthy.

    Raises:
        ModelLoadFailed: it ended first.
        _PortStolen: somebody answers there, but not our child.
    """
    pause = _FIRST_POLL
    while True:
        if process.exited:
            failure = process.failure()
            raise _PortStolen if _lost_the_port(failure.message) else failure
        try:
            if await engine.healthy():
                if await engine.is_ours(alias):
                    return
                raise _PortStolen
        except EngineError:
            pass  # not listening yet
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL)


def _weight(deployment: Deployment, model: Path) -> int:
    try:
        return estimated_bytes(deployment, describe(model))
    except ModelLoadFailed:
        return model.stat().st_size


def _divided(deployment: Deployment, model: Path) -> Weight | None:
    try:
        return divided_bytes(deployment, describe(model))
    except ModelLoadFailed:
        return None


def _lost_the_port(message: str) -> bool:
    return "couldn't bind" in message or "address already in use" in message.lower()


def _free_port(host: str) -> int:
    """A port nobody listens on now; whether it is still ours later is proven by identity, not hoped for."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
