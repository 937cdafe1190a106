"""`enginehouse status`, `top`, `logs` and `bench`: what they make of what a service tells."""

import io
import json

import pytest
import typer
from rich.console import Console

from enginehouse.cli import app
from enginehouse.cli.bench import Load, Taken, figures_of, table_of
from enginehouse.cli.logs import line_of
from enginehouse.cli.status import headline
from enginehouse.cli.top import View, spark

WITHOUT = {
    "serve": "it is the service",
    "config example": "it prints a document",
    "config schema": "it prints JSON",
    "config reference": "it prints a document",
    "sessions export": "it prints JSON, or a document",
    "vectors export": "it prints JSON lines",
}
FIGURES = {
    "uptime_seconds": 3661.0,
    "requests_per_second": 2.0,
    "tokens_per_second": 90.0,
    "active": 1,
    "queued": 2,
    "last_minute": {
        "requests": 120,
        "errors": 6,
        "error_rate": 0.05,
        "requests_per_second": 2.0,
        "tokens_per_second": 80.4,
        "ttft_ms": {"p50": 80.4, "p95": 200.0, "p99": None},
        "latency_ms": {"p50": 700.0, "p95": None, "p99": None},
        "cache_hit_rate": 0.25,
    },
    "cost_today": 1.5,
    "memory": {"ram": {"budget": 8 * 10**9, "models": 2 * 10**9, "total": 1, "used": 1}},
}
REQUEST = {
    "timestamp": "2026-11-21T22:30:01.123+00:00",
    "request_id": "r1",
    "model": None,
    "requested_model": "evil\x1b]0;name\x07",
    "user_id": "ann",
    "status": 404,
    "outcome": "failed",
    "error": {"code": "model_not_found", "cause": "c", "message": "m"},
    "cache": None,
    "timings_ms": {"total": 12.3, "ttft": None},
    "usage": {"total_tokens": 7},
}


def commands(command, path=()):
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))
    if not getattr(command, "commands", {}) or command.invoke_without_command:
        yield " ".join(path), {option for parameter in command.params for option in parameter.opts}


def test_every_command_can_print_json():
    every = dict(commands(typer.main.get_command(app)))
    assert {name for name, options in every.items() if "--json" not in options} == WITHOUT.keys()
    assert {"status", "top", "logs", "bench"} <= every.keys()


def test_the_headline_says_what_a_person_asks_first():
    told = dict(headline(FIGURES))
    assert told["Requests"] == "2.0/s, 1 running, 2 waiting"
    assert told["First token"] == "80 ms p50, 200 ms p95"
    assert told["Latency"] == "700 ms p50, - p95"
    assert told["Errors"] == "5.0 % of 120 within the last minute"
    assert told["Cache"] == "25.0 % hits"
    assert told["Cost today"] == "$1.5000"
    assert told["Memory"] == "ram 2.0 GB of 8.0 GB by models"


def seen(view):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(view.render(40))
    return console.export_text()


def test_the_view_follows_the_events():
    view = View("http://here")
    models = {"tiny": {"status": "loading", "ram_mb": 200.0}, "big": {"status": "off"}}
    queues = {"tiny": {"active": 1, "slots": 2, "total": 3}}
    view.hear("full_status", {"figures": FIGURES, "models": models, "queues": queues, "history": [FIGURES]})
    assert "tiny   loading" in seen(view)
    view.hear("model_update", {"model_id": "tiny", "status": "ready", "ram_mb": 210.0})
    view.hear("model_update", {"model_id": "big", "status": "off", "change": "removed"})
    view.hear("queue_update", {"queues": {"tiny": {"active": 2, "slots": 2, "total": 5}}})
    view.hear("requests", {"requests": [REQUEST], "skipped": 0})
    view.hear("figures", {**FIGURES, "uptime_seconds": 7322.0})
    view.hear("something_new", {})
    text = seen(view)
    (line,) = [line for line in text.splitlines() if line.startswith("tiny")]
    assert line.split() == ["tiny", "ready", "2/2", "5", "210", "MB"]
    assert "big" not in text
    assert "up 2:02:02" in text
    assert "model_not_found" in text
    assert "\x1b" not in text


