"""Whether anything got slower: processor time of a request beside a bare prototype's, against what was kept.

Absolute times say more of the machine and of its neighbours than of the code. What the gateway takes in the same
run, on the same core, as a multiple of what a bare prototype takes, is much the same on any machine and on any day.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.run import Report

__all__ = ["BARE", "KEPT", "Kept", "Verdict", "compared", "read_kept", "times_bare", "write_kept"]

BARE = "prototype:g"
"""Bare ASGI over a client of a hundred lines: as little as a gateway of this kind can do, and nothing of ours."""
KEPT = Path(__file__).parent / "kept.json"
_ALLOWED = 1.1
"""So many times as much as was kept is noise; more is a loss."""


class Kept(Struct, frozen=True, kw_only=True):
    """What was measured when it was last found good."""

    date: str
    command: str
    cpu: str
    packages: dict[str, str]
    times_bare: dict[str, float]
    """By scenario and system: processor time of an answer as a multiple of the bare prototype's."""


class Verdict(Struct, frozen=True, kw_only=True):
    """One figure beside what was kept."""

    name: str
    now: float
    kept: float | None
    """None for what was never kept."""

    @property
    def worse(self) -> bool:
        """Whether that is more than noise."""
        return self.kept is not None and self.now > self.kept * _ALLOWED


def times_bare(report: Report) -> dict[str, float]:
    """Processor time of an answer, by scenario and system, as a multiple of the bare prototype's; median of rounds.

    Raises:
        ValueError: somebody answered nothing.
    """
    cost = {
        (one.scenario, one.system, one.round): one.sample.gateway_cpu / one.sample.answers
        for one in report.measurements
        if one.sample.answers and one.sample.gateway_cpu
    }
    found: dict[str, list[float]] = {}
    for (scenario, system, turn), taken in cost.items():
        bare = cost.get((scenario, BARE, turn))
        if system != BARE and bare is not None:
            found.setdefault(f"{scenario}, {system}", []).append(taken / bare)
    if not found:
        raise ValueError("nothing was answered, so nothing can be compared")
    return {name: round(median(ratios), 2) for name, ratios in found.items()}


def compared(now: Mapping[str, float], kept: Mapping[str, float]) -> list[Verdict]:
    """Each figure of now beside the kept one."""
    return [Verdict(name=name, now=ratio, kept=kept.get(name)) for name, ratio in now.items()]


def read_kept(path: Path = KEPT) -> Mapping[str, float]:
    """The kept figures; none where nothing was kept yet."""
    return msgspec.json.decode(path.read_bytes(), type=Kept).times_bare if path.exists() else {}


def write_kept(report: Report, path: Path = KEPT) -> None:
    """Keep these figures: from now on others are held against them."""
    machine = report.machine
    kept = Kept(
        date=report.date,
        command=report.command,
        cpu=machine.cpu,
        packages=machine.packages,
        times_bare=times_bare(report),
    )
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
