"""Prints a run as tables, and writes it as the page `docs/benchmarks.md`."""

from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table as RichTable

from bench.figures import Band, Figure, Neighbours, band, figures, gather, is_bench_bound
from bench.machine import Machine
from bench.peers import PEERS
from bench.prototypes import PROTOTYPES
from bench.run import Report
from bench.scenarios import Scenario
from bench.systems import DIRECT, FULL, YARDSTICK

__all__ = ["Table", "beside_others", "failures", "machine_lines", "markdown", "show", "table_lines", "tables"]

_BUSY = 0.1
"""Share of the machine's CPU time from which on others disturb a run."""


class Table(Struct, frozen=True):
    """Rows of text under a title, before anybody has decided how they look."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """A table a scenario, and one of what the gateways cost by being there."""
    scenarios = [_scenario_table(report, scenario) for scenario in report.plan.scenarios]
    return [*scenarios, _presence_table(report), *_peer_tables(report)]


def failures(report: Report) -> list[str]:
    """A line for each measurement in which requests failed: its figures are not to be trusted."""
    return [
        f"{m.scenario}, {m.system}, round {m.round + 1}: {reason}, {count} times"
        for m in report.measurements
        for reason, count in m.sample.failures.items()
    ]


def show(report: Report, console: Console, first: Sequence[Table] = ()) -> None:
    """Print all tables, after those of the caller's own."""
    for table in (*first, *tables(report)):
        shown = RichTable(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(cell.replace(" (", "\n(") for cell in row))
        console.print(shown)
    for line in [*_notes(report), *(f"[red]failed[/red] {line}" for line in failures(report))]:
        console.print(line)


def markdown(
    report: Report, title: str = "Benchmarks", renewal: str = "make bench", first: Sequence[Table] = ()
) -> str:
    """The page: how it was measured, on what, and the tables, after those of the caller's own."""
    return "\n".join(
        [
            f"# {title}",
            "",
            f"Written on {report.date} by `{report.command}`; a later run replaces this page.",
            f"`{renewal}` renews it, `python -m bench --help` lists what else can be measured;",
            "[where a request takes its time](hot-path.md) has a profile.",
            "",
            *_METHOD,
            "",
            *machine_lines(report.machine),
            "",
            *(line for table in (*first, *tables(report)) for line in table_lines(table)),
            *(f"- {note}" for note in _notes(report)),
            *(f"- **Failed requests**: {line}" for line in failures(report)),
            "",
        ]
    )


_METHOD = (
    "The load generator and a mock upstream run on one core, each gateway on another, all on loopback. The mock",
    "answers with about 700 bytes, or with a stream whose chunks carry the time of their writing. No two requests",
    "are alike. Every round measures every system side by side, `direct` being the load generator on the mock",
    "itself; a cell is the median of the rounds, with their range.",
    "Without a rate, 64 connections ask again as soon as they are answered. With a rate, requests fall due at",
    "constant distances and their time counts from then, answered or not, so that a stall is not hidden.",
    "*Added* is what lies above `direct` in the same round. Compare systems within a table, not figures of two",
    "machines, or of two days.",
)


def _scenario_table(report: Report, scenario: Scenario) -> Table:
    systems = [system for system in (DIRECT, *report.plan.gateways) if scenario.is_for(system)]
    rounds = [gather(report, scenario.name, system) for system in systems]
    filled = [(figure.title, cells) for figure in figures(scenario) if any(cells := _cells(figure, rounds))]
    rows = [list(row) for row in zip(systems, *(cells for _, cells in filled), strict=True)]
    return Table(scenario.title, ["system", *(title for title, _ in filled)], rows)


def _cells(figure: Figure, systems: Sequence[Sequence[Neighbours]]) -> list[str]:
    """A column: one cell a system."""
    return [
        _cell(
            band([figure.value(r) for r in rounds]),
            figure.form,
            "*" if figure.marks_bound and is_bench_bound(rounds) else "",
        )
        for rounds in systems
    ]


def _cell(figure: Band | None, form: str, mark: str) -> str:
    if figure is None:
        return ""
    middle, low, high = (form.format(value) for value in (figure.median, figure.low, figure.high))
    return middle + mark if low == high else f"{middle}{mark} ({low}…{high})"