FLEET = {
    "owner": "up",
    "detail": None,
    "replicas": 2,
    "waiting": ["huge"],
    "nodes": [
        {
            "id": "0123456789",
            "host": "10.0.0.2",
            "health": "suspect",
            "labels": {},
            "memory": {"ram": {"budget": 8 * 10**9, "free": 3 * 10**9}},
            "placed": [
                {"id": "tiny", "model": "tiny", "stage": "ready", "memory": {}},
                {"id": "big\x1b]0;name\x07", "model": "big", "stage": "recalled", "memory": {}},
            ],
        }
    ],
}


def test_a_fleet_is_a_line_for_each_node():
    view = View("http://here")
    view.hear("full_status", {"figures": FIGURES, "models": {}, "queues": {}, "history": []})
    view.hear("status", {})
    assert "Node" not in seen(view)
    assert not view.fleet_is_old
    view.hear("status", {"fleet": FLEET})
    text = seen(view)
    (line,) = [line for line in text.splitlines() if line.startswith("10.0.0.2")]
    assert line.startswith("10.0.0.2 01234567  suspect  ram 3.0 GB of 8.0 GB  tiny, big")
    assert "(recalled)" in line
    assert "\x1b" not in text
    assert "Waiting for room: huge." in text
    for _ in range(5):
        assert not view.fleet_is_old
        view.hear("figures", FIGURES)
    assert view.fleet_is_old
    view.hear("status", {"fleet": {"owner": "away", "detail": "cut"}})
    assert "The owner of the fleet does not answer (cut)." in seen(view)


def test_replicas_are_shown_where_there_are_several():
    view = View("http://here")
    one = {**FIGURES, "on_the_way": 3}
    model = {"status": "ready", "replicas": {"a": {"status": "ready"}, "b": {"status": "off"}}}
    told = {**FIGURES, "replicas": {"a": one, "b": {**one, "on_the_way": 7}}}
    view.hear("full_status", {"figures": told, "history": [FIGURES], "models": {"tiny": model}, "queues": {}})
    written = seen(view)
    assert "ready (1 of 2)" in written
    rows = [line.split() for line in written.splitlines()]
    assert ["a", "3", "2.0/s", "80/s", "2.0", "GB", "1:01:01"] in rows
    assert [row[1] for row in rows if row[:1] == ["b"]] == ["7"]
    view.hear("full_status", {"figures": FIGURES, "models": {}, "queues": {}})
    assert "Replica" not in seen(view)


def test_sparks_are_as_high_as_their_values():
    assert spark([0, 1, 2, 4]) == " ▂▄█"
    assert spark([0, 0]) == "  "
    assert spark([]) == ""


def test_a_request_is_one_line():
    assert line_of(REQUEST).startswith("2026-11-21T22:30:01 evil")
    assert "404 model_not_found 12 ms 7 tokens cache=- r1" in line_of(REQUEST)


def test_figures_of_a_load():
    load = Load(model="m", requests=4, concurrency=2, prompt="p", max_tokens=5, warmup=0)
    taken = [
        Taken(first=0.1, total=1.1, tokens=11),
        Taken(first=0.3, total=1.3, tokens=11),
        Taken(total=0.2, error="no"),
    ]
    told = figures_of(load, taken, 2.0)
    assert (told["completed"], told["errors"], told["output_tokens"]) == (2, {"no": 1}, 22)
    assert (told["requests_per_second"], told["tokens_per_second"]) == (1.0, 11.0)
    assert told["ttft_ms"] == {"p50": 100.0, "p95": 300.0, "p99": 300.0, "max": 300.0}
    assert told["inter_token_ms"]["p50"] == pytest.approx(100)
    json.dumps(told)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table_of(told))
    text = console.export_text()
    assert "m, 2 at once: 2 of 3 in 2.0 s, 1.0 requests/s, 11 tokens/s" in text
    assert "Errors: 1 times no" in text


def test_figures_of_nothing():
    load = Load(model="m", requests=1, concurrency=1, prompt="p", max_tokens=5, warmup=0)
    told = figures_of(load, [Taken(total=0.1, error="no")], 0.1)
    assert told["ttft_ms"]["p50"] is None
    table_of(told)
