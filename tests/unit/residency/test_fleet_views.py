"""What people and Prometheus are told of a fleet, on a simulated clock, with nodes that are made up."""

import asyncio
import re
from pathlib import Path

import pytest

from enginehouse.api.fleet import fleet_metrics, fleet_of
from enginehouse.engines.metadata import Weight
from enginehouse.errors import UpstreamDied
from enginehouse.residency.fleet.base import OwnerAway
from enginehouse.residency.fleet.nodes import Node
from enginehouse.residency.fleet.owner import Owner
from enginehouse.residency.fleet.placement import Demand, Fleet
from enginehouse.residency.fleet.replica import FleetLauncher
from enginehouse.residency.fleet.views import viewed
from enginehouse.residency.policy import Rules, Standing
from enginehouse.settings.schema import FleetSettings, ResidencySettings
from enginehouse.telemetry.metrics import Metrics
from enginehouse.testing.clock import simulate
from enginehouse.testing.fleet import FakeGrid
from enginehouse.types import Deployment, EngineName, Kind, Principal

PAGE = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")
ADMIN = Principal(user="ann", role="admin")
USER = Principal(user="bob", role="user")


def want(name, ram, vram=0):
    deployment = Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
    return Demand(deployment=deployment, weight=Weight(ram=ram, vram=vram), since=0.0)


def settle(fleet, demand, **how):
    """It has room, and stands like this."""
    placement = fleet.ask(demand, 0.0)
    fleet.claim(placement, demand, 0.0)
    fleet.grants(placement.node)
    fleet.update(Standing(id=demand.deployment.id, size=placement.place, **how), 0.0)


def stages(fleet):
    return {one.id: one.stage.value for node in viewed(fleet) for one in node.placed}


def a_fleet():
    fleet = Fleet(Rules(max_wait=100, min_residency=0))
    capacity = {"ram": 100, "ram.utility": 20, "models": 9, "models.utility": 9, "vram.0": 50}
    fleet.join(Node(id="n1", host="10.0.0.1", capacity=capacity, gpus={0: 50}, labels={"zone": "a"}))
    return fleet


def test_a_node_tells_its_memories_and_how_what_is_placed_there_stands():
    fleet = a_fleet()
    settle(fleet, want("there", 10, 30))
    settle(fleet, want("coming", 5), loading=True)
    (node,) = viewed(fleet)
    assert (node.id, node.host, node.health, node.labels) == ("n1", "10.0.0.1", "alive", {"zone": "a"})
    assert {name: (one.budget, one.free) for name, one in node.memory.items()} == {
        "ram": (120, 105),
        "vram.0": (50, 20),
    }
    assert {one.id: dict(one.memory) for one in node.placed} == {
        "there": {"ram": 10, "vram.0": 30},
        "coming": {"ram": 5},
    }
    assert stages(fleet) == {"there": "ready", "coming": "loading"}


def test_who_makes_room_is_recalled_and_who_waits_for_it_is_promised():
    fleet = a_fleet()
    settle(fleet, want("old", 10, 30))
    new = want("new", 10, 40)
    fleet.claim(fleet.ask(new, 0.0), new, 0.0)
    assert stages(fleet) == {"old": "recalled", "new": "promised"}
    assert viewed(fleet)[0].memory["vram.0"].free == 20


def test_a_suspected_node_is_told_as_such():
    fleet = a_fleet()
    fleet.suspect("n1", suspected=True)
    assert [node.health for node in viewed(fleet)] == ["suspect"]


class Line:
    """To an owner that may be away."""

    def __init__(self, owner):
        self.owner, self.away = owner, False

    async def beat(self, *told):
        return await self.owner.beat(*told)

    async def view(self):
        if self.away:
            raise OwnerAway("cut")
        return await self.owner.view()


def watched(check):
    """What a replica sees of a fleet of two nodes."""

    async def main():
        grid = FakeGrid({"a": 1000, "b": 2000})
        limits = ResidencySettings(max_memory_usage=1.0, utility_share=0.0)
        async with Owner(grid, grid.connect, limits, FleetSettings()) as owner:
            line = Line(owner)
            async with FleetLauncher(line, grid.connect, "one") as fleet:
                await asyncio.sleep(1)
                await check(line, fleet)

    simulate(main())


def test_admins_alone_are_told_of_the_fleet_and_nobody_where_there_is_none():
    async def check(_, fleet):
        told = fleet_of(fleet, ADMIN)["fleet"]
        assert (told["owner"], told["replicas"], told["waiting"]) == ("up", 1, ())
        assert [node["id"] for node in told["nodes"]] == ["a", "b"]
        assert told["nodes"][1]["memory"] == {"ram": {"budget": 2000, "free": 2000}}
        assert fleet_of(fleet, USER) == {}
        assert fleet_of(None, ADMIN) == {}

    watched(check)


def test_while_the_owner_is_away_the_fleet_is_told_as_it_was_and_health_says_so():
    async def check(line, fleet):
        line.away = True
        await asyncio.sleep(10)
        told = fleet_of(fleet, ADMIN)["fleet"]
        assert (told["owner"], told["detail"], len(told["nodes"])) == ("away", "cut", 2)
        assert told["seen_seconds_ago"] >= 10
        with pytest.raises(UpstreamDied, match="owner of the fleet does not answer"):
            await fleet.look()
        line.away = False
        await asyncio.sleep(6)
        assert fleet_of(fleet, ADMIN)["fleet"]["owner"] == "up"

    watched(check)


def test_metrics_tell_nodes_and_memory():
    async def check(line, fleet):
        metrics = Metrics()
        metrics.add(fleet_metrics(fleet))
        lines = metrics.text().decode().splitlines()
        assert 'enginehouse_fleet_nodes{health="alive"} 2.0' in lines
        assert 'enginehouse_fleet_nodes{health="suspect"} 0.0' in lines
        assert 'enginehouse_fleet_node_free_bytes{host="",memory="ram",node="a"} 1000.0' in lines
        assert 'enginehouse_fleet_placed{stage="ready"} 0.0' in lines
        assert "enginehouse_fleet_owner_up 1.0" in lines
        assert {one.name for one in metrics.collect()} == set(
            re.findall(r"^\| `(\w+_fleet_\w+)", PAGE, re.MULTILINE)
        )
        line.away = True
        await asyncio.sleep(6)
        assert "enginehouse_fleet_owner_up 0.0" in metrics.text().decode().splitlines()

    watched(check)
