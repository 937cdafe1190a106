"""A service whose engines are scripted children: every model has a script of its own, which a test may rewrite."""

import json
import sys
import time
from pathlib import Path

import psutil

from tests.integration.service import Service, Stream

CHAT = "/v1/chat/completions"
FAKE = Path(__file__).with_name("fake_llama_server.py")

HASTE = {
    "stop_grace": 1.0,
    "load_stall_timeout": 2.0,
    "load_timeout": 20,
    "wedge_timeout": 1.0,
    "health_interval": 0.25,
    "min_residency": 0,
    "max_models": 100,
    "enable_idle_timeout": False,
}
"""The failure rules with short bounds."""


class Children(Service):
    """Use as a context.

    Args:
        models: ids, each with what its entry in the settings says beside its script.
    """

    def __init__(self, folder: Path, models: dict[str, dict], **residency):
        self.scripts = folder
        self.weights = folder / "model.gguf"
        with self.weights.open("wb") as file:
            file.truncate(8 * 1024 * 1024)
        program = folder / "llama-server"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
        program.chmod(0o755)
        self._rest = {
            "data_dir": str(folder / "data"),
            "default_models": False,
            "engines": {"llama_server": {"path": str(program)}},
            "residency": {**HASTE, **residency},
        }
        for name in models:
            self.script(name)
        super().__init__(folder, self.settings_of(models))

    def settings_of(self, models: dict[str, dict]) -> dict:
        """The whole configuration, with these models."""
        return {**self._rest, "models": {name: self._entry(name, more) for name, more in models.items()}}

    def _entry(self, name: str, more: dict) -> dict:
        usual = {"source": str(self.weights), "kind": "chat", "engine": "llama_server", "context_length": 512}
        return {**usual, "flags": ["--script", str(self._file(name))], **more}

    def _file(self, name: str) -> Path:
        return self.scripts / f"{name}.json"

    def script(self, name: str, **manners) -> None:
        """How the model's child behaves from now on."""
        scratch = self._file(name).with_suffix(".new")
        scratch.write_text(json.dumps(manners))
        scratch.replace(self._file(name))

    def lives(self, name: str) -> list[int]:
        """Process ids of all children the model has had."""
        return [int(pid) for pid in self._notes(name, "lives").split()]

    def count(self, name: str, what: str) -> int:
        """How often its children were `asked`, or saw a caller who had `left`."""
        return len(self._notes(name, what))

    def _notes(self, name: str, what: str) -> str:
        file = Path(f"{self._file(name)}.{what}")
        return file.read_text() if file.exists() else ""

    def ask(self, name: str, timeout: float = 20):
        """Status, body and headers of a whole answer."""
        return self.call(CHAT, question(name), timeout=timeout)

    def stream(self, name: str) -> Stream:
        """A streamed answer under way."""
        return Stream(self, CHAT, {**question(name), "stream": True})

    def gone(self, *pids: int, within: float = 5) -> None:
        """Wait until none of these processes runs."""
        self.wait_until(lambda: not any(map(runs, pids)), within)


def question(name: str) -> dict:
    """A request for a model."""
    return {"model": name, "messages": [{"role": "user", "content": "go"}]}


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def timed(work):
    """What it returns, and seconds it took."""
    began = time.monotonic()
    result = work()
    return result, time.monotonic() - began
