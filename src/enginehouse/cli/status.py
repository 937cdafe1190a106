"""`enginehouse status`: how a running service does, on one screen."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table

from enginehouse.cli.console import for_terminal, results
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service

__all__ = ["headline", "models_table", "nodes_shown", "replicas_shown", "run_status", "span"]


def run_status(*, config: Path | None, url: str | None, key: str | None, as_json: bool) -> int:
    """Print it; exit code 1 when the service says that it is unhealthy.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    status = asyncio.run(_asked(*service_of(config, url, key)))
    if as_json:
        print(json.dumps(status, indent=2))
    else:
        console = results()
        for name, value in headline(status["metrics"]):
            console.print(f"{name:<12}{for_terminal(value)}", soft_wrap=True)
        console.print()
        console.print(models_table(status["models"]["models"], status["queues"]["queues"]))
        if status["fleet"] is not None:
            console.print()
            console.print(nodes_shown(status["fleet"]))
        for part in replicas_shown(status["metrics"]):
            console.print(part)
    return 0 if status["models"]["server"]["status"] == "ready" else 1


async def _asked(url: str, key: str | None) -> dict[str, Any]:
    async with Service(url, key) as service:
        metrics = await service.get("/api/v1/metrics")
        models, queues = await service.get("/v1/models/status"), await service.get("/v1/queue/stats")
        fleet = (await service.get("/v1/status")).get("fleet")
    return {"url": service.url, "metrics": metrics, "models": models, "queues": queues, "fleet": fleet}


def headline(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures a person asks first, by name."""
    minute: Mapping[str, Any] = figures["last_minute"]
    ttft, latency = minute["ttft_ms"], minute["latency_ms"]
    yield (
        "Requests",
        f"{minute['requests_per_second']:.1f}/s, {figures['active']} running, {figures['queued']} waiting",
    )
    yield "Tokens", f"{minute['tokens_per_second']:.0f}/s"
    yield "First token", f"{_ms(ttft['p50'])} p50, {_ms(ttft['p95'])} p95"
    yield "Latency", f"{_ms(latency['p50'])} p50, {_ms(latency['p95'])} p95"
    yield "Errors", f"{100 * minute['error_rate']:.1f} % of {minute['requests']} within the last minute"
    hits = minute["cache_hit_rate"]
    yield "Cache", "-" if hits is None else f"{100 * hits:.1f} % hits"
    cost = figures["cost_today"]
    yield "Cost today", "-" if cost is None else f"${cost:.4f}"
    for name, pool in figures["memory"].items():
        yield "Memory", f"{name} {decimal(pool['models'])} of {decimal(pool['budget'])} by models"


def models_table(models: Mapping[str, Mapping[str, Any]], queues: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each model: where it stands, who runs on it, who waits for it, and what it holds."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Model", "Status", "Running", "Waiting", "Memory"):
        table.add_column(title, justify="left" if title in {"Model", "Status"} else "right", no_wrap=True)
    for name, model in models.items():
        line = queues.get(name, {})
        held = (model.get("ram_mb") or 0) + (model.get("vram_mb") or 0)
        running = f"{line.get('active', 0)}/{line.get('slots', 0)}"
        cells = (name, _standing(model), running, str(line.get("total", 0)), f"{held:.0f} MB" if held else "-")
        table.add_row(*map(for_terminal, cells))
    return table


def nodes_shown(fleet: Mapping[str, Any]) -> Group:
    """A line for each node of a fleet: how it is, how much of its memory is free, and what is placed there."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Node", "Health", "Free", "Models"):
        table.add_column(title, no_wrap=title != "Models")
    for node in fleet.get("nodes", ()):
        free = ", ".join(
            f"{name} {decimal(max(memory['free'], 0))} of {decimal(memory['budget'])}"
            for name, memory in node["memory"].items()
        )
        cells = (f"{node['host']} {node['id'][:8]}", node["health"], free, _placed(node["placed"]) or "-")
        table.add_row(*map(for_terminal, cells), style="" if node["health"] == "alive" else "yellow")
    return Group(table, *map(for_terminal, _said(fleet)))


def _said(fleet: Mapping[str, Any]) -> Iterator[str]:
    """What else there is to know, below the table."""
    if waiting := ", ".join(fleet.get("waiting", ())):
        yield f"Waiting for room: {waiting}."
    if fleet["owner"] != "up":
        yield f"The owner of the fleet does not answer ({fleet['detail']})."


def _placed(copies: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(one["id"] if one["stage"] == "ready" else f"{one['id']} ({one['stage']})" for one in copies)


def replicas_shown(figures: Mapping[str, Any]) -> Sequence[Table | str]:
    """A line for each replica, where there are several: what it answers now, and how fast; else nothing."""
    replicas: Mapping[str, Mapping[str, Any]] = figures.get("replicas", {})
    if len(replicas) < 2:
        return ()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Replica", "In flight", "Requests", "Tokens", "Models", "Up"):
        table.add_column(title, justify="left" if title == "Replica" else "right", no_wrap=True)
    for name, one in replicas.items():
        minute, held = one["last_minute"], sum(pool["models"] for pool in one["memory"].values())
        rates = f"{minute['requests_per_second']:.1f}/s", f"{minute['tokens_per_second']:.0f}/s"
        cells = (name, str(one["on_the_way"]), *rates, decimal(held), span(one["uptime_seconds"]))
        table.add_row(*map(for_terminal, cells))
    return "", table


def span(seconds: float) -> str:
    """Hours, minutes and seconds."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _standing(model: Mapping[str, Any]) -> str:
    """Its state, and at how many replicas it has it where there are several."""
    replicas: Mapping[str, Mapping[str, Any]] = model.get("replicas", {})
    if len(replicas) < 2 or model["status"] == "off":
        return model["status"]
    alike = sum(one["status"] == model["status"] for one in replicas.values())
    return f"{model['status']} ({alike} of {len(replicas)})"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
