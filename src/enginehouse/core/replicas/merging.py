"""What several replicas say of themselves, as one service would say it; all of it is pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from msgspec import structs

from enginehouse.core.replicas.told import Beat, Line
from enginehouse.core.traces.pulse import Figures, Window
from enginehouse.residency.manager import ResidentStatus
from enginehouse.types import ResidentState

__all__ = ["added", "at_rest", "figures_of", "share_of", "together"]

_RANKS = (
    ResidentState.READY,
    ResidentState.LOADING,
    ResidentState.DRAINING,
    ResidentState.FAILED,
    ResidentState.OFF,
)
"""The state that counts for the whole when replicas differ, the first before the others."""
_COUNTS = ("total", "active", "slots", "served", "rejected", "timed_out", "left")
_SUMS = ("requests_per_second", "tokens_per_second", "on_the_way", "sockets", "ledger_backlog")
_SHARE = ("uptime_seconds", "requests_per_second", "tokens_per_second", "active", "queued", "on_the_way", "memory")


def at_rest(status: ResidentStatus) -> bool:
    """Whether there is nothing to tell of a model but that it is off."""
    return status.state is ResidentState.OFF and not (status.leases or status.waiting or status.pinned)


def together(statuses: Sequence[ResidentStatus]) -> ResidentStatus:
    """A model as the whole service has it: ready when it is ready anywhere, with the requests of all.

    Args:
        statuses: at each replica, at least one; of two that stand alike the first one's process is told.
    """
    best = min(statuses, key=lambda one: _RANKS.index(one.state))
    copies = [one.instances for one in statuses if one.instances is not None]
    leases = sum(one.leases for one in statuses)
    idle = [one.idle_seconds for one in statuses if one.idle_seconds is not None]
    return structs.replace(
        best,
        leases=leases,
        waiting=sum(one.waiting for one in statuses),
        instances=sum(copies) if copies else None,
        idle_seconds=min(idle) if idle and not leases else None,
        ram=_total(one.ram for one in statuses),
        vram=_total(one.vram for one in statuses),
        pinned=any(one.pinned for one in statuses),
    )


def added(lines: Sequence[Line]) -> Line:
    """Several replicas' own lines as one; waits are those of the line where they were longest."""
    if len(lines) == 1:
        return lines[0]
    queued = Counter[str]()
    for line in lines:
        queued.update(line["queued"])
    waits = {
        name: max((line[name] or 0.0 for line in lines), default=0.0) for name in ("wait_p50_ms", "wait_p95_ms")
    }
    known = any(line["wait_p50_ms"] is not None for line in lines)
    return {
        "scope": "added",
        "queued": {priority: queued[priority] for priority in lines[0]["queued"]},
        **{name: sum(line[name] for line in lines) for name in _COUNTS},
        **{name: wait if known else None for name, wait in waits.items()},
    }


def figures_of(beats: Sequence[Beat], lines: Mapping[str, Line], models: Iterable[ResidentStatus]) -> Figures:
    """The figures of all as one.

    Args:
        beats: the newest of each replica, the one that tells last.
        lines: every model's line, already of all replicas.
        models: those that are not simply off, already of all replicas.
    """
    every = [beat.figures for beat in beats]
    telling = beats[-1]
    names = [name for figures in every for name in figures["totals"] if name != "cost"]
    totals = {name: sum(figures["totals"].get(name, 0) for figures in every) for name in dict.fromkeys(names)}
    return {
        "timestamp": telling.figures["timestamp"],
        "uptime_seconds": max(figures["uptime_seconds"] for figures in every),
        **{name: _rounded(sum(figures[name] for figures in every)) for name in _SUMS},
        "active": sum(line["active"] for line in lines.values()),
        "queued": sum(line["total"] for line in lines.values()),
        "last_minute": _window([beat.window for beat in beats]).told(),
        "totals": {**totals, "cost": sum((beat.cost for beat in beats[1:]), beats[0].cost)},
        "cost_today": telling.cost_today,
        "models": _states([figures["models"] for figures in every], models),
        "memory": _memory(beats),
        "sessions": telling.figures["sessions"],
    }


def share_of(figures: Figures) -> dict[str, Any]:
    """What is told of one replica beside the figures of all."""
    return {name: figures[name] for name in _SHARE}


def _window(windows: Sequence[Window]) -> Window:
    return Window(
        requests=sum(one.requests for one in windows),
        failed=sum(one.failed for one in windows),
        hits=sum(one.hits for one in windows),
        misses=sum(one.misses for one in windows),
        requests_per_second=_rounded(sum(one.requests_per_second for one in windows)),
        tokens_per_second=_rounded(sum(one.tokens_per_second for one in windows)),
        ttft=[sum(counts) for counts in zip_longest(*(one.ttft for one in windows), fillvalue=0)],
        total=[sum(counts) for counts in zip_longest(*(one.total for one in windows), fillvalue=0)],
    )


def _states(each: Sequence[Mapping[str, int]], models: Iterable[ResidentStatus]) -> dict[str, int]:
    """How many models there are in each state; those of which nothing is told are off."""
    counts = Counter(one.state.value for one in models)
    every = max(sum(states.values()) for states in each)
    counts[ResidentState.OFF.value] += max(every - counts.total(), 0)
    return {state: count for state, count in counts.items() if count}


def _memory(beats: Sequence[Beat]) -> dict[str, dict[str, int]]:
    """Replicas of one machine see the same memory, and each has its own models in it."""
    pools: dict[str, dict[str, int]] = {}
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    for beat in beats:
        for name, pool in beat.figures["memory"].items():
            whole = pools.setdefault(name, {"total": 0, "used": 0, "budget": 0, "models": 0})
            whole["budget"] += pool["budget"]
            whole["models"] += pool["models"]
            seen[beat.host, name] = pool["total"], pool["used"]
    for (_, name), (total, used) in seen.items():
        pools[name]["total"] += total
        pools[name]["used"] += used
    return pools


def _total(amounts: Iterable[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _rounded(number: float) -> float:
    return number if isinstance(number, int) else round(number, 3)
