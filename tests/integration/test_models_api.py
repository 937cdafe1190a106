"""Models in memory over HTTP, with the real engine: load, status, streams, logs, health, failures, shutdown."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from tests.integration.service import Service

BIG = "org/small:q4.1"


@pytest.fixture(scope="module")
def own(tmp_path_factory, service, gguf):
    """Two names for the same real file, and one file that is no model."""
    folder = tmp_path_factory.mktemp("models_api")
    broken = folder / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    models = {BIG: {"source": str(gguf)}, "broken": {"source": str(broken)}}
    with Service(folder, {"models": models}) as running:
        yield running


class Events:
    """A reader of server-sent events over a raw connection."""

    def __init__(self, service, path, headers=""):
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.received = b""

    def read_until(self, marker):
        while marker not in self.received:
            chunk = self.socket.recv(65536)
            assert chunk, f"ended before {marker!r}: {self.received[-500:]!r}"
            self.received += chunk

    def read_to_end(self):
        while chunk := self.socket.recv(65536):
            self.received += chunk

    def read_updates(self, count):
        while len(self.of("model_update")) < count:
            chunk = self.socket.recv(65536)
            assert chunk, f"ended before {count} updates: {self.received[-500:]!r}"
            self.received += chunk

    def of(self, name):
        whole, _, _ = self.received.decode().rpartition("\n\n")
        blocks = [block.splitlines() for block in whole.split("\n\n")]
        found = [lines for lines in blocks if f"event: {name}" in lines]
        return [json.loads(line.removeprefix("data: ")) for lines in found for line in lines if "data: " in line]

    def last_id(self):
        ids = [line for line in self.received.decode().splitlines() if line.startswith("id: ")]
        return ids[-1].removeprefix("id: ")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@pytest.mark.parametrize("name", [BIG, "org%2Fsmall%3Aq4.1", "org%2fsmall:q4.1"])
def test_load_status_health_logs_and_unload_of_an_id_with_slashes(own, name):
    path = f"/v1/models/{name}"
    status, body, _ = own.call(f"{path}/load", b"", timeout=120)
    assert (status, body["status"], body["alias"]) == (200, "ready", BIG)
    assert body["load_time_seconds"] > 0
    process = psutil.Process(body["pid"])
    assert body["port"] in {place.laddr.port for place in process.net_connections() if place.status == "LISTEN"}

    whole = own.call("/v1/models/status")[1]
    assert whole["server"] == {"status": "ready"}
    assert whole["models"][BIG]["port"] == body["port"]
    assert whole["summary"]["ready"] == 1
    assert own.call(f"{path}/status")[1]["status"] == "ready"

    health = own.call("/v1/health/models")[1]
    assert (health["status"], health["models"][BIG]["status"]) == ("healthy", "healthy")
    assert health["models"].keys() == {BIG}

    lines = own.call(f"{path}/logs?lines=500")[1]["lines"]
    assert any("llama" in line for line in lines)
    assert len(own.call(f"{path}/logs?lines=3")[1]["lines"]) == 3

    assert own.call(f"{path}/unload", b"")[1]["status"] == "off"
    assert not process.is_running()
    assert own.call("/v1/health/models")[1]["models"] == {}


def test_eject_by_name_and_load_without_waiting(own):
    status, body, _ = own.call(f"/v1/models/{BIG}/load?wait=false", b"")
    assert (status, body["status"]) == (202, "loading")
    own.wait_until(lambda: own.status(BIG)["status"] == "ready", 60)
    status, body, _ = own.call("/v1/models/eject", {"model": BIG})
    assert (status, body["status"]) == (200, "off")


def test_a_broken_file_is_listed_as_failed_until_it_is_reset(own):
    status, body, _ = own.call("/v1/models/broken/load", b"")
    assert (status, body["error"]["code"]) == (503, "model_load_failed")
    failed = own.call("/v1/models/failed")[1]
    assert failed["models"]["broken"]["error"] == body["error"]["message"]
    assert own.call("/v1/models/broken/logs")[1]["lines"]
    assert own.call("/v1/models/broken/reset", b"")[1]["status"] == "off"
    assert own.call("/v1/models/failed")[1]["models"] == {}


def test_the_status_stream_tells_every_change_and_resumes(own):
    with Events(own, "/v1/models/status/stream") as events:
        events.read_until(b"event: full_status")
        own.call(f"/v1/models/{BIG}/load", b"")
        events.read_updates(2)
        last = events.last_id()
    own.call(f"/v1/models/{BIG}/unload", b"")
    assert events.of("full_status")[0]["models"][BIG]["status"] == "off"
    assert [(data["alias"], data["status"]) for data in events.of("model_update")] == [
        (BIG, "loading"),
        (BIG, "ready"),
    ]
    with Events(own, "/v1/models/status/stream", f"Last-Event-ID: {last}\r\n") as again:
        again.read_updates(2)
        assert [data["status"] for data in again.of("model_update")] == ["draining", "off"]
        assert not again.of("full_status")


def test_the_engine_log_is_followed_while_it_loads(own):
    with Events(own, f"/v1/models/{BIG}/logs/stream?lines=1") as events:
        own.call(f"/v1/models/{BIG}/load", b"")
        events.read_until(b"llama")
        lines = [data["line"] for data in events.of("log")]
        assert len(lines) > 1
    own.call(f"/v1/models/{BIG}/unload", b"")


def test_open_streams_do_not_hold_up_the_stop(tmp_path, service):
    paths = ["/v1/models/status/stream", "/v1/models/smollm2/logs/stream"] * 10
    with Service(tmp_path) as stopped, ExitStack() as stack:
        streams = [stack.enter_context(Events(stopped, path)) for path in paths]
        for stream in streams:
            stream.read_until(b"text/event-stream")
        began = time.monotonic()
        stopped.process.send_signal(signal.SIGTERM)
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(Events.read_to_end, streams))
        assert stopped.process.wait(10) == 0
        assert time.monotonic() - began < 3
    assert all(stream.received.endswith(b"0\r\n\r\n") for stream in streams)
    assert "without completing" not in stopped.log()
