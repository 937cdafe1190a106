"""Whether memory stays flat: one service, all of its telemetry on, and very many requests."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.load import Sample, Work
from bench.processes import ROOT, Child, Cores, free_port, running, tied
from bench.scenarios import SCENARIOS
from bench.systems import configuration
from bench.weight import resident_bytes

__all__ = ["Flatness", "flatness"]

_WINDOW = 10.0
"""Seconds of asking between two looks."""
_WARM = 0.1
"""Share of the requests after which everything has been used that is used at all."""


class Flatness(Struct, frozen=True, kw_only=True):
    """What the service weighed."""

    requests: int
    failures: int
    seconds: float
    looks: list[tuple[int, int]]
    """Requests so far, and bytes, from the end of the warm-up on."""

    @property
    def median(self) -> float:
        """Bytes."""
        return statistics.median(weight for _, weight in self.looks)

    @property
    def deviation(self) -> float:
        """The farthest that any look was from the median, as a share of it."""
        return max(abs(weight - self.median) for _, weight in self.looks) / self.median


def flatness(wanted: int, progress: Callable[[str], None]) -> Flatness:
    """Ask so often, with 16 connections that never rest, and weigh the service after each window.

    Raises:
        BenchError: a process did not come up.
    """
    cores = Cores.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="flat-") as folder:
        port = free_port()
        command = [sys.executable, "-m", "bench.mock", "--port", str(port)]
        log = Path(folder) / "mock.log"
        with (
            running(command, port=port, ready="/health", core=cores.bench, log=log) as mock,
            _service(mock, Path(folder), cores) as service,
        ):
            return _asked(service, mock, wanted, cores, progress)


def _service(mock: Child, folder: Path, cores: Cores) -> AbstractContextManager[Child]:
    """With every part of telemetry on: requests in the database, prompts kept, a line of the log for each."""
    port = free_port()
    settings = configuration(port, mock.port, ["mock"], folder)
    settings |= {"log": {"level": "info", "format": "json"}, "telemetry": {"content": True}}
    file = folder / "enginehouse.json"
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "enginehouse", "serve", "--config", str(file)]
    return running(command, port=port, ready="/ready", core=cores.gateway, log=folder / "service.log")


def _asked(service: Child, mock: Child, wanted: int, cores: Cores, progress: Callable[[str], None]) -> Flatness:
    done = failures = 0
    seconds = 0.0
    looks: list[tuple[int, int]] = []
    for sample in _windows(service, mock, cores):
        done += sample.answers
        failures += sum(sample.failures.values())
        seconds += sample.seconds
        weight = resident_bytes(service.pid)
        if done >= wanted * _WARM:
            looks.append((done, weight))
        progress(f"{done:,} requests, {weight / 2**20:.1f} MiB")
        if done >= wanted:
            break
    return Flatness(requests=done, failures=failures, seconds=seconds, looks=looks)


def _windows(service: Child, mock: Child, cores: Cores) -> Iterator[Sample]:
    scenario = msgspec.structs.replace(SCENARIOS[0], connections=16)
    while True:
        yield _load(scenario.work(service.port, service.pid, mock.pid, _WINDOW, {}), cores)


def _load(work: Work, cores: Cores) -> Sample:
    command = tied([sys.executable, "-m", "bench.load"], cores.bench)
    ended = subprocess.run(
        command, cwd=ROOT, input=msgspec.json.encode(work), capture_output=True, timeout=120, check=True
    )
    return msgspec.json.decode(ended.stdout, type=Sample)
