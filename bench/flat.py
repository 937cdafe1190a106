"""Whether memory stays flat: one service, and very many requests, or requests for a long time."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, redirect_stderr
from itertools import cycle
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from bench.load import Sample, Work
from bench.processes import ROOT, Child, Cores, free_port, running, tied
from bench.scenarios import DETAILS, SCENARIOS, Scenario
from bench.systems import configuration
from bench.telemetry import one_request, told_in
from bench.weight import resident_bytes
from enginehouse.core.traces.lines import RequestLines
from enginehouse.telemetry.logs import configure_logs

__all__ = ["Flatness", "Slope", "flatness", "flatness_inside", "soak"]

_WINDOW = 10.0
"""Seconds of asking between two looks."""
_BURST = 200
_WARM = 0.3
"""Share of the requests after which everything has been used that is used at all, and rings are full."""
_WARM_SOAK = 0.5
"""Of a soak, which has more kinds of requests, and asks how steep a line is, not how far apart looks are."""
_KEPT = 16 * 1024 * 1024
"""Bytes of answers that a soak keeps: few enough to be full of them when the warm-up ends."""
_SURE = 2.0
"""So many standard errors from nothing is something."""


class Slope(NamedTuple):
    """How memory grows, as a line through what was weighed has it."""

    hourly: float
    """Bytes an hour."""
    error: float
    """Its standard error; successive looks are more alike than this supposes, so the true one is larger."""

    @property
    def is_noise(self) -> bool:
        """Whether it may as well be nothing."""
        return self.hourly <= _SURE * self.error


class Look(NamedTuple):
    """What the service weighed at a time."""

    requests: int
    """So far."""
    seconds: float
    """Since the first of them."""
    bytes: int


class Flatness(Struct, frozen=True, kw_only=True):
    """What the service weighed."""

    requests: int
    failures: int
    seconds: float
    looks: list[Look]
    """From the end of the warm-up on."""

    @property
    def median(self) -> float:
        """Bytes."""
        return statistics.median(look.bytes for look in self.looks)

    @property
    def deviation(self) -> float:
        """The farthest that any look was from the median, as a share of it."""
        return max(abs(look.bytes - self.median) for look in self.looks) / self.median

    @property
    def slope(self) -> Slope:
        """A line through the looks by the least squares.

        Raises:
            statistics.StatisticsError: there are fewer than three.
        """
        times = [look.seconds / 3600 for look in self.looks]
        weights = [float(look.bytes) for look in self.looks]
        if len(times) < 3:
            raise statistics.StatisticsError("A slope needs three looks.")
        line = statistics.linear_regression(times, weights)
        off = sum((w - line.intercept - line.slope * t) ** 2 for t, w in zip(times, weights, strict=True))
        spread = sum((t - statistics.fmean(times)) ** 2 for t in times)
        return Slope(line.slope, sqrt(off / (len(times) - 2) / spread))


def flatness(wanted: int, progress: Callable[[str], None]) -> Flatness:
    """Ask so often, with 16 connections that never rest, and weigh the service after each window.

    Raises:
        BenchError: a process did not come up.
    """
    cores = Cores.of_this_machine()
    with _standing(cores, ["mock"], _telling) as (service, mock):
        whole = msgspec.structs.replace(SCENARIOS[0], connections=16)
        windows = _windows(service, mock, cores, [whole])
        return _asked(service, windows, progress, lambda done, _: done / wanted)


def soak(minutes: float, progress: Callable[[str], None]) -> Flatness:
    """Ask for so long with everything on, by turns for whole answers, streams and what is kept, as fast as it goes.

    Raises:
        BenchError: a process did not come up.
    """
    cores = Cores.of_this_machine()
    known = {scenario.name: scenario for scenario in (*SCENARIOS, *DETAILS)}
    scenarios = [known[name] for name in ("saturation", "streams", "hits", "body-64k")]
    models = sorted({scenario.model for scenario in scenarios})
    with _standing(cores, models, _everything) as (service, mock):
        windows = _windows(service, mock, cores, scenarios)
        return _asked(service, windows, progress, lambda _, seconds: seconds / (60 * minutes), _WARM_SOAK)


async def flatness_inside(wanted: int, progress: Callable[[str], None]) -> Flatness:
    """The same for telemetry alone, in this process: as many requests as that, and nothing else that could grow."""
    looks: list[Look] = []
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
                    looks.append(Look(number, perf_counter() - began, resident_bytes(os.getpid())))
                    progress(f"{number:,} requests, {looks[-1].bytes / 2**20:.1f} MiB")
    configure_logs("info", "auto")
    return Flatness(requests=wanted, failures=0, seconds=perf_counter() - began, looks=looks)


@contextmanager
def _standing(
    cores: Cores, models: list[str], settings: Callable[[dict[str, Any]], dict[str, Any]]
) -> Generator[tuple[Child, Child]]:
    """The service and the mock behind it; `settings` says what differs from other benches."""
    with tempfile.TemporaryDirectory(prefix="flat-") as name:
        folder, port = Path(name), free_port()
        command = [sys.executable, "-m", "bench.mock", "--port", str(port)]
        log = folder / "mock.log"
        with running(command, port=port, ready="/health", core=cores.bench, log=log) as mock:
            port, file = free_port(), folder / "enginehouse.json"
            file.write_text(json.dumps(settings(configuration(port, mock.port, models, folder, full=True))))
            command = [sys.executable, "-m", "enginehouse", "serve", "--config", str(file)]
            log = folder / "service.log"
            with running(command, port=port, ready="/ready", core=cores.gateway, log=log) as service:
                yield service, mock


def _telling(settings: dict[str, Any]) -> dict[str, Any]:
    """Every part of telemetry on: requests in the database, prompts kept, a line of the log for each."""
    del settings["auth"], settings["limits"]
    told = {"log": {"level": "info", "format": "json"}, "telemetry": {"content": True}}
    return settings | {"cache": {"enabled": False}} | told


def _everything(settings: dict[str, Any]) -> dict[str, Any]:
    """Everything on, with no more of kept answers than are there soon."""
    return settings | {"cache": {"max_bytes": _KEPT}}


def _asked(
    service: Child,
    windows: Iterator[Sample],
    progress: Callable[[str], None],
    share: Callable[[int, float], float],
    warm: float = _WARM,
) -> Flatness:
    """Weigh after each window until all is done; `share` says how much is, by requests and seconds."""
    done = failures = 0
    asked, began = 0.0, perf_counter()
    looks: list[Look] = []
    for sample in windows:
        done += sample.answers
        failures += sum(sample.failures.values())
        asked += sample.seconds
        so_far = share(done, perf_counter() - began)
        look = Look(done, perf_counter() - began, resident_bytes(service.pid))
        if so_far >= warm:
            looks.append(look)
        progress(f"{done:,} requests, {look.bytes / 2**20:.1f} MiB")
        if so_far >= 1:
            break
    return Flatness(requests=done, failures=failures, seconds=asked, looks=looks)


def _windows(service: Child, mock: Child, cores: Cores, scenarios: list[Scenario]) -> Iterator[Sample]:
    for scenario in cycle(scenarios):
        yield _load(scenario.work(service.port, service.pid, mock.pid, _WINDOW, {}), cores)


def _load(work: Work, cores: Cores) -> Sample:
    command = tied([sys.executable, "-m", "bench.load"], cores.bench)
    ended = subprocess.run(
        command, cwd=ROOT, input=msgspec.json.encode(work), capture_output=True, timeout=120, check=True
    )
    return msgspec.json.decode(ended.stdout, type=Sample)
