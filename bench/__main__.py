"""`python -m bench`: what Enginehouse adds to a request, and what its building blocks cost."""

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TypeVar

import msgspec
import typer
import uvloop
from rich.console import Console

from bench.access import access_costs
from bench.admission import line_cost
from bench.bytes import store_sizes
from bench.check import BARE, compared, read_kept, times_bare, write_kept
from bench.engine import estimates, hang_ups
from bench.flat import flatness, flatness_inside, soak
from bench.goals import SCENARIOS_OF_GOALS, goal_table
from bench.hits import hit_costs
from bench.jsons import costs
from bench.leaving import noticed
from bench.open_streams import open_cost
from bench.pages import write, write_part
from bench.peers import PEERS, installed
from bench.processes import ROOT, BenchError
from bench.profile import page, profile
from bench.prototypes import PROTOTYPES
from bench.recall import recall_costs
from bench.report import Table, beside_others, failures, markdown, show
from bench.run import Plan, Report, run
from bench.scenarios import DETAILS, SCENARIOS, Scenario
from bench.semantic import semantic_costs
from bench.shortlist import one_scope
from bench.simulate.command import decisions, simulate
from bench.sockets import socket_cost
from bench.systems import FULL, YARDSTICK
from bench.telemetry import telemetry_costs
from bench.turnover import turnover
from bench.usage import usage_costs
from bench.vectors import vector_costs
from enginehouse.stores.vectors.base import Quantization

__all__ = ["app"]

_MIB = 1024 * 1024
T = TypeVar("T")

app = typer.Typer(add_completion=False, help=__doc__)
app.command()(simulate)
app.command()(decisions)

