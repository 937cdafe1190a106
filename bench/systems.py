"""What can stand between the load generator and the mock: nothing, Enginehouse, or a prototype."""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.peers import PEERS, installed
from bench.processes import BenchError, Child, Cores, free_port, prepare, running
from bench.prototypes import PROTOTYPES

__all__ = ["DIRECT", "FULL", "PAIR", "YARDSTICK", "System", "configuration", "gateway_names", "standing"]

DIRECT = "direct"
"""The baseline: the load generator asks the mock itself."""
YARDSTICK = "prototype:a"
"""The gateway to which others are compared in the same run, so that a noisy machine disturbs both."""


class System(Struct, frozen=True):
    """Something that answers, ready to be measured."""

    name: str
    port: int
    gateway: Child | None
    """The process that is weighed; None for the baseline."""
    upstream: Child
    headers: dict[str, str] = {}
    """What its requests have to say beside the key."""


FULL = "enginehouse:full"
"""Enginehouse with everything on: a stored key and limits, both caches, the ledger, metrics and telemetry."""


PAIR = "enginehouse:workers"
"""Enginehouse as two processes on one port. Two cores are no place to see what that brings: see what it costs."""
_OURS = ("enginehouse", FULL, PAIR)


def gateway_names() -> list[str]:
    """What may be measured."""
    return [*_OURS, *(f"prototype:{letter}" for letter in PROTOTYPES), *PEERS]


@contextmanager
def standing(names: Sequence[str], models: Sequence[str], folder: Path, cores: Cores) -> Generator[list[System]]:
    """The mock and these gateways in front of it, up until the context ends; the baseline is the first.

    `models` are the names that will be asked for; `folder` takes configurations and logs.

    Raises:
        BenchError: one of them is unknown or did not come up.
    """
    with ExitStack() as stack:
        port = free_port()
        command = [sys.executable, "-m", "bench.mock", "--port", str(port)]
        log = folder / "mock.log"
        mock = stack.enter_context(running(command, port=port, ready="/health", core=cores.bench, log=log))
        systems = [System(DIRECT, mock.port, None, mock)]
        for name in names:
            gateway = stack.enter_context(_gateway(name, mock.port, models, folder, cores))
            systems.append(System(name, gateway.port, gateway, mock, _headers(name, mock.port)))
        yield systems


def configuration(
    port: int, upstream: int, models: Sequence[str], folder: Path, *, full: bool = False
) -> dict[str, Any]:
    """Enginehouse's settings for a run: the mock's models, and slots and queue that never are the limit.

    Args:
        full: callers show a key, are counted, and are looked for in the caches.
    """
    model = {
        "kind": "chat",
        "engine": "openai",
        "base_url": _base_url(upstream),
        "api_key": "bench",
        "slots": 10_000,
    }
    many = 10**9
    guarded = {
        "auth": {"api_keys": ["bench"]},
        "limits": {"tiers": {"admin": f"{many}/hour, {many} tokens/minute, 10000 at once"}},
    }
    return {
        **(guarded if full else {"cache": {"enabled": False}}),
        "server": {"host": "127.0.0.1", "port": port},
        "log": {"level": "warning"},
        "data_dir": str(folder),
        "default_models": False,
        "admission": {"max_queue_size": 10_000},
        "models": dict.fromkeys(models, model),
    }


@contextmanager
def _gateway(name: str, upstream: int, models: Sequence[str], folder: Path, cores: Cores) -> Generator[Child]:
    port = free_port()
    log = folder / f"{name.replace(':', '-')}.log"
    if name in _OURS:
        command, ready = _enginehouse(name, port, upstream, models, folder), "/ready"
    elif name in PEERS:
        peer = PEERS[name]
        command, ready = peer.command(installed(name), port, _base_url(upstream), models), peer.ready
    elif name in gateway_names():
        command, ready = _prototype(name.partition(":")[2], port, upstream), "/health"
    else:
        raise BenchError(f"There is no gateway {name!r}. There are: {', '.join(gateway_names())}.")
    with running(command, port=port, ready=ready, core=cores.gateway, log=log) as child:
        yield child


def _headers(name: str, upstream: int) -> dict[str, str]:
    return dict(PEERS[name].headers(_base_url(upstream))) if name in PEERS else {}


def _enginehouse(name: str, port: int, upstream: int, models: Sequence[str], folder: Path) -> list[str]:
    full, own = name == FULL, folder / name.partition(":")[2]
    own.mkdir(exist_ok=True)
    file = own / "enginehouse.json"
    file.write_text(json.dumps(configuration(port, upstream, models, own, full=full)))
    # Every start but the first finds its tables there, and needs neither the time nor the memory that they take.
    prepare([sys.executable, "-m", "enginehouse", "db", "upgrade", "--config", str(file)])
    place = ["--host", "127.0.0.1", "--port", str(port), *(["--workers", "2"] if name == PAIR else [])]
    return [sys.executable, "-m", "enginehouse", "serve", "--config", str(file), *place]


def _prototype(letter: str, port: int, upstream: int) -> list[str]:
    place = ["--port", str(port), "--upstream", _base_url(upstream)]
    return [sys.executable, "-m", "bench.prototypes", letter, *place]


def _base_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"
