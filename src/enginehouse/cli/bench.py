"""`enginehouse bench`: how many requests a running service answers at once, and how soon."""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from enginehouse.cli.console import for_terminal, remarks, results
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service
from enginehouse.errors import EnginehouseError

__all__ = ["Load", "Taken", "figures_of", "run_bench", "take"]

_FRESH = {"Cache-Control": "no-cache, no-store"}
"""Answers from the cache would tell nothing of the model."""


class Load(Struct, frozen=True, kw_only=True):
    """What is asked."""

    model: str
    requests: int
    concurrency: int
    prompt: str
    max_tokens: int
    warmup: int


class Taken(Struct, frozen=True, kw_only=True):
    """One request; times are in seconds."""

    first: float | None = None
    """To the first words."""
    total: float
    tokens: int = 0
    """That were written."""
    error: str = ""


def run_bench(load: Load, *, config: Path | None, url: str | None, key: str | None, as_json: bool) -> int:
    """Ask, and print figures; exit code 1 when no request was answered.

    Raises:
        EnginehouseError: nobody answers.
    """
    figures = asyncio.run(_run(*service_of(config, url, key), load, quiet=as_json))
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        results().print(table_of(figures))
    return 0 if figures["completed"] else 1


async def _run(url: str, key: str | None, load: Load, *, quiet: bool) -> dict[str, Any]:
    async with Service(url, key, _FRESH) as service:
        if not await service.is_ours():
            await service.models()  # says what is wrong there
        for _ in range(load.warmup):
            await take(service, load)
        with _bar(load.requests, quiet=quiet) as advance:
            began = time.perf_counter()
            taken = await _all(service, load, advance)
            return figures_of(load, taken, time.perf_counter() - began)


async def _all(service: Service, load: Load, advance: Callable[[], None]) -> list[Taken]:
    taken: list[Taken] = []
    numbers = iter(range(load.requests))

    async def caller() -> None:
        for _ in numbers:
            taken.append(await take(service, load))
            advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(load.concurrency, load.requests)):
            group.create_task(caller())
    return taken


async def take(service: Service, load: Load) -> Taken:
    """One request, whatever becomes of it."""
    body = {
        "model": load.model,
        "messages": [{"role": "user", "content": load.prompt}],
        "max_tokens": load.max_tokens,
        "stream_options": {"include_usage": True},
        "stream": True,
    }
    began, first, words, counted = time.perf_counter(), None, 0, 0
    try:
        async with service.chat(body) as frames:
            async for frame in frames:
                said = _said(frame)
                if said.error:
                    return Taken(total=time.perf_counter() - began, error=said.error)
                words += said.words
                counted = said.tokens or counted
                first = time.perf_counter() - began if first is None and said.words else first
    except EnginehouseError as error:
        return Taken(total=time.perf_counter() - began, error=error.message[:200])
    return Taken(first=first, total=time.perf_counter() - began, tokens=counted or words)


class _Said(Struct, frozen=True):
    words: int
    tokens: int
    error: str


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta = _Delta()


class _Usage(Struct):
    completion_tokens: int = 0


class _Failure(Struct):
    message: str = "it failed"


class _Frame(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Failure | None = None


_frame = msgspec.json.Decoder(_Frame).decode


def _said(payload: bytes) -> _Said:
    frame = _frame(payload)
    words = sum(bool(choice.delta.content) for choice in frame.choices)
    return _Said(
        words, frame.usage.completion_tokens if frame.usage else 0, frame.error.message if frame.error else ""
    )


@contextmanager
def _bar(total: int, *, quiet: bool) -> Generator[Callable[[], None]]:
    """A bar on a terminal's standard error; gives what moves it on."""
    console = remarks()
    columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("requests", total=total)
        yield lambda: progress.advance(task)


def figures_of(load: Load, taken: Sequence[Taken], seconds: float) -> dict[str, Any]:
    """What it came to; times in milliseconds."""
    good = [one for one in taken if not one.error]
    tokens = sum(one.tokens for one in good)
    paces = [(one.total - one.first) / (one.tokens - 1) for one in good if one.first is not None and one.tokens > 1]
    return {
        "model": load.model,
        "requests": len(taken),
        "concurrency": load.concurrency,
        "completed": len(good),
        "errors": dict(Counter(one.error for one in taken if one.error).most_common()),
        "seconds": round(seconds, 3),
        "requests_per_second": round(len(good) / seconds, 3) if seconds else None,
        "tokens_per_second": round(tokens / seconds, 3) if seconds else None,
        "output_tokens": tokens,
        "ttft_ms": _percentiles([one.first for one in good if one.first is not None]),
        "inter_token_ms": _percentiles(paces),
        "latency_ms": _percentiles([one.total for one in good]),
    }


def table_of(figures: Mapping[str, Any]) -> Table:
    """The same for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "p50", "p95", "p99", "max"):
        table.add_column(title, justify="left" if not title else "right")
    for title, name in {
        "First token": "ttft_ms",
        "Between tokens": "inter_token_ms",
        "Whole answer": "latency_ms",
    }.items():
        table.add_row(title, *(_ms(figures[name][share]) for share in ("p50", "p95", "p99", "max")))
    asked = f"{figures['completed']} of {figures['requests']} in {figures['seconds']:.1f} s"
    rates = f"{figures['requests_per_second']:.1f} requests/s, {figures['tokens_per_second']:.0f} tokens/s"
    table.title = for_terminal(f"{figures['model']}, {figures['concurrency']} at once: {asked}, {rates}")
    table.title_justify = "left"
    if figures["errors"]:
        told = "; ".join(f"{count} times {message}" for message, count in figures["errors"].items())
        table.caption = for_terminal(f"Errors: {told}")
        table.caption_justify = "left"
    return table


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)] * 1000, 3)
        for name, share in shares.items()
    }


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
