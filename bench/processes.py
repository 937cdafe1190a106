"""Child processes of a run: pinned to a core, waited for until they answer, gone when the run ends."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

__all__ = ["ROOT", "BenchError", "Child", "Cores", "free_port", "prepare", "running", "tied"]

ROOT = Path(__file__).parent.parent
"""Folder from which `python -m bench…` finds this package."""
_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What a child gets to see: a stray HOST or REDIS_URL must not change what is measured."""


class BenchError(Exception):
    """A measurement could not be made; the message says why."""


class Cores(Struct, frozen=True):
    """Where processes run: the gateway on a core of its own, mock and load generator on another."""

    gateway: int | None = None
    bench: int | None = None

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first two cores we may use, or none when there is only one."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(first, others[0]) if others else cls()


class Child(Struct, frozen=True):
    """A child that answers on loopback."""

    pid: int
    port: int
    ready_seconds: float
    """From its start to its first answer."""


@contextmanager
def running(
    command: Sequence[str], *, port: int, ready: str, core: int | None, log: Path, patience: float = 60.0
) -> Generator[Child]:
    """Run a server until the context ends: SIGTERM then, and SIGKILL if that does not help.

    It is ready when `GET ready` is answered with any status under 500.

    Raises:
        BenchError: it ended, or did not answer in time; the message holds the last lines of its log.
    """
    begin = time.monotonic()
    with log.open("wb") as lines, _spawned(command, core, lines) as process:
        try:
            while not _answers(port, ready):
                if process.poll() is not None or time.monotonic() - begin > patience:
                    raise BenchError(f"{' '.join(command)} did not come up:\n{_last_lines(log)}")
                time.sleep(0.02)
            yield Child(process.pid, port, time.monotonic() - begin)
        finally:
            _stop(process)


def prepare(command: Sequence[str]) -> None:
    """Run what has to be done before a server starts.

    Raises:
        BenchError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def tied(command: Sequence[str], core: int | None) -> list[str]:
    """The command, pinned and bound to die with us."""
    return [sys.executable, "-m", "bench.tied", "any" if core is None else str(core), *command]


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def _spawned(command: Sequence[str], core: int | None, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches us only and we end it in order."""
    return subprocess.Popen(
        tied(command, core),
        cwd=ROOT,
        env=_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {name: ours[name] for name in _ENVIRONMENT if name in ours}


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
