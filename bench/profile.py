"""Where the hot path takes its time: py-spy's samples of the gateway at saturation, by room and by function.

A sampler from outside changes little of what it looks at; to a tracer within, every call would look dear. Threads
that wait for work are left out; the picture shows who held the interpreter.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.load import Sample
from bench.machine import Machine, this_machine
from bench.processes import ROOT, BenchError, Cores, tied
from bench.report import Table, machine_lines, table_lines
from bench.scenarios import DETAILS, SCENARIOS, Scenario
from bench.systems import FULL, System, standing

__all__ = ["Profile", "Share", "page", "profile", "shares"]

_RATE = 250
"""Samples a second."""
_MOST_FUNCTIONS = 40
_WARM = 3.0
"""Seconds of asking before the first sample."""
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")
_PACKAGE = "enginehouse/"
_ELSEWHERE = re.compile(r"/[^\s()<>\"]*/lib/python[\d.]+/(site-packages/)?")
"""Where this machine keeps what everybody has."""
_TITLE = re.compile(r">[^<]*py-spy record[^<]*")
"""The command with all its paths."""
_OUTSIDE = "libraries"
_WAITING = re.compile(r"(_worker \(.*/thread\.py:\d+|wait \(.*/(threading|selectors)\.py:\d+)\)$")
"""The innermost frame of a thread that has nothing to do; to py-spy it often looks busy."""


class Share(Struct, frozen=True, kw_only=True):
    """A part of all samples."""

    name: str
    alone: float
    """Those in which this one ran itself, be it in C that it called."""
    within: float
    """Those in which it, or something that it had called, ran."""


class Profile(Struct, frozen=True, kw_only=True):
    """What the gateway was found at."""

    machine: Machine
    date: str
    command: str
    scenario: str
    samples: int
    answers: float
    """A second, while it was looked at; the sampler stops it for each look."""
    rooms: list[Share]
    functions: list[Share]


def profile(scenario: str, seconds: float, command: str, flames: Path | None) -> Profile:
    """Look at everything on while it is asked all it can.

    Args:
        scenario: by name.
        seconds: how long; as long again for the picture.
        command: by which it can be repeated.
        flames: a file for the picture of all stacks (SVG); none is drawn when left out.

    Raises:
        BenchError: a process did not come up, py-spy may not look, or there is no such scenario.
    """
    known = {one.name: one for one in (*SCENARIOS, *DETAILS)}
    if scenario not in known:
        raise BenchError(f"There is no scenario {scenario!r}. There are: {', '.join(known)}.")
    cores = Cores.of_this_machine()
    with (
        tempfile.TemporaryDirectory() as name,
        standing([FULL], [known[scenario].model], Path(name), cores) as (_, system),
    ):
        raw = Path(name) / "stacks"
        answers = _looked_at(system, known[scenario], seconds, cores, "raw", raw, "--full-filenames")
        if flames is not None:
            _looked_at(system, known[scenario], seconds, cores, "flamegraph", flames, "--gil")
            flames.write_text(_TITLE.sub(">py-spy record --gil", _ELSEWHERE.sub("", flames.read_text())))
        stacks = _busy(raw.read_text().splitlines())
    rooms, functions = shares(stacks)
    return Profile(
        machine=this_machine(),
        date=time.strftime("%Y-%m-%d"),
        command=command,
        scenario=known[scenario].title,
        samples=sum(int(line.rpartition(" ")[2]) for line in stacks),
        answers=answers,
        rooms=rooms,
        functions=functions,
    )


def page(found: Profile, picture: str) -> str:
    """As a page for the documentation; `picture` is where the page finds that of the stacks."""
    rooms = [[one.name, f"{one.alone:.1%}", f"{one.within:.1%}"] for one in found.rooms]
    functions = [
        [f"`{one.name}`", f"{one.alone:.1%}", f"{one.within:.1%}"] for one in found.functions[:_MOST_FUNCTIONS]
    ]
    columns = ["", "itself", "with what it calls"]
    return "\n".join(
        [
            "# A profile of the hot path",
            "",
            f"Written on {found.date} by `{found.command}`; a later run replaces this page.",
            "`make bench-profile` renews it.",
            "",
            f"Everything on, one pinned core, *{found.scenario}*: py-spy looked {_RATE} times a second",
            f"and found {found.samples:,} stacks of threads that were at work, while {found.answers:,.0f} requests",
            "a second were answered (the sampler stops the process for each look). *Itself* is where a thread was,",
            "be it in C that was called from there: sockets, parsers, SQLite. What runs in a library counts for",
            "that one: `Runner.run` is the event loop with what it does of its own.",
            "",
            f"[All stacks as a picture]({picture}): who held the interpreter, from the same run.",
            "",
            *machine_lines(found.machine),
            "",
            *table_lines(Table("Rooms", columns, rooms)),
            *table_lines(Table(f"The first {_MOST_FUNCTIONS} functions", columns, functions)),
        ]
    )


def shares(stacks: Sequence[str]) -> tuple[list[Share], list[Share]]:
    """Rooms and functions of stacks (`outermost;…;innermost count`), the largest first.

    A room is a package of ours, to its second level; what runs in a library counts for it, not for who called it.
    """
    total, alone, within = 0, (Counter[str](), Counter[str]()), (Counter[str](), Counter[str]())
    for line in stacks:
        stack, _, said = line.rpartition(" ")
        count = int(said)
        frames = [_named(frame) for frame in stack.split(";")]
        total += count
        for kind in (0, 1):
            alone[kind][frames[-1][kind]] += count
            for name in {frame[kind] for frame in frames}:
                within[kind][name] += count
    rooms, functions = (
        [
            Share(name=name, alone=alone[kind][name] / total, within=count / total)
            for name, count in sorted(found.items(), key=lambda one: (-alone[kind][one[0]], -one[1]))
        ]
        for kind, found in enumerate(within)
    )
    return rooms, functions


def _busy(stacks: Sequence[str]) -> list[str]:
    return [line for line in stacks if not _WAITING.search(line.rpartition(" ")[0])]


def _named(frame: str) -> tuple[str, str]:
    """Its room, and what it is called with its module."""
    found = _FRAME.match(frame)
    if found is None:
        return _OUTSIDE, frame
    file = found["file"]
    if _PACKAGE not in file:
        return _OUTSIDE, f"{found['function']} ({Path(file).name})"
    inner = file.rpartition(_PACKAGE)[2]
    return "/".join(Path(inner).parent.parts[:2]) or "enginehouse", f"{found['function']} ({inner})"


def _looked_at(
    system: System, scenario: Scenario, seconds: float, cores: Cores, form: str, output: Path, *options: str
) -> float:
    """Ask for so long, and have py-spy write what it saw; returns answers a second."""
    assert system.gateway is not None, "the baseline is not looked at"
    pid = system.gateway.pid
    work = scenario.work(system.port, pid, system.upstream.pid, _WARM + seconds + 2, system.headers)
    command = tied([sys.executable, "-m", "bench.load"], cores.bench)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        assert load.stdin is not None, "it has one"
        load.stdin.write(msgspec.json.encode(work))
        load.stdin.close()
        time.sleep(_WARM)
        looking = ["--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(_RATE), *options]
        looked = subprocess.run(
            [_py_spy(), "record", *looking, "--format", form, "--output", str(output)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert load.stdout is not None, "it has one"
        sample = msgspec.json.decode(load.stdout.read(), type=Sample)
    if looked.returncode:
        raise BenchError(f"py-spy could not look:\n{looked.stderr[-2000:]}")
    return sample.answers / sample.seconds


def _py_spy() -> str:
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise BenchError("There is no py-spy: `make setup` installs it.")
    return found
