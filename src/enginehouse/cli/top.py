"""`enginehouse top`: a running service, live on the terminal, as its stream of events tells it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from enginehouse.cli.console import for_terminal, results
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service
from enginehouse.cli.status import headline, models_table, nodes_shown, replicas_shown, span

__all__ = ["View", "run_top", "spark"]

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60
_LATEST = 10
_LOOK_AT_NODES = 5
"""Seconds between two looks at the nodes of a fleet."""


def run_top(*, config: Path | None, url: str | None, key: str | None, as_json: bool, seconds: float | None) -> None:
    """Show it until Ctrl-C; elsewhere than on a terminal, once.

    Args:
        seconds: for how long; for ever when left out.

    Raises:
        EnginehouseError: nobody answers, the service refuses, or it stops.
    """
    console = results()
    once = not console.is_terminal and seconds is None and not as_json
    asyncio.run(_follow(*service_of(config, url, key), console, as_json=as_json, once=once, seconds=seconds))


async def _follow(
    url: str, key: str | None, console: Console, *, as_json: bool, once: bool, seconds: float | None
) -> None:
    view = View(url)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), Service(url, key) as service, service.events("/v1/events") as events:
            if as_json:
                async for name, data in events:
                    print(json.dumps({"event": name, **data}), flush=True)
                return
            latest = await service.get(f"/v1/telemetry/requests?limit={_LATEST}")
            view.hear("requests", {"requests": latest["data"][::-1]})
            view.hear(*await anext(events))
            view.hear("status", await service.get("/v1/status"))
            if once:
                console.print(view.render(console.height))
            else:
                await _live(view, service, events, console)


async def _live(
    view: "View", service: Service, events: AsyncIterator[tuple[str, dict[str, Any]]], console: Console
) -> None:
    with Live(view.render(console.height), console=console, screen=True, auto_refresh=False) as live:
        async for name, data in events:
            view.hear(name, data)
            if name == "figures" and view.fleet_is_old:
                view.hear("status", await service.get("/v1/status"))
            if name in {"figures", "full_status"}:
                live.update(view.render(console.height), refresh=True)


class View:
    """What is known, and how it looks.

    Args:
        url: whose.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._figures: Mapping[str, Any] = {}
        self._history: deque[Mapping[str, Any]] = deque(maxlen=_WIDTH)
        self._models: dict[str, Mapping[str, Any]] = {}
        self._queues: dict[str, Mapping[str, Any]] = {}
        self._latest: deque[Mapping[str, Any]] = deque(maxlen=_LATEST)
        self._fleet: Mapping[str, Any] | None = None
        self._age = 0

    @property
    def fleet_is_old(self) -> bool:
        """Whether it is time to ask for the nodes again; without a fleet it never is."""
        return self._fleet is not None and self._age >= _LOOK_AT_NODES

    def hear(self, name: str, data: Mapping[str, Any]) -> None:
        """An event of the stream."""
        match name:
            case "full_status":
                self._figures, self._models, self._queues = data["figures"], data["models"], data["queues"]
                if "history" in data:
                    self._history = deque(data["history"], maxlen=_WIDTH)
            case "status":
                self._fleet, self._age = data.get("fleet"), 0
            case "figures":
                self._age += 1
                self._figures = data
                self._history.append(data)
            case "model_update":
                self._update(data)
            case "queue_update":
                self._queues = data["queues"]
            case "requests":
                self._latest.extend(data["requests"])
            case _:
                pass

    def render(self, height: int = 40) -> Group:
        """All of it, as large as the terminal is."""
        head = Table.grid(padding=(0, 2))
        for name, value in headline(self._figures):
            head.add_row(Text(name, style="bold"), for_terminal(value), self._spark_of(name))
        replicas = self._figures.get("replicas", {})
        models = dict(list(self._models.items())[: max(height - len(self._latest) - 16 - len(replicas), 3)])
        title = Text(f"Enginehouse at {self._url}, up {span(self._figures['uptime_seconds'])}", style="bold cyan")
        known = (models_table(models, self._queues), *replicas_shown(self._figures))
        nodes = () if self._fleet is None else ("", nodes_shown(self._fleet))
        return Group(title, "", head, "", *known, *nodes, "", self._requests())

    def _update(self, data: Mapping[str, Any]) -> None:
        name = data["model_id"]
        if data.get("change") == "removed":
            self._models.pop(name, None)
        else:
            self._models[name] = {**self._models.get(name, {}), **data}

    def _spark_of(self, name: str) -> str:
        fields = {"Requests": "requests_per_second", "Tokens": "tokens_per_second"}
        return spark([one[fields[name]] for one in self._history]) if name in fields else ""

    def _requests(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("When", "Model", "User", "Status", "Cache", "First token", "Total", "Tokens"):
            table.add_column(title, no_wrap=True, justify="right" if title in {"First token", "Total"} else "left")
        for one in reversed(self._latest):
            table.add_row(*map(for_terminal, _cells(one)), style="red" if one["error"] else "")
        return table


def _cells(one: Mapping[str, Any]) -> Sequence[str]:
    timings = one["timings_ms"]
    first = "-" if timings["ttft"] is None else f"{timings['ttft']:.0f} ms"
    said = one["error"]["code"] if one["error"] else str(one["status"] or one["outcome"])
    return (
        one["timestamp"][11:19],
        one["model"] or one["requested_model"] or "-",
        one["user_id"],
        said,
        one["cache"] or "-",
        first,
        f"{timings['total']:.0f} ms",
        str(one["usage"]["total_tokens"]),
    )


def spark(values: Sequence[float]) -> str:
    """Values as a line of bars, the highest as high as a line is."""
    most = max(values, default=0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] if most else _BARS[0] for value in values)
