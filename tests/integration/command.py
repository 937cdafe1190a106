"""The real command in a process of its own: in a pipe, or on a terminal that a test types on."""

import os
import pty
import re
import select
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "enginehouse"]
CTRL_D = "\x04"

# The child makes its standard input its controlling terminal, without which Ctrl-C would be a letter.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\r")


def environment(**changes):
    """The tests' environment without what would change the service's settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")}
    for name in ("HOST", "PORT", "CONFIG_PATH", "API_KEY"):
        ours.pop(name, None)
    return {**ours, **changes}


def run(*arguments, stdin="", timeout=60, cwd=None, **environ):
    """Run to the end; returns the completed process."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
        env=environment(**environ),
    )


class TerminalSession:
    """The command on a terminal; use as a context."""

    def __init__(self, *arguments, **environ):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *COMMAND, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment(TERM="xterm", COLUMNS="200", **environ),
        )
        os.close(slave)
        self.raw = ""
        """All that was printed."""
        self._read_up_to = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def seen(self):
        """What was printed since the last `wait_for`, without escape sequences."""
        return _ESCAPES.sub("", self.raw)[self._read_up_to :]

    def type(self, text):
        """Press keys."""
        os.write(self._master, text.encode())

    def line(self, text):
        """Type a line."""
        self.type(f"{text}\n")

    def interrupt(self):
        """Press Ctrl-C, no quicker than a person: readline misses a signal in the instant after it writes."""
        time.sleep(0.1)
        self.type("\x03")

    def wait_for(self, pattern, timeout=30):
        """Read until a pattern is there; returns what came up to its end."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            assert self._read(0.1), f"the command ended before {pattern!r}: {self.seen!r}"
        before = self.seen[: match.end()]
        self._read_up_to += match.end()
        return before

    def exit_code(self, timeout=30):
        """Wait for the end."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        return self.process.wait(1)

    def _read(self, seconds):
        """Whether there may be more."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux says so when the other end is closed
                return False
            self.raw += data.decode(errors="replace")
            return bool(data)
        return self.process.poll() is None
