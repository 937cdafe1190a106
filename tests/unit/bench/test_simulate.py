"""A simulated fleet: the same seed gives the same bytes, every request has one end, and the charts are charts."""

import xml.etree.ElementTree as ET
from collections import Counter

import msgspec
import pytest

from bench.simulate.agenda import Agenda
from bench.simulate.demand import losses, requests
from bench.simulate.drawing import Axis, Chart, Curve, drawn
from bench.simulate.ground import Copy, Ground
from bench.simulate.orders import ORDERS
from bench.simulate.price import exponent, prices
from bench.simulate.report import Simulation, encoded, simulation_charts, table
from bench.simulate.traffic import simulated
from bench.simulate.world import GIB, Scenario, Ware, nodes, wares
from enginehouse.engines.metadata import Weight
from enginehouse.residency.fleet import Node
from enginehouse.residency.policy import Rules, Standing, Want, plan
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, Kind

SMALL = Scenario(
    seed=3, nodes=8, models=80, seconds=240, warm_up=60, rate=0.5, burst_every=1, lost_every=0.8, outage_share=0.25
)


def outcome(scenario, order):
    *_, found = simulated(scenario, order)
    return found


def whole(scenario):
    return Simulation(scenario=scenario, outcomes=tuple(outcome(scenario, order) for order in ORDERS))


@pytest.fixture(scope="module")
def result():
    return whole(SMALL)


def test_the_same_seed_gives_the_same_results_to_the_byte(result):
    again = whole(SMALL)
    assert encoded(again) == encoded(result)
    assert simulation_charts(again) == simulation_charts(result)


def test_another_seed_gives_others(result):
    other = msgspec.structs.replace(SMALL, seed=4)
    assert outcome(other, "ours") != result.outcomes[0]


def test_every_request_has_one_end_and_nobody_is_left_waiting(result):
    asked = sum(request.at >= SMALL.warm_up for request in requests(SMALL))
    for one in result.outcomes:
        assert one.requests == sum(one.ends.values()) == asked
        assert all(moment.waiting >= 0 for moment in one.moments)
        assert sum(moment.asked for moment in one.moments) == sum(1 for _ in requests(SMALL))


def test_much_happened(result):
    for one in result.outcomes:
        assert one.evictions > 5
        assert one.loads > one.evictions / 2
        assert sum(moment.lost for moment in one.moments) >= 2
        assert one.ends["answered"] > 0.5 * one.requests
        assert 0 < one.waits["p50"] <= one.waits["p99"] <= SMALL.patience + 0.1 or one.waits["p50"] == 0
        assert list(one.begun_within.values()) == sorted(one.begun_within.values())


def test_the_three_orders_choose_three_different_models():
    settings = Rules(max_wait=30, min_residency=0)
    there = [
        Standing(id="dear", size={"ram": 1}, ready_since=5, last_used=10, reload_seconds=100, demand=5),
        Standing(id="cheap", size={"ram": 1}, ready_since=6, last_used=30, reload_seconds=3, demand=1),
        Standing(id="first", size={"ram": 1}, ready_since=1, last_used=20, reload_seconds=50, demand=5),
    ]
    want = Want(id="new", need={"ram": 1}, since=40)
    chosen = {
        name: plan([want], [order(one) for one in there], {"ram": 0}, settings, 40).evictions[0].id
        for name, order in ORDERS.items()
    }
    assert chosen == {"ours": "cheap", "lru": "dear", "fifo": "first"}


def test_requests_come_in_order_by_zipf_and_in_bursts():
    scenario = Scenario(nodes=100, models=50, seconds=600, burst_rate=1e-9, skew=1.0)
    every = list(requests(scenario))
    assert [one.at for one in every] == sorted(one.at for one in every)
    assert len(every) == pytest.approx(600 * 100 * scenario.rate, rel=0.05)
    counts = [count for _, count in Counter(one.ware for one in every).most_common()]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.35)
    assert sum(one.length for one in every) / len(every) == pytest.approx(1, rel=0.05)
    loud = msgspec.structs.replace(scenario, burst_rate=4.0, burst_every=2.0)
    assert len(list(requests(loud))) > len(every) * 1.3


def test_nodes_are_lost_one_by_one_and_many_at_once():
    scenario = Scenario(nodes=100, seconds=900, lost_every=6, outage_share=0.1)
    every = losses(scenario)
    assert [one.at for one in every] == sorted(one.at for one in every)
    assert Counter(one.at for one in every)[750.0] == 10
    assert len(every) > 15


