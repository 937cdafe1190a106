"""What the bundled engine does when its caller leaves, and what it takes of memory beside its estimate.

Each case is asked twice: as anybody would ask a llama-server, and as the house asks its own (see ADR 3).
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from enginehouse.core.catalogue import DEFAULT_MODELS
from enginehouse.engines.base import Call
from enginehouse.engines.llama_server import LlamaServer, estimated_bytes
from enginehouse.engines.metadata import describe
from enginehouse.engines.openai import OpenAIServer
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.manager import Residency
from enginehouse.residency.memory import measured
from enginehouse.settings import Settings, current_environ, load
from enginehouse.settings.schema import ResidencySettings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Deployment, EngineName, Kind
from enginehouse.types.generation import Dialect

__all__ = ["Estimate", "HangUp", "chat_deployment", "chat_launcher", "estimates", "hang_ups"]

_PAUSE = 0.7
"""Seconds between asking and leaving."""
_LIMIT = 60.0
_CASES = {
    "stream, tokens flowing": ("hi", True),
    "stream, a long prompt being read": ("word " * 1900, True),
    "body, 2,000 tokens to come": ("hi", False),
}
_SHAPES: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (512, 1, ()),
    (8192, 1, ()),
    (8192, 2, ()),
    (8192, 1, ("-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on")),
    (8192, 4, ()),
)


class HangUp(Struct, frozen=True, kw_only=True):
    """Seconds from leaving until the engine's slot was free."""

    case: str
    plain: float
    ours: float


class Estimate(Struct, frozen=True, kw_only=True):
    """What was expected and what a loaded engine took, in bytes."""

    context: int
    slots: int
    flags: tuple[str, ...]
    estimated: int
    measured: int


async def hang_ups() -> list[HangUp]:
    """All cases, plain at llama.cpp's own batch size and ours at the bundled engine's."""
    plain: dict[str, float] = {}
    ours: dict[str, float] = {}
    for taken, flags in ((plain, ("-b", "2048", "-ub", "512")), (ours, ())):
        async with _engine(chat_deployment("hangup", 8192, 1, flags)) as engine:
            for case, (prompt, stream) in _CASES.items():
                taken[case] = await _leave(engine, prompt, stream=stream, plain=taken is plain)
    return [HangUp(case=case, plain=plain[case], ours=ours[case]) for case in _CASES]


async def estimates() -> list[Estimate]:
    """The default chat model in several shapes, one after the other."""
    found: list[Estimate] = []
    for number, (context, slots, flags) in enumerate(_SHAPES):
        deployment = chat_deployment(f"shape-{number}", context, slots, flags)
        async with _residency() as residency:
            status = await residency.load(deployment)
            taken = measured(status.pid) if status.pid is not None else None
        card = describe(await _model())
        expected = estimated_bytes(deployment, card)
        found.append(Estimate(context=context, slots=slots, flags=flags, estimated=expected, measured=taken or 0))
    return found


async def _leave(engine: LlamaServer, prompt: str, *, stream: bool, plain: bool) -> float:
    asked = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 2000, "stream": stream}
    body = json.dumps({**asked, "ignore_eos": True, "cache_prompt": False}).encode()
    call = Call(dialect=Dialect.OPENAI_CHAT, body=body, stream=stream, request_id="")
    asking = asyncio.ensure_future(_read(engine, call, plain=plain))
    await asyncio.sleep(_PAUSE)
    asking.cancel()
    await asyncio.wait([asking])
    clock = asyncio.get_running_loop().time
    left = clock()
    while await _busy(engine) and clock() - left < _LIMIT:  # noqa: ASYNC110 - the engine has to be asked
        await asyncio.sleep(0.01)
    return clock() - left


async def _read(engine: LlamaServer, call: Call, *, plain: bool) -> None:
    forward = OpenAIServer.forward(engine, call) if plain else engine.forward(call)
    async with forward as reply:
        await reply.read()


async def _busy(engine: LlamaServer) -> bool:
    async with engine.request("GET", "/slots") as reply:
        return any(slot["is_processing"] for slot in json.loads(await reply.read()))


@asynccontextmanager
async def _engine(deployment: Deployment) -> AsyncGenerator[LlamaServer]:
    async with _residency() as residency, residency.lease(deployment) as lease:
        assert isinstance(lease.engine, LlamaServer)
        yield lease.engine


def _residency() -> Residency:
    return Residency({EngineName.LLAMA_SERVER: chat_launcher()}, ResidencySettings())


def chat_launcher() -> LlamaLauncher:
    """Starts the bundled engine, on files as the configuration of this machine says."""
    environ = current_environ()
    files = FetchedFiles(_artifacts(load(None, environ)), lambda: None)
    return LlamaLauncher(files, binary=None, environ=environ, silence=600, grace=10)


def chat_deployment(name: str, context: int, slots: int = 1, flags: tuple[str, ...] = ()) -> Deployment:
    """The default chat model under some name."""
    stated = DEFAULT_MODELS["smollm2"]
    return Deployment(
        id=name,
        model=name,
        kind=Kind.CHAT,
        engine=EngineName.LLAMA_SERVER,
        source=stated.source,
        sha256=stated.sha256,
        context_length=context,
        slots=slots,
        flags=flags,
    )


async def _model() -> Path:
    stated = DEFAULT_MODELS["smollm2"]
    assert stated.source is not None
    return await _artifacts(load(None, current_environ())).fetch(stated.source, stated.sha256)


def _artifacts(settings: Settings) -> Artifacts:
    return Artifacts(settings.data_dir / "artifacts", settings.sources)
