"""Whether memory stays flat: one service, all of its telemetry on, and very many requests."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, redirect_stderr
from pathlib import Path
from time import perf_counter

import msgspec
from msgspec import Struct

from bench.load import Sample, Work
from bench.processes import ROOT, Child, Cores, free_port, running, tied
from bench.scenarios import SCENARIOS
from bench.systems import configuration
from bench.telemetry import one_request, told_in
from bench.weight import resident_bytes
from enginehouse.core.traces.lines import RequestLines
from enginehouse.telemetry.logs import configure_logs

__all__ = ["Flatness", "flatness", "flatness_inside"]

_WINDOW = 10.0
"""Seconds of asking between two looks."""
_BURST = 200
_WARM = 0.3
"""Share of the requests after which everything has been used that is used at all, and rings are full."""


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


async def flatness_inside(wanted: int, progress: Callable[[str], None]) -> Flatness:
    """The same for telemetry alone, in this process: as many requests as that, and nothing else that could grow."""
    looks: list[tuple[int, int]] = []
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log, redirect_stderr(log):
        configure_logs("info", "json")
        async with told_in(Path(folder)) as (traces, keeper, pulse), keeper:
            traces.listen(RequestLines(wanted=True).hear)
            for number in range(1, wanted + 1):
                one_request(traces, number)
                if not number % _BURST:
                    await pulse.beat()
                    await asyncio.sleep(0.01)
                if not number % (wanted // 20) and number >= wanted * _WARM:
                    looks.append((number, resident_bytes(os.getpid())))
                    progress(f"{number:,} requests, {looks[-1][1] / 2**20:.1f} MiB")
    configure_logs("info", "auto")
    return Flatness(requests=wanted, failures=0, seconds=perf_counter() - began, looks=looks)


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
