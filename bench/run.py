"""The run: every scenario on every system, system by system within a round, round by round.

Whatever disturbs the machine for a while disturbs neighbours alike, so that figures are compared within a
round and the median is taken over the rounds.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.load import Sample, Work
from bench.machine import Machine, this_machine
from bench.processes import ROOT, BenchError, Cores, tied
from bench.scenarios import Scenario
from bench.systems import DIRECT, System, standing
from bench.weight import resident_bytes

__all__ = ["Measurement", "Plan", "Presence", "Report", "interleaved", "most_of", "run"]

_SETTLE = 1.0
"""Seconds of rest before resident memory is read, before and after the load."""
_OVERHEAD = 30.0
"""Seconds that a load generator may need beside its window."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a run is to do."""

    gateways: list[str]
    scenarios: list[Scenario]
    seconds: float
    """Length of one measured window."""
    rounds: int


class Measurement(Struct, frozen=True, kw_only=True):
    """One scenario on one system in one round."""

    scenario: str
    system: str
    round: int
    sample: Sample


class Presence(Struct, frozen=True, kw_only=True):
    """What a gateway costs by being there."""

    system: str
    ready_seconds: float
    """From its start to its first answer."""
    idle_rss: int
    """Bytes before its first request."""
    after_rss: int
    """Bytes after the last."""


class Report(Struct, frozen=True, kw_only=True):
    """A whole run; everything that is printed or written is made from it."""

    machine: Machine
    date: str
    command: str
    plan: Plan
    measurements: list[Measurement]
    presences: list[Presence]


def run(plan: Plan, command: str, progress: Callable[[str], None]) -> Report:
    """Start everything, measure, stop everything.

    Raises:
        BenchError: a process did not come up, a measurement failed, or this is no Linux.
    """
    if sys.platform != "linux":
        raise BenchError("The benchmark wants Linux: it pins processes to cores and sends by timerfd.")
    machine = this_machine()
    cores = Cores.of_this_machine()
    models = sorted({scenario.model for scenario in plan.scenarios})
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        standing(plan.gateways, models, Path(folder), cores) as systems,
    ):
        idle = _resident(systems)
        measurements = list(_measured(plan, systems, cores, progress))
        presences = _presences(systems, idle, _resident(systems))
    return Report(
        machine=machine,
        date=time.strftime("%Y-%m-%d"),
        command=command,
        plan=plan,
        measurements=measurements,
        presences=presences,
    )


def interleaved(plan: Plan, systems: Sequence[str]) -> Iterator[tuple[int, Scenario, str]]:
    """The order of a run: the systems side by side for each scenario, the whole again for each round."""
    for turn in range(plan.rounds):
        for scenario in plan.scenarios:
            for system in filter(scenario.is_for, systems):
                yield turn, scenario, system


def _measured(
    plan: Plan, systems: Sequence[System], cores: Cores, progress: Callable[[str], None]
) -> Iterator[Measurement]:
    named = {system.name: system for system in systems}
    most: dict[str, dict[str, float]] = {}
    for turn, scenario, name in interleaved(plan, list(named)):
        progress(f"round {turn + 1} of {plan.rounds}: {scenario.name}, {name}")
        rate = None if scenario.share is None else scenario.share * most_of(name, most[scenario.share_of])
        sample = _load(_work(scenario, named[name], plan.seconds, rate), cores)
        if not scenario.paced:
            most.setdefault(scenario.name, {})[name] = sample.answers / sample.seconds
        yield Measurement(scenario=scenario.name, system=name, round=turn, sample=sample)


def most_of(system: str, most: Mapping[str, float]) -> float:
    """What a system did when it was asked all it can; the baseline is asked no more than the fastest gateway."""
    gateways = [done for name, done in most.items() if name != DIRECT]
    return max(gateways) if system == DIRECT and gateways else most[system]


def _work(scenario: Scenario, system: System, seconds: float, rate: float | None) -> Work:
    gateway = system.gateway.pid if system.gateway else None
    return scenario.work(system.port, gateway, system.upstream.pid, seconds, system.headers, rate)


def _load(work: Work, cores: Cores) -> Sample:
    """One measurement in a process of its own."""
    command = tied([sys.executable, "-m", "bench.load"], cores.bench)
    asked = msgspec.json.encode(work)
    patience = work.warmup + work.seconds + work.lasting + _OVERHEAD
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            input=asked,
            capture_output=True,
            timeout=patience,
            check=True,
            start_new_session=True,
        )
    except subprocess.CalledProcessError as error:
        raise BenchError(f"The load generator failed:\n{error.stderr.decode(errors='replace')}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"The load generator did not end within {patience:.0f} s.") from error
    return msgspec.json.decode(ended.stdout, type=Sample)


def _resident(systems: Sequence[System]) -> dict[str, int]:
    time.sleep(_SETTLE)
    return {system.name: resident_bytes(system.gateway.pid) for system in systems if system.gateway}


def _presences(systems: Sequence[System], idle: dict[str, int], after: dict[str, int]) -> list[Presence]:
    return [
        Presence(
            system=system.name,
            ready_seconds=system.gateway.ready_seconds,
            idle_rss=idle[system.name],
            after_rss=after[system.name],
        )
        for system in systems
        if system.gateway
    ]