def _presence_table(report: Report) -> Table:
    rows = [
        [
            presence.system,
            f"{presence.ready_seconds:.2f}",
            _mib(presence.idle_rss),
            _mib(max(m.sample.gateway_rss for m in report.measurements if m.system == presence.system)),
            _mib(presence.after_rss),
        ]
        for presence in report.presences
    ]
    columns = ["system", "s until ready", "MiB idle", "MiB under load", "MiB after"]
    return Table("Start and resident memory", columns, rows)


def _peer_tables(report: Report) -> list[Table]:
    """How many times as much as each other gateway ours does, and a bare prototype, in the same round."""
    ours = [name for name in report.plan.gateways if name not in PEERS]
    peers = [name for name in PEERS if name in report.plan.gateways]
    asked = [scenario for scenario in report.plan.scenarios if not scenario.paced and not scenario.only]
    rows = [
        [f"{own} / {peer}", *(_times(report, scenario, own, peer) for scenario in asked)]
        for own in ours
        for peer in peers
    ]
    return [Table("Times as much, in the same round", ["", *(s.title for s in asked)], rows)] if rows else []


def beside_others(report: Report) -> str:
    """The ratios alone, as a part of the page of benchmarks."""
    terms = (f"- `{name}`: {PEERS[name].terms}." for name in report.plan.gateways if name in PEERS)
    return "\n".join(
        [
            "## Beside other gateways",
            "",
            f"Written on {report.date} by `{report.command}`; [all figures](peers.md) of the run.",
            f"{report.plan.rounds} rounds, {report.plan.seconds:g} s a measurement: median (lowest…highest).",
            "",
            *machine_lines(report.machine),
            "",
            *(line for table in _peer_tables(report) for line in table_lines(table)),
            *terms,
        ]
    )


def _times(report: Report, scenario: Scenario, own: str, peer: str) -> str:
    if not scenario.is_for(peer):
        return "not asked"
    pairs = zip(gather(report, scenario.name, own), gather(report, scenario.name, peer), strict=True)
    times = band([a.own.answers / b.own.answers if b.own.answers else None for a, b in pairs])
    return _cell(times, "{:.1f}", "") or "it answered none"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"


def _notes(report: Report) -> list[str]:
    plan = report.plan
    notes = [f"{plan.rounds} rounds, {plan.seconds:g} s a measurement: median (lowest…highest)."]
    notes.append("`*`: mock and load generator filled their core; the system could perhaps do more.")
    if YARDSTICK in plan.gateways:
        notes.append(f"*times a*: throughput as a multiple of `{YARDSTICK}` in the same round.")
    if any(scenario.lasting for scenario in plan.scenarios):
        notes.append(
            "*KiB grown/stream*: all growth since the start, kept answers too; "
            "`python -m bench open-streams` weighs open streams alone."
        )
    if report.machine.cores == 1:
        notes.append("There was only one core: gateway, mock and load generator shared it.")
    if report.machine.load > _BUSY:
        notes.append(f"The machine was busy before the run ({report.machine.load:.0%}): figures are disturbed.")
    for letter, prototype in PROTOTYPES.items():
        if f"prototype:{letter}" in plan.gateways:
            notes.append(f"`prototype:{letter}` is a measuring stick, no gateway: {prototype.choice}.")
    notes += [f"`{name}`: {PEERS[name].terms}." for name in PEERS if name in plan.gateways]
    if FULL in plan.gateways:
        notes.append(
            f"`{FULL}`: a key that is checked, limits that are counted, caches that are asked, the ledger. "
            "Its tables are there when it starts, as on every start but the first."
        )
    return notes


def machine_lines(machine: Machine) -> list[str]:
    """What it was measured on, for a page."""
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return [
        f"- **Machine**: {machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}",
        f"- **Software**: {machine.python}; {packages}",
    ]


def table_lines(table: Table) -> list[str]:
    """The table with its title, for a page."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = ["| " + " | ".join(row) + " |" for row in (table.columns, rule, *table.rows)]
    return [f"## {table.title}", "", *rows, ""]
