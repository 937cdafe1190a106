"""How to start a llama-server for a deployment: the command line, and how it tells that it is ready."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from enginehouse.engines.llama_server import tether
from enginehouse.engines.llama_server.flags import parse_flags
from enginehouse.types import Deployment, Kind

__all__ = ["LOOPBACK", "ChildPlan", "device_list_command", "plan_child"]

LOOPBACK = "127.0.0.1"
_CONTEXT_FLAGS = {"-c", "--ctx-size"}
_SLOT_FLAGS = {"-np", "--parallel"}
_EMBEDDING_FLAGS = {"--embedding", "--embeddings", "--rerank", "--reranking"}


class ChildPlan(Struct, frozen=True, kw_only=True):
    """A command that becomes a llama-server."""

    argv: tuple[str, ...]
    api_key: str
    """Made for this one process, so that no stranger on its port is mistaken for it."""
    port: int | None
    """Where it will listen; None when it chooses itself and tells on standard output."""

    def __repr__(self) -> str:
        """Without the key."""
        return f"ChildPlan({self.argv!r})"


def plan_child(
    deployment: Deployment,
    model: Path | None,
    *,
    binary: Path | None,
    api_key: str,
    port: int | None,
    host: str = LOOPBACK,
) -> ChildPlan:
    """The command for a deployment whose model file is at `model`; None when its flags say where it is.

    The user's flags come as written; what the house must decide (model, alias, host, port) comes after them, since
    llama.cpp lets the last one win.

    Raises:
        UnknownFlag: the bundled engine does not know one of the flags.
    """
    file = ["-m", str(model)] if model else []
    flags = [*_implied(deployment), *deployment.flags, *file, "--alias", deployment.model, "--host", host]
    if binary is None:
        parse_flags(flags)
        argv = (sys.executable, "-m", "enginehouse.engines.llama_server.bundled", *flags)
        return ChildPlan(argv=argv, api_key=api_key, port=None)
    assert port is not None, "a llama-server of the user's own has to be told its port"
    listening = ["--port", str(port)]
    shim = (sys.executable, "-I", tether.__file__, str(os.getpid()))
    return ChildPlan(argv=(*shim, str(binary), *flags, *listening), api_key=api_key, port=port)


def device_list_command(binary: Path | None) -> tuple[str, ...]:
    """The command that prints what the engine can run on, a line a device, and ends."""
    engine = (str(binary),) if binary else (sys.executable, "-m", "enginehouse.engines.llama_server.bundled")
    return (*engine, "--list-devices")


def _implied(deployment: Deployment) -> list[str]:
    """What the deployment's fields say, as flags, unless the user's flags say it already."""
    given = {flag.split("=")[0] for flag in deployment.flags}
    implied: list[str] = []
    if deployment.context_length and not given & _CONTEXT_FLAGS:
        implied += ["-c", str(deployment.context_length * deployment.slots)]
    if not given & _SLOT_FLAGS:
        implied += ["-np", str(deployment.slots)]
    if not given & _EMBEDDING_FLAGS:
        implied += _kind_flags(deployment.kind)
    return implied


def _kind_flags(kind: Kind) -> Sequence[str]:
    return {Kind.EMBEDDING: ["--embedding"], Kind.RERANK: ["--reranking"]}.get(kind, [])