Seconds = Annotated[float, typer.Option(min=0.5, max=600, help="Length of one measured window.")]
Rounds = Annotated[int, typer.Option(min=1, max=50, help="How often everything is measured.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Only this one of {', '.join(s.name for s in (*SCENARIOS, *DETAILS))}; may be given more than once."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON instead of tables.")]
Output = Annotated[Path | None, typer.Option(help="Write the page to this file.")]


@app.callback(invoke_without_command=True)
def gateway(
    context: typer.Context,
    gateway: Annotated[
        list[str] | None,
        typer.Option(
            help=f"enginehouse, {FULL} or prototype:LETTER; may be given more than once. "
            f"Default: both and {YARDSTICK}."
        ),
    ] = None,
    seconds: Seconds = 2,
    rounds: Rounds = 3,
    scenario: Only = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also what takes longer: shares, body sizes, hits, many open streams.")
    ] = False,
    output: Annotated[Path, typer.Option(help="The page to write.", show_default="docs/benchmarks.md")] = ROOT
    / "docs"
    / "benchmarks.md",
    as_json: AsJson = False,
) -> None:
    """Measure Enginehouse beside the bare prototype and write docs/benchmarks.md."""
    if context.invoked_subcommand is None:
        names = list(dict.fromkeys(gateway or ["enginehouse", FULL, YARDSTICK]))
        everything = [one.name for one in (*SCENARIOS, *DETAILS)] if details else None
        _measure(_plan(names, scenario or everything, seconds, rounds), output, as_json)


@app.command()
def prototypes(
    seconds: Seconds = 2,
    rounds: Rounds = 3,
    scenario: Only = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure the measuring sticks side by side."""
    names = [f"prototype:{letter}" for letter in PROTOTYPES]
    _measure(_plan(names, scenario, seconds, rounds), output, as_json)


@app.command()
def peers(
    seconds: Seconds = 5,
    rounds: Rounds = 3,
    scenario: Only = None,
    output: Annotated[Path, typer.Option(help="The page to write.", show_default="docs/peers.md")] = ROOT
    / "docs"
    / "peers.md",
    as_json: AsJson = False,
) -> None:
    """Install LiteLLM and Portkey into folders of their own, and measure Enginehouse beside them."""
    console = Console(stderr=True)
    for name in PEERS:
        with console.status(f"installing {name}, once"):
            try:
                installed(name)
            except BenchError as error:
                console.print(str(error), style="red", markup=False)
                raise typer.Exit(1) from error
    names = ["enginehouse", FULL, *PEERS, YARDSTICK, BARE]
    plan = _plan(names, scenario or ["saturation", "streams"], seconds, rounds)
    summary = None if scenario else ROOT / "docs" / "benchmarks.md"
    _measure(plan, output, as_json, title="Beside other gateways", renewal="make bench-peers", part=summary)


@app.command()
def check(
    seconds: Seconds = 4,
    rounds: Rounds = 5,
    scenario: Only = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep these figures instead of comparing them.")] = False,
) -> None:
    """Say whether a request takes more than 10 % more of the processor than it did, beside the bare prototype."""
    plan = _plan(["enginehouse", FULL, BARE], scenario or ["saturation", "streams"], seconds, rounds)
    report = _run(plan, Console(stderr=True))
    if keep:
        write_kept(report)
    verdicts = compared(times_bare(report), read_kept())
    print("    now     kept")
    for one in verdicts:
        kept = "" if one.kept is None else f"{one.kept:.2f}"
        print(f"{one.now:7.2f} {kept:>8}  {one.name}{'  WORSE' if one.worse else ''}")
    for line in failures(report):
        print(line)
    raise typer.Exit(1 if failures(report) or any(one.worse for one in verdicts) else 0)


@app.command()
def goals(
    seconds: Seconds = 3,
    rounds: Rounds = 5,
    output: Annotated[Path, typer.Option(help="The page to write.", show_default="docs/goals.md")] = ROOT
    / "docs"
    / "goals.md",
    as_json: AsJson = False,
) -> None:
    """Hold everything on against the goals of the hot path, beside the bare prototype, and write docs/goals.md."""
    plan = _plan([FULL, BARE], list(SCENARIOS_OF_GOALS), seconds, rounds)
    _measure(plan, output, as_json, "Goals of the hot path", "make bench-goals", goal_table)


@app.command("json")
def json_(size: Annotated[int, typer.Option(min=300, help="Least bytes of the body.")] = 4096) -> None:
    """Measure JSON libraries on a chat request."""
    for cost in costs(size):
        print(f"{cost.microseconds:8.2f} µs  {cost.operation}")


@app.command()
def admission(waiters: Annotated[int, typer.Option(min=1, help="How many wait.")] = 10_000) -> None:
    """Measure a long line of waiting requests."""
    cost = line_cost(waiters)
    print(f"{cost.decisions_per_second:10,.0f}  decisions a second, {cost.waiters:,} waiting")
    print(f"{cost.bytes_per_waiter:10,.0f}  bytes for each who waits")


@app.command()
def access(times: Annotated[int, typer.Option(min=100, help="How many requests of each kind.")] = 2000) -> None:
    """Measure what identity, limits and the ledger add to a request, in memory and SQLite mode."""
    costs = _as_served(access_costs(times))
    print("callers  known+counted  recorded     p50      p95  CPU  µs")
    for cost in costs:
        parts = f"{cost.callers:7} {cost.entry:14.1f} {cost.record:9.1f}"
        print(f"{parts} {cost.p50:7.1f} {cost.p95:8.1f} {cost.cpu:4.0f}  {cost.name}")


@app.command()
def telemetry(
    times: Annotated[int, typer.Option(min=100, max=9999, help="How many requests of each kind.")] = 9000,
) -> None:
    """Measure what being followed, counted, kept and logged costs a request."""
    print("    mean      p50      p95  µs")
    for cost in _as_served(telemetry_costs(times)):
        print(f"{cost.mean:8.1f} {cost.p50:8.1f} {cost.p95:8.1f}  {cost.name}")


@app.command()
def flat(
    requests: Annotated[int, typer.Option(min=1000, help="How many in all.")] = 200_000,
    inside: Annotated[bool, typer.Option("--inside", help="Telemetry alone, without a service.")] = False,
) -> None:
    """Say whether memory stays within 5 % over very many requests, with all telemetry on."""
    errors = sys.stderr

    def progress(line: str) -> None:
        print(line, file=errors)

    found = asyncio.run(flatness_inside(requests, progress)) if inside else flatness(requests, progress)
    print(f"{found.requests:,} requests in {found.seconds:.0f} s, {found.failures} failed")
    least, most = (pick(look.bytes for look in found.looks) / _MIB for pick in (min, max))
    print(f"{least:.1f} to {most:.1f} MiB, median {found.median / _MIB:.1f}: within {found.deviation:.1%} of it")
    raise typer.Exit(0 if found.deviation <= 0.05 and not found.failures else 1)


@app.command()
def leaving(times: Annotated[int, typer.Option(min=1, help="How often in each case.")] = 200) -> None:
    """Measure how soon a caller who leaves is noticed, by the end of the connection to the engine."""
    console = Console(stderr=True)
    try:
        with console.status("leaving"):
            found = asyncio.run(noticed(times))
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    print("     p50      p99    worst  ms")
    for one in found:
        print(f"{one.took.p50:8.2f} {one.took.p99:8.2f} {one.took.max:8.2f}  {one.case}, {one.took.count} times")


@app.command("profile")
def profile_(
    scenario: Annotated[str, typer.Option(help="What is asked.")] = "saturation",
    seconds: Annotated[float, typer.Option(min=1, help="How long it is looked at.")] = 20,
    output: Annotated[Path, typer.Option(help="The page to write.", show_default="docs/hot-path-profile.md")] = ROOT
    / "docs"
    / "hot-path-profile.md",
) -> None:
    """Look with py-spy where everything on takes its time, and write a page and a picture of it."""
    console = Console(stderr=True)
    picture = output.parent / "images" / f"{output.stem}.svg"
    with console.status("looking"):
        try:
            found = profile(scenario, seconds, _command(), picture)
        except BenchError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from error
    output.write_text(page(found, f"images/{picture.name}"))
    print(f"{found.samples:,} stacks at {found.answers:,.0f} requests a second: {output}")


@app.command("soak")
def soak_(minutes: Annotated[float, typer.Option(min=1, help="How long.")] = 10) -> None:
    """Ask for minutes with everything on, and say whether memory grows: its slope once all has warmed up."""
    found = soak(minutes, lambda line: print(line, file=sys.stderr))
    slope = found.slope
    print(f"{found.requests:,} requests in {found.seconds:.0f} s, {found.failures} failed")
    line = f"{slope.hourly / _MIB:+.1f} MiB an hour, standard error {slope.error / _MIB:.1f}"
    print(f"median {found.median / _MIB:.1f} MiB, {line}: {'noise' if slope.is_noise else 'IT GROWS'}")
    raise typer.Exit(0 if slope.is_noise and not found.failures else 1)


@app.command("bytes")
def bytes_(
    postgres: Annotated[str, typer.Option(help="An empty PostgreSQL database.")],
    redis: Annotated[str, typer.Option(help="A Redis with nothing in it.")],
    records: Annotated[int, typer.Option(min=1000, help="How many of each kind.")] = 100_000,
) -> None:
    """Measure how many bytes a record, a message and an answer take of PostgreSQL and Redis."""
    with Console(stderr=True).status("starting") as status:
        sizes = asyncio.run(store_sizes(records, postgres, redis, status.update))
    print("   bytes  indexes")
    for size in sizes:
        print(f"{size.bytes:8,.0f} {size.indexes:8,.0f}  {size.what}")


@app.command()
def recall(
    entries: Annotated[int, typer.Option(min=20_000, help="Answers that are there already.")] = 1_000_000,
) -> None:
    """Measure what the cache adds to a request, and what an answer takes of memory."""
    costs, taken = asyncio.run(recall_costs(entries))
    print("     p50      p95      p99    worst  µs")
    for cost in costs:
        print(f"{cost.p50:8.1f} {cost.p95:8.1f} {cost.p99:8.1f} {cost.worst:8.1f}  {cost.name}")
    print(f"{taken:8.0f}  bytes of the process for an entry, of {entries}")


@app.command()
def hits(houses: Annotated[int, typer.Option(min=1, help="A hundred questions about each.")] = 10) -> None:
    """Measure hits through HTTP, the very same and in other words, and misses with and without a cache."""
    console = Console(stderr=True)
    with console.status("starting") as status:
        costs = hit_costs(houses, status.update)
    print("     p50      p95      p99  ms")
    for cost in costs:
        print(f"{cost.p50:8.2f} {cost.p95:8.2f} {cost.p99:8.2f}  {cost.name}: {cost.so:,} of {cost.count:,}")


@app.command()
def engine() -> None:
    """Measure how soon a caller who leaves frees the bundled engine's slot, and the engine's memory."""
    print("seconds until the slot is free:   plain    ours")
    for left in asyncio.run(hang_ups()):
        print(f"{left.case:32}  {left.plain:6.2f}  {left.ours:6.2f}")
    print("MiB:                          estimated  measured  ratio")
    for shape in asyncio.run(estimates()):
        name = f"{shape.slots} x {shape.context} {' '.join(shape.flags)}"
        sizes = f"{shape.estimated / _MIB:9.0f} {shape.measured / _MIB:9.0f}"
        print(f"{name:28} {sizes}  {shape.estimated / shape.measured:5.2f}")


@app.command()
def usage(
    records: Annotated[int, typer.Option(min=1, help="How many records the month has.")] = 1_000_000,
    url: Annotated[
        str, typer.Option(help="An empty PostgreSQL database; else SQLite in a folder of its own.")
    ] = "",
    fsync: Annotated[bool, typer.Option("--fsync", help="SQLite waits for the disk.")] = False,
) -> None:
    """Measure questions about a month of usage, and writing a record."""
    console = Console(stderr=True)
    with console.status("starting") as status:
        figures = asyncio.run(usage_costs(records, url, fsync, status.update))
    print("     p50      p95  ms")
    for figure in figures:
        print(f"{figure.p50:8.2f} {figure.p95:8.2f}  {figure.name}")


@app.command()
def residency(
    rounds: Annotated[int, typer.Option(min=1, help="How often models are loaded and swapped.")] = 7,
) -> None:
    """Measure what residency adds to a request, a cold load and a swap."""
    cost = asyncio.run(turnover(rounds))
    print(f"{cost.lease_microseconds:8.1f} µs  a lease on a loaded model, p50")
    print(f"{cost.seat_microseconds:8.1f} µs  a slot and a lease, p50")
    print(f"{cost.load_added_milliseconds:8.1f} ms  added to a cold load of {cost.load_seconds:.2f} s")
    print(f"{cost.swap_added_milliseconds:8.1f} ms  added to a swap of {cost.swap_seconds:.2f} s")


@app.command()
def sockets(
    number: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 1000,
    tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 40,
    interval: Annotated[float, typer.Option(min=0.01, help="Seconds from one token to the next.")] = 1.0,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which the questions come.")] = 20.0,
) -> None:
    """Measure many WebSockets, each with a slow answer: delay of tokens, memory of a socket."""
    cost = socket_cost(number, tokens, interval, spread)
    print(f"{cost.tokens:10,}  tokens over {cost.sockets:,} sockets, all of which were answered to the end")
    delay = cost.delay
    print(f"{delay.p50:10.2f}  ms a token is held up, p50; p99 {delay.p99:.2f}, most {delay.max:.2f}")
    print(f"{cost.direct.p50:10.2f}  ms without the service at the same time, p50; p99 {cost.direct.p99:.2f}")
    print(f"{cost.idle_bytes / 1024:10.1f}  KiB for each open socket")
    print(f"{cost.streaming_bytes / 1024:10.1f}  KiB for each with its answer, session and upstream connection")
    print(f"{cost.cpu_microseconds:10.0f}  µs of the service's processor a token")
    wanted = f"s its loop waited for a processor that others had, beside {cost.cpu_wanted:.1f} s on one"
    print(f"{cost.cpu_waited:10.1f}  {wanted}")


@app.command()
def open_streams(
    gateway: Annotated[list[str] | None, typer.Option(help="Which are weighed; may be repeated.")] = None,
    number: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 1000,
    warm: Annotated[int, typer.Option(min=0, help="Streams before them.")] = 300,
) -> None:
    """Measure what an open stream weighs, in a process that has nothing else to keep."""
    for name in gateway or [FULL, "enginehouse", YARDSTICK]:
        cost = open_cost(name, number, warm)
        weighs = f"KiB for each of {cost.streams:,} open streams"
        print(f"{cost.open_bytes / 1024:8.1f}  {weighs}, {cost.left_bytes / 1024:.1f} when all have ended: {name}")


@app.command()
def vectors(
    points: Annotated[int, typer.Option(min=1000, help="How many.")] = 100_000,
    size: Annotated[int, typer.Option(min=2, help="Numbers in each vector.")] = 384,
    quantization: Annotated[Quantization | None, typer.Option(help="Also keep them smaller.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder that stays; run it again to search only.")] = None,
) -> None:
    """Measure the embedded index: ingest, searches, recall and memory."""
    with Console(stderr=True).status("making vectors") as status:
        cost = asyncio.run(vector_costs(points, size, quantization, keep, status.update))
    if cost.points_per_second is not None:
        print(f"{cost.points_per_second:10,.0f}  points a second, acknowledged, in batches of 1,000")
    print(f"{cost.seconds_until_indexed:10,.1f}  s from the last point until {cost.indexed:,} are in the graph")
    for searches in cost.searches:
        timing = f"p50 {searches.p50:.2f} ms, p95 {searches.p95:.2f} ms"
        print(f"{searches.recall:10.4f}  recall@10, {timing}: {searches.name}")
    print(f"{cost.rss_mib:10,.0f}  MiB in memory, {cost.disk_mib:,.0f} MiB on disk")
    print(f"{cost.reopened:10,.2f}  s to open it again")


def _as_served(work: Coroutine[Any, Any, T]) -> T:
    """On the event loop that the service runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@app.command()
def semantic(
    entries: Annotated[int, typer.Option(min=1000, help="How many questions are stored.")] = 1_000_000,
    scopes: Annotated[int, typer.Option(min=1, help="Over how many scopes they are spread.")] = 1000,
) -> None:
    """Measure a look into the semantic cache: embedding, search, vetoes and score, recall and memory."""
    with Console(stderr=True).status("starting") as status:
        cost = _as_served(semantic_costs(entries, scopes, status.update))
    print("     p50      p95  ms")
    print(f"{cost.search[0]:8.2f} {cost.search[1]:8.2f}  search in one of {scopes:,} scopes of {cost.entries:,}")
    print(f"{cost.whole[0]:8.2f} {cost.whole[1]:8.2f}  embedding, search, vetoes and score")
    print(f"         {cost.first:8.2f}  first look into a scope")
    print(f"{cost.recall:8.4f}  recall@1 against exact search")
    print(f"{cost.rss_mib:8,.0f}  MiB in memory, the embedder with them")


@app.command()
def shortlist(
    entries: Annotated[int, typer.Option(min=10_000, help="How many questions one scope has.")] = 100_000,
) -> None:
    """Measure one large scope of the semantic cache, beside a search graph (HNSW) of the same bytes."""
    console = Console(stderr=True)
    with console.status("starting") as status:
        ways = one_scope(entries, status.update)
    print("  recall@1      p50      p95  ms   built s   MiB")
    for way in ways:
        times = f"{way.recall:10.4f} {way.p50:8.2f} {way.p95:8.2f}"
        print(f"{times} {way.built:13.1f} {way.mib:5.0f}  {way.name}")


def _plan(gateways: list[str], only: list[str] | None, seconds: float, rounds: int) -> Plan:
    return Plan(gateways=gateways, scenarios=_chosen(only), seconds=seconds, rounds=rounds)


def _chosen(only: list[str] | None) -> list[Scenario]:
    """Those that are named, in their own order, and what a share is a part of."""
    known = {scenario.name: scenario for scenario in (*SCENARIOS, *DETAILS)}
    wanted = set(only or (scenario.name for scenario in SCENARIOS))
    if unknown := wanted - set(known):
        raise typer.BadParameter(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted |= {known[name].share_of for name in wanted if known[name].share}
    return [known[name] for name in known if name in wanted]


def _measure(
    plan: Plan,
    output: Path | None,
    as_json: bool,
    title: str = "Benchmarks",
    renewal: str = "make bench",
    summary: Callable[[Report], Table] | None = None,
    part: Path | None = None,
) -> None:
    """Run the plan; exit 1 when it could not be measured or requests failed.

    Args:
        part: the page that has the other gateways' ratios as a part.
    """
    signal.signal(signal.SIGTERM, _terminated)
    report = _run(plan, Console(stderr=True))
    first = [] if summary is None else [summary(report)]
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        show(report, Console(), first)
    if output is not None:
        write(output, markdown(report, title, renewal, first))
    if part is not None:
        write_part(part, "peers", beside_others(report))
    raise typer.Exit(1 if failures(report) else 0)


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
    """End by an exception, so that every child is stopped on the way out."""
    raise SystemExit(128 + number)


def _command() -> str:
    return f"python -m bench {shlex.join(sys.argv[1:])}".strip()


def _run(plan: Plan, console: Console) -> Report:
    with console.status("starting") as status:
        try:
            return run(plan, _command(), status.update)
        except BenchError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from error


if __name__ == "__main__":
    app(prog_name="python -m bench")
