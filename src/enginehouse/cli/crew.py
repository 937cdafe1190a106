"""Several processes on one port: starts them, starts again whoever dies, and ends when all have ended.

Each has a listening socket of its own on the port. The sockets are this process's: connections that come for a
process that has died wait there until it is back. Requests never pass through here.
"""

import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog
from msgspec import Struct

from enginehouse.settings.schema import Settings

__all__ = ["REFUSED", "Orders", "run_crew"]

log = structlog.get_logger()

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SETTLED = 10.0
"""Seconds after which a process that dies counts as one that had come up well."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LAST_WORDS = 20.0
"""Seconds beyond all documented times in which everybody should have ended."""
_OWNER = 1
REFUSED = 78
"""Exit code of a process that has said why it cannot run, as `sysexits.h` has it for a wrong configuration."""


class Orders(Struct, frozen=True, kw_only=True):
    """What a process is told when it starts."""

    number: int
    """Which one it is; the first is the owner."""
    of: int
    """How many there are."""
    settings: Settings
    environ: Mapping[str, str]
    config: Path | None
    folder: Path
    """Where its sockets to the others are."""
    listener: int
    """The socket that it listens on."""


class _Member:
    """One process, over all of its lives."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.listener = listener
        self.process: subprocess.Popen[bytes] | None = None
        self.lives = 0
        self.due = 0.0
        """When it is started, while it is not there."""
        self._began = 0.0
        self._pause = _FIRST_PAUSE

    def start(self, orders: bytes) -> None:
        """Begin its next life; it ends when it cannot hear us any more."""
        command = [sys.executable, "-P", "-m", "enginehouse.cli.member"]
        self._began, self.lives = time.monotonic(), self.lives + 1
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.PIPE, pass_fds=[self.listener.fileno()], start_new_session=True
        )
        assert self.process.stdin is not None, "it was asked for"
        with suppress(BrokenPipeError):
            self.process.stdin.write(len(orders).to_bytes(8) + orders)
            self.process.stdin.flush()

    def ended(self) -> int | None:
        """Its exit code, when it has just ended."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process = None
        lived = time.monotonic() - self._began
        self._pause = _FIRST_PAUSE if lived >= _SETTLED else min(2 * self._pause, _LONGEST_PAUSE)
        self.due = time.monotonic() + self._pause
        return code

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.process is not None:
            self.process.send_signal(number)


def run_crew(
    settings: Settings, environ: Mapping[str, str], listeners: Sequence[socket.socket], config: Path | None
) -> int:
    """Run all of them until SIGTERM or SIGINT; the exit code.

    Args:
        listeners: one a process, on one port.
        config: the file they watch for edits.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enginehouse-")))
        woken = stack.enter_context(_signals())
        members = [_Member(number, listener) for number, listener in enumerate(listeners, _OWNER)]
        orders = {
            one.number: pickle.dumps(
                Orders(
                    number=one.number,
                    of=len(members),
                    settings=settings,
                    environ=environ,
                    config=config,
                    folder=folder,
                    listener=one.listener.fileno(),
                )
            )
            for one in members
        }
        return _Watch(members, orders, woken, _most(settings)).run()


class _Watch:
    """The supervisor's own loop.

    Args:
        members: all of them.
        orders: of each, by its number.
        woken: readable when a signal has come.
        most: seconds that the end of all may take.
    """

    def __init__(
        self, members: Sequence[_Member], orders: Mapping[int, bytes], woken: socket.socket, most: float
    ) -> None:
        self._members, self._orders = members, orders
        self._woken, self._most = woken, most
        self._codes: dict[int, int] = {}
        self._ends_at: float | None = None

    def run(self) -> int:
        """Until nobody is there any more."""
        while not self._over():
            if self._ends_at is None:
                self._start()
            self._wait()
            self._look()
            if self._ends_at is not None and time.monotonic() >= self._ends_at:
                log.warning("stopped_with_work_left")
                self._tell(signal.SIGKILL)
        return 1 if any(self._codes.values()) else 0

    def _over(self) -> bool:
        return self._ends_at is not None and all(one.process is None for one in self._members)

    def _start(self) -> None:
        for one in self._members:
            if one.process is None and time.monotonic() >= one.due:
                one.start(self._orders[one.number])

    def _wait(self) -> None:
        """Until something happens: a signal, or somebody is due."""
        times = [one.due for one in self._members if one.process is None]
        if self._ends_at is not None:
            times = [self._ends_at]
        left = max(0.0, min(times) - time.monotonic()) if times else None
        select.select([self._woken], [], [], left)
        with suppress(BlockingIOError):
            for number in self._woken.recv(4096):
                if number in _STOP_SIGNALS:
                    self._stop()

    def _stop(self) -> None:
        self._ends_at = self._ends_at or time.monotonic() + self._most
        self._tell(signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for one in self._members:
            one.signal(number)

    def _look(self) -> None:
        for one in self._members:
            if (code := one.ended()) is None:
                continue
            if self._ends_at is None:
                self._died(one, code)
            if self._ends_at is not None:
                self._codes[one.number] = code

    def _died(self, one: _Member, code: int) -> None:
        """An owner that cannot come up at all ends the whole, as one process alone would end."""
        if code == REFUSED and one.lives == 1:
            self._stop()
            return
        log.error("process_died", number=one.number, owner=one.number == _OWNER, code=code)


@contextmanager
def _signals() -> Generator[socket.socket]:
    """Readable when a signal has come that somebody has to act on: each is a byte."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _noted) for number in (*_STOP_SIGNALS, signal.SIGCHLD)}
        try:
            yield ours
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)


def _noted(*_: object) -> None:
    """The byte that comes with it is enough."""


def _most(settings: Settings) -> float:
    server = settings.server
    return server.drain_delay + server.shutdown_timeout + settings.residency.stop_grace + _LAST_WORDS
