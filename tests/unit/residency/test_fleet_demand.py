"""What the autoscaler is asked for."""

from enginehouse.engines.metadata import Weight
from enginehouse.residency.fleet import Demand
from enginehouse.residency.fleet.demand import Bundle, bundles
from enginehouse.types import Deployment, EngineName, Kind

PLACED = [({"ram": 10, "models": 1, "vram.0": 5, "vram.1": 5}, {"accelerator": "h100"})]


def waiting(since, ram=7, vram=0, **labels):
    there = Deployment(
        id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, labels=tuple(labels.items())
    )
    return Demand(deployment=there, weight=Weight(ram=ram, vram=vram), since=since)


def ask(*unmet, cpus=0.0):
    return bundles(PLACED, unmet, now=100, patience=2, cpus=cpus)


def test_nothing_is_asked_for_while_nobody_has_waited_for_long():
    assert ask() == ()
    assert ask(waiting(98.1)) == ()


def test_all_that_is_placed_is_named_beside_what_waits():
    placed, more = ask(waiting(98), waiting(99))
    assert placed == Bundle(resources={"memory": 10.0, "GPU": 2.0}, labels={"accelerator": "h100"})
    assert more == Bundle(resources={"memory": 7.0})


def test_gpus_labels_and_cpus_are_asked_for_where_they_are_wanted():
    _, more = ask(waiting(0, vram=3, accelerator="a100"), cpus=2)
    assert more == Bundle(resources={"CPU": 2.0, "memory": 7.0, "GPU": 1.0}, labels={"accelerator": "a100"})