def test_there_are_as_many_nodes_as_asked_for_and_models_of_all_sizes():
    for count in (1, 8, 100, 333):
        assert len({node.id for node in nodes(Scenario(nodes=count), ResidencySettings())}) == count
    sizes = sorted(ware.weight.vram for ware in wares(Scenario(models=500)))
    assert sizes[-1] > 50 * sizes[0]


def test_what_is_due_at_once_happens_in_the_order_it_was_put_down():
    agenda, seen = Agenda(), []
    agenda.at(2.0, lambda: seen.append("b"))
    agenda.at(2.0, lambda: seen.append("c"))
    agenda.after(1.0, lambda: (seen.append("a"), agenda.at(0.5, lambda: seen.append("late"))))
    assert list(agenda.run()) == []
    assert seen == ["a", "late", "b", "c"]
    assert agenda.now == 2.0


def test_a_power_is_found():
    assert exponent([(n, 7 * n**0.5) for n in (10, 100, 1000)]) == pytest.approx(0.5)
    assert exponent([(n, 7) for n in (10, 100)]) == pytest.approx(0)


def test_decisions_are_timed_in_a_fleet_that_is_full():
    (price,) = prices(1, [3])
    assert price.residents > 10
    assert 0 < price.ask <= price.ask_p95
    assert price.update > 0


def test_charts_are_well_formed_and_points_lie_where_they_belong(result):
    chart = Chart(
        title="a < b",
        x=Axis(title="x", low=1, high=100, log=True),
        y=Axis(title="y", low=0, high=10),
        curves=[Curve(name="c & d", points=[(1, 0), (10, 5), (100, 10), (1000, 20)], dots=True)],
    )
    root = ET.fromstring(drawn(chart))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert places[1] == ((places[0][0] + places[2][0]) / 2, (places[0][1] + places[2][1]) / 2)
    assert places[3] == places[2]
    assert places[2][1] < places[0][1]
    for svg in simulation_charts(result).values():
        assert len(list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline"))) == len(ORDERS)


def test_the_table_has_a_column_for_each_order(result):
    rows = table(result.outcomes).splitlines()
    assert {row.count("|") for row in rows} == {len(ORDERS) + 2}
    assert "Enginehouse | LRU | FIFO" in rows[0]


def test_what_finds_no_room_yet_waits_until_it_does():
    agenda, rules = Agenda(), Rules(max_wait=30, min_residency=5)
    ready = []
    node = Node(id="n", capacity={"ram": 8 * GIB, "models": 9, "vram.0": 8 * GIB}, gpus={0: 8 * GIB})

    def changed(copy):
        ready.append((copy.id, copy.state.value, agenda.now))

    ground = Ground([node], rules, ORDERS["ours"], agenda, changed=changed, noted=lambda what, times: None)
    first, second = (
        Copy(
            ware=Ware(
                Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER),
                Weight(ram=GIB, vram=6 * GIB),
                load_seconds=2.0,
                run_seconds=1.0,
            ),
            extra=False,
            ttl=1000,
        )
        for name in "ab"
    )
    ground.load(first)
    agenda.at(2.5, lambda: ground.load(second))
    list(agenda.run())
    assert [(name, state) for name, state, _ in ready[:3]] == [("a", "ready"), ("a", "off"), ("b", "ready")]
    assert 2 + rules.min_residency + 2 <= ready[2][2] <= 2 + rules.min_residency + 4


def tight(seed):
    """A node that has room for one copy of the only model."""
    return Scenario(
        seed=seed, nodes=1, models=1, seconds=60, warm_up=0, rate=2.5, burst_rate=1e-9, lost_every=1e9,
        outage_share=0, patience=3000,
    )  # fmt: skip


def test_a_slot_that_comes_free_is_taken_by_who_waits():
    scenario = next(
        scenario
        for scenario in map(tight, range(1000))
        if len(nodes(scenario, ResidencySettings())[0].gpus) == 1
        and 9 * GIB < wares(scenario)[0].weight.vram < 15 * GIB
    )
    one = outcome(scenario, "ours")
    assert one.loads == 1
    assert one.waits["p50"] > 2
    assert one.ends["answered"] == one.requests > 10
