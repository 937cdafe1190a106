"""`python -m bench simulate` and `decisions`: run, show, and write what is kept in docs/simulation."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.machine import this_machine
from bench.simulate.orders import ORDERS
from bench.simulate.outcome import Outcome
from bench.simulate.price import Price, prices
from bench.simulate.report import Decisions, Simulation, decisions_chart, encoded, simulation_charts, table
from bench.simulate.traffic import simulated
from bench.simulate.world import Scenario

__all__ = ["decisions", "run", "simulate"]

Seed = Annotated[int, typer.Option(help="The same seed gives the same events, and the same results to the byte.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of a table.")]
Output = Annotated[
    Path | None, typer.Option(help="Write JSON and charts into this folder, such as docs/simulation.")
]


def simulate(
    seed: Seed = 1,
    nodes: Annotated[int, typer.Option(min=1, max=100_000, help="Machines.")] = 1000,
    models: Annotated[int | None, typer.Option(min=1, help="Models; ten for each node when left out.")] = None,
    seconds: Annotated[float, typer.Option(min=10, help="How long requests come, in simulated seconds.")] = 1800,
    warm_up: Annotated[float, typer.Option(min=0, help="So many of them are not counted.")] = 1200,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Run the service's placement and admission over a simulated fleet, beside LRU and FIFO."""
    if warm_up >= seconds:
        raise typer.BadParameter("the warm-up has to end before the requests do")
    scenario = Scenario(seed=seed, nodes=nodes, models=models or nodes * 10, seconds=seconds, warm_up=warm_up)
    result = run(scenario, Console(stderr=True))
    print(encoded(result) if as_json else table(result.outcomes), end="" if as_json else "\n")
    if output is not None:
        _write(output, {"simulation.json": encoded(result), **simulation_charts(result)})


def decisions(
    seed: Seed = 1,
    sizes: Annotated[list[int] | None, typer.Option("--nodes", min=2, help="May be given more than once.")] = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure what one decision costs in fleets of several sizes, all of them full."""
    with Console(stderr=True).status("filling the first fleet") as status:
        machine, found = this_machine(), list[Price]()
        for price in prices(seed, sorted(sizes or (10, 32, 100, 316, 1000))):
            found.append(price)
            status.update(f"{price.nodes} nodes done")
    result = Decisions.of(machine, found)
    if as_json:
        print(encoded(result), end="")
    else:
        print("   nodes  residents  place p50     p95  tell p50  µs")
        for price in result.prices:
            costs = f"{price.ask:9,.0f} {price.ask_p95:7,.0f} {price.update:9,.1f}"
            print(f"{price.nodes:8,} {price.residents:10,}  {costs}")
        print(f"place ∝ nodes^{result.ask_exponent:.2f}, tell ∝ nodes^{result.update_exponent:.2f}")
    if output is not None:
        _write(output, {"decisions.json": encoded(result), "decisions.svg": decisions_chart(result)})


def run(scenario: Scenario, console: Console) -> Simulation:
    """Every order through the same events."""
    outcomes: list[Outcome] = []
    with console.status("starting") as status:
        for order in ORDERS:
            for told in simulated(scenario, order):
                if isinstance(told, Outcome):
                    outcomes.append(told)
                else:
                    status.update(f"{order}: minute {told / 60:.0f} of {scenario.seconds / 60:.0f}")
    return Simulation(scenario=scenario, outcomes=tuple(outcomes))


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
