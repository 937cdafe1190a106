"""Figures are computed within a round, and the page shows their median and range."""

import pytest

from bench.figures import Band, band, gather, is_bench_bound
from bench.histogram import Spread
from bench.load import Sample
from bench.machine import Machine
from bench.report import failures, markdown, tables
from bench.run import Measurement, Plan, Presence, Report, interleaved
from bench.scenarios import SCENARIOS

SYSTEMS = ["direct", "prototype:a", "enginehouse"]
RATES = {
    "direct": (50_000, 40_000, 45_000),
    "prototype:a": (8_000, 4_000, 6_000),
    "enginehouse": (6_000, 4_000, 3_000),
}
P50 = {"direct": 0.25, "prototype:a": 1.0, "enginehouse": 1.5}


def spread(p50: float) -> Spread:
    return Spread(count=9, mean=p50, p50=p50, p90=p50, p99=p50 * 4, p999=p50 * 5, max=p50 * 6)


def sample(system: str, turn: int) -> Sample:
    rate = RATES[system][turn]
    return Sample(
        seconds=2,
        answers=2 * rate,
        failures={"status 503": 3} if (system, turn) == ("enginehouse", 2) else {},
        latency=spread(P50[system]),
        first=spread(P50[system]),
        added=spread(P50[system]),
        chunks=2 * rate * 64,
        gateway_cpu=0 if system == "direct" else 1.9,
        bench_cpu=1.99 if system == "direct" else 0.5,
        gateway_rss=0 if system == "direct" else (60 + turn) << 20,
    )


@pytest.fixture
def report() -> Report:
    plan = Plan(gateways=SYSTEMS[1:], scenarios=list(SCENARIOS), seconds=2, rounds=3)
    return Report(
        machine=Machine(
            cpu="Abacus",
            cores=2,
            memory_gib=4,
            system="Linux 6",
            python="CPython 3",
            packages={"uvloop": "1"},
            load=0,
        ),
        date="2026-11-21",
        command="python -m bench",
        plan=plan,
        measurements=[
            Measurement(scenario=scenario.name, system=system, round=turn, sample=sample(system, turn))
            for turn, scenario, system in interleaved(plan, SYSTEMS)
        ],
        presences=[
            Presence(system=name, ready_seconds=0.5, idle_rss=50 << 20, after_rss=55 << 20) for name in SYSTEMS[1:]
        ],
    )


def row(report: Report, table: int, system: str) -> dict[str, str]:
    found = tables(report)[table]
    return next(dict(zip(found.columns, cells, strict=True)) for cells in found.rows if cells[0] == system)


def test_systems_are_measured_side_by_side_in_each_round():
    plan = Plan(gateways=[], scenarios=list(SCENARIOS[:2]), seconds=1, rounds=2)
    order = [(turn, scenario.name, system) for turn, scenario, system in interleaved(plan, ["x", "y"])]
    assert order == [
        (turn, name, system) for turn in (0, 1) for name in ("saturation", "latency") for system in ("x", "y")
    ]


def test_a_band_is_median_and_range_of_what_there_is():
    assert band([3, None, 1, 2]) == Band(2, 1, 3)
    assert band([None]) is None


def test_throughput_and_its_ratio_within_the_round(report):
    shown = row(report, 0, "enginehouse")
    assert shown["requests/s"] == "4,000 (3,000…6,000)"
    # 6/8, 4/4 and 3/6, whatever the machine did between the rounds.
    assert shown["times a"] == "0.75 (0.50…1.00)"
    assert row(report, 0, "prototype:a")["times a"] == "1.00"
    assert row(report, 0, "direct")["times a"] == ""


def test_cpu_per_request_is_in_microseconds(report):
    # 1.9 s over 2 * 4,000 answers in the middle round.
    assert row(report, 0, "enginehouse")["CPU µs/request"] == "238 (158…317)"


def test_added_latency_lies_over_the_baseline_of_the_same_round(report):
    shown = row(report, 1, "enginehouse")
    assert shown["added p50 ms"] == "1.25"
    assert shown["added p99 ms"] == "5.00"
    assert row(report, 1, "direct")["added p50 ms"] == ""


def test_a_column_that_says_nothing_is_left_out(report):
    alone = Report(
        machine=report.machine,
        date=report.date,
        command=report.command,
        plan=Plan(gateways=["enginehouse"], scenarios=list(SCENARIOS), seconds=2, rounds=3),
        measurements=[m for m in report.measurements if m.system != "prototype:a"],
        presences=report.presences[1:],
    )
    assert "times a" in tables(report)[0].columns
    assert "times a" not in tables(alone)[0].columns


def test_a_full_bench_core_is_marked(report):
    assert is_bench_bound(gather(report, "saturation", "direct"))
    assert not is_bench_bound(gather(report, "saturation", "enginehouse"))
    assert row(report, 0, "direct")["requests/s"] == "45,000* (40,000…50,000)"


def test_memory_is_the_most_of_all_rounds(report):
    assert row(report, -1, "enginehouse") == {
        "system": "enginehouse",
        "s until ready": "0.50",
        "MiB idle": "50",
        "MiB under load": "62",
        "MiB after": "55",
    }


def test_failed_requests_are_told(report):
    assert "latency, enginehouse, round 3: status 503, 3 times" in failures(report)


def test_the_page_holds_machine_date_command_and_every_table(report):
    page = markdown(report)
    assert "Written on 2026-11-21 by `python -m bench`" in page
    assert "Abacus, 2 cores, 4 GiB, Linux 6" in page
    assert "uvloop 1" in page
    assert all(f"## {scenario.title}\n" in page for scenario in SCENARIOS)
    assert "| enginehouse | 4,000 (3,000…6,000) |" in page
    assert "**Failed requests**" in page
