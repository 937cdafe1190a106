"""How the command line shows that files arrive."""

import io
import json

import pytest
from rich.console import Console

from enginehouse.cli.progress import Bars, JsonLines, PlainLines, shown

MB = 1_000_000


def arrive(progress, total, steps=100):
    progress.started("m.gguf", total, 0)
    for _ in range(steps):
        progress.advanced("m.gguf", MB)
    progress.finished("m.gguf")


def test_plain_lines_come_at_every_tenth():
    lines = []
    arrive(PlainLines(lines.append), 100 * MB)
    assert lines == [
        "m.gguf: 100.0 MB",
        *(f"m.gguf: {share} % of 100.0 MB" for share in range(10, 101, 10)),
        "m.gguf: complete",
    ]


def test_plain_lines_of_an_unknown_size_count_bytes():
    lines = []
    arrive(PlainLines(lines.append), None, steps=200)
    assert lines == [
        "m.gguf: unknown size",
        "m.gguf: 68.0 MB",
        "m.gguf: 135.0 MB",
        "m.gguf: complete",
    ]


def test_plain_lines_say_where_it_goes_on_and_why_it_waits():
    lines = []
    progress = PlainLines(lines.append)
    progress.started("m.gguf", 100 * MB, 42 * MB)
    progress.advanced("m.gguf", 7 * MB)
    progress.waiting("m.gguf", "h.example was silent for 60 s; next try in 1 s")
    progress.advanced("m.gguf", 1 * MB)
    assert lines == [
        "m.gguf: 100.0 MB, going on after 42.0 MB",
        "m.gguf: h.example was silent for 60 s; next try in 1 s",
        "m.gguf: 50 % of 100.0 MB",
    ]


@pytest.mark.parametrize("total", [0, 1])
def test_tiny_files(total):
    lines = []
    progress = PlainLines(lines.append)
    progress.started("t", total, 0)
    progress.advanced("t", total)
    progress.finished("t")
    assert lines[-1] == "t: complete"


def test_json_lines():
    lines = []
    progress = JsonLines(lines.append)
    progress.waiting("m.gguf", "why")
    arrive(progress, 1000 * MB, steps=1000)
    events = [json.loads(line) for line in lines]
    assert events[0] == {"event": "waiting", "name": "m.gguf", "reason": "why"}
    assert events[1] == {"event": "started", "name": "m.gguf", "total": 1000 * MB, "already": 0}
    assert [e["done"] for e in events if e["event"] == "advanced"] == [n * 10 * MB for n in range(1, 101)]
    assert events[-1] == {"event": "finished", "name": "m.gguf"}


def test_bars_show_bytes_and_come_again():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with Bars(console) as bars:
        bars.started("m[1].gguf", 100 * MB, 0)
        bars.advanced("m[1].gguf", 30 * MB)
        bars.waiting("m[1].gguf", "[the line broke]")
        bars.started("m[1].gguf", 100 * MB, 30 * MB)
        bars.advanced("m[1].gguf", 70 * MB)
        bars.finished("m[1].gguf")
        bars.finished("never begun")
    assert "m[1].gguf: [the line broke]" in screen.getvalue()
    assert "100.0/100.0 MB" in screen.getvalue()


def test_bars_of_an_unknown_size_end_full():
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=120)) as bars:
        bars.started("m.gguf", None, 0)
        bars.advanced("m.gguf", 5 * MB)
        bars.finished("m.gguf")
    assert "5.0/5.0 MB" in screen.getvalue()


def test_bars_are_for_terminals():
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True)) as progress:
        assert isinstance(progress, Bars)
    with shown(Console(file=screen, force_terminal=False)) as progress:
        assert isinstance(progress, PlainLines)
        progress.waiting("m[1].gguf", "[why]")
    assert screen.getvalue().endswith("m[1].gguf: [why]\n")
