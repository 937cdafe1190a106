"""Engines on the nodes of a Ray cluster: three of them on this machine, one of which is lost under load."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.integration.children import CHAT, Children, question
from tests.integration.ray_cluster import RayCluster

NAMES = ("one", "two", "three")


class Fleet(Children):
    """A replica whose engines run on a cluster."""

    def __init__(self, folder, address, names=NAMES):
        self._address = address
        patience = {"load_stall_timeout": 30, "wedge_timeout": 10, "health_interval": 2}
        slots = {name: {"slots": 4} for name in names}
        super().__init__(folder, slots, max_memory_usage=1, utility_share=0, **patience)
        with self.weights.open("r+b") as file:
            file.truncate(80_000_000)

    def settings_of(self, models):
        fleet = {"placement": "ray", "ray": {"address": self._address}, "linger": 2, "lease": 5}
        return {**super().settings_of(models), "fleet": fleet}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        running = RayCluster(tmp_path_factory.mktemp("ray"))
    except OSError as error:
        pytest.skip(f"Ray does not start here: {error}")
    with running:
        yield running


@pytest.fixture(scope="module")
def house(cluster, tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("fleet"), cluster.address) as running:
        yield running


def home_of(house, cluster, name):
    """Node of the engine that runs now, if one does."""
    lives = house.lives(name)
    return cluster.node_of(lives[-1]) if lives else None


def outcome(house, name):
    """How a streamed answer ended: whole, with an error frame, refused, or not at all."""
    status, body, _ = house.call(CHAT, {**question(name), "stream": True}, timeout=60)
    if status != 200:
        return body["error"]["code"]
    text = body if isinstance(body, str) else json.dumps(body)
    return "done" if text.rstrip().endswith("[DONE]") else "error frame" if '"error"' in text else "cut"


def test_models_are_spread_over_the_nodes_and_a_lost_one_is_followed(house, cluster):
    with ThreadPoolExecutor(16) as pool:
        assert [answer[0] for answer in pool.map(house.ask, NAMES)] == [200] * 3
        homes = {name: home_of(house, cluster, name) for name in NAMES}
        assert sorted(homes.values()) == [0, 1, 2]
        lost = next(name for name in NAMES if homes[name] == 2)
        old = house.lives(lost)[-1]
        house.script(lost, answer={"tokens": 30, "pause": 0.1})
        began = [pool.submit(outcome, house, lost) for _ in range(8)]
        time.sleep(1)
        cluster.kill(2)
        at = time.monotonic()
        after = [pool.submit(outcome, house, name) for name in NAMES * 2]
        house.wait_until(lambda: house.lives(lost)[-1] != old and home_of(house, cluster, lost) is not None, 30)
        moved = time.monotonic() - at
        assert {one.result(60) for one in after} == {"done"}
        outcomes = [one.result(60) for one in began]
        assert outcomes.count("error frame") == 4, outcomes
        assert outcomes.count("done") == 4, outcomes
        assert home_of(house, cluster, lost) in {0, 1}
        print(f"started elsewhere {moved:.1f} s after the node was killed")
    assert not psutil.pid_exists(old)
