"""Engines on the nodes of a Ray cluster: three of them on this machine, one of which is lost under load."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.integration.children import CHAT, Children, question
from tests.integration.ray_cluster import RayCluster
from tests.integration.ray_namespaces import RayNamespaces, can
from tests.integration.ray_watch import watching
from tests.integration.service import Service, free_port

NAMES = ("one", "two", "three")
HASTE = {"linger": 2, "lease": 5, "orphan_timeout": 8}
REPLACED = 10
"""Seconds from Ray's report of a lost node to an engine elsewhere that is asked."""


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
        fleet = {"placement": "ray", "ray": {"address": self._address}, **HASTE}
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
    nobody_is_left(running)


def nobody_is_left(house):
    """No replica holds anything any more: every engine of every node ends, and by itself."""
    until = time.monotonic() + 20
    while left := [pid for name in NAMES for pid in house.lives(name) if psutil.pid_exists(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


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


def lose_a_node(house, cluster):
    """Under load; everybody gets an outcome. Returns the process of the engine that was lost."""
    with ThreadPoolExecutor(16) as pool:
        first = [pool.submit(house.ask, name, timeout=60) for name in NAMES]
        assert [one.result()[0] for one in first] == [200] * 3
        homes = {name: home_of(house, cluster, name) for name in NAMES}
        assert sorted(homes.values()) == [0, 1, 2]
        lost = next(name for name in NAMES if homes[name] == 2)
        old = house.lives(lost)[-1]
        house.script(lost, answer={"tokens": 30, "pause": 0.1})
        began = [pool.submit(outcome, house, lost) for _ in range(8)]
        time.sleep(1)
        asked = house.count(lost, "asked")
        with watching(cluster.address) as next_death:
            at = time.monotonic()
            cluster.kill(2)
            after = [pool.submit(outcome, house, name) for name in NAMES * 2]
            reported = pool.submit(next_death)
            house.wait_until(lambda: house.lives(lost)[-1] != old and house.count(lost, "asked") > asked, 40)
            ready = time.monotonic()
            said = reported.result(40)
        print(f"Ray said so after {said - at:.1f} s, a new engine was asked after {ready - at:.1f} s")
        assert ready - said < REPLACED
        assert {one.result(60) for one in after} == {"done"}
        assert sorted(one.result(60) for one in began) == ["done"] * 4 + ["error frame"] * 4
        assert home_of(house, cluster, lost) in {0, 1}
        house.script(lost)
    return old


def test_models_are_spread_over_the_nodes_and_a_lost_one_is_followed(house, cluster):
    assert not psutil.pid_exists(lose_a_node(house, cluster))


def test_an_owner_that_is_killed_finds_its_engines_again(house, cluster):
    lives = {name: house.lives(name) for name in NAMES}
    assert all(house.ask(name)[0] == 200 for name in NAMES)
    owner = next(one for one in psutil.process_iter(["cmdline"]) if is_owner(one, cluster))
    owner.kill()
    assert all(house.ask(name)[0] == 200 for name in NAMES)
    house.call("/v1/models/one/unload", {})
    assert house.ask("one", timeout=40)[0] == 200
    assert {name: house.lives(name) for name in NAMES} == lives


def is_owner(process, cluster):
    """Whether it is the actor that owns this cluster's residency."""
    named = any("ray::OwnerHost" in word for word in process.info["cmdline"] or ())
    return named and cluster.node_of(process.pid) is not None


thorough = pytest.mark.skipif("FLEET" not in os.environ, reason="takes minutes: `make fleet`")


@thorough
def test_a_node_whose_cable_is_pulled_is_lost_and_its_engine_ends_by_itself(tmp_path):
    if not can():
        pytest.skip("no network namespaces here")
    with RayNamespaces(tmp_path) as cluster, Fleet(tmp_path, cluster.address) as house:
        old = lose_a_node(house, cluster)
        house.gone(old, within=30)


class Replica(Service):
    """One of several whose engines run on a cluster: the bundled one, with a real model."""

    def __init__(self, folder, address, gguf):
        folder.mkdir()
        super().__init__(
            folder,
            {
                "data_dir": str(folder / "data"),
                "default_models": False,
                "models": {"m": {"source": str(gguf), "context_length": 512, "slots": 4}},
                "fleet": {"placement": "ray", "ray": {"address": address}, **HASTE},
            },
        )

    def fleet(self):
        """What it tells of the fleet: how many replicas, and which copies are ready."""
        told = self.call("/v1/status")[1]["fleet"]
        ready = [one["id"] for node in told["nodes"] for one in node["placed"] if one["stage"] == "ready"]
        return told["replicas"], ready


def ours_on(cluster):
    """Processes of ours that the nodes run: the owner, keepers, engines."""
    every = [child for pid in cluster.raylets for child in psutil.Process(pid).children(recursive=True)]
    words = {one.pid: " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])}
    kinds = ("ray::OwnerHost", "ray::KeeperHost", "enginehouse.engines.llama_server.bundled")
    return {kind: [one.pid for one in every if kind in words.get(one.pid, "")] for kind in kinds}


def diagnosis(replica, **environ):
    """What the doctor finds of the fleet."""
    command = [sys.executable, "-m", "enginehouse", "doctor", "--json", "--config", str(replica.config_file)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, check=False)
    found = [one for one in json.loads(ran.stdout)["findings"] if one["name"] == "fleet"]
    return [(one["status"], one["detail"]) for one in found]


def says(replica, stream=False):
    """A real answer to a question."""
    body = {**question("m"), "max_tokens": 12 if stream else 4, "ignore_eos": stream, "stream": stream}
    return replica.call(CHAT, body, timeout=200)[0]


@thorough
@pytest.mark.timeout(600)
def test_replicas_share_one_real_engine_and_outlive_each_other_and_nothing_outlives_them(tmp_path, gguf):
    with RayCluster(tmp_path, nodes=2, memory=2 * 10**9) as cluster, ThreadPoolExecutor(4) as pool:
        first, second = (Replica(tmp_path / name, cluster.address, gguf) for name in "ab")
        with first, second:
            assert list(pool.map(says, [first, second, first, second])) == [200] * 4
            there = ours_on(cluster)
            assert [len(pids) for pids in there.values()] == [1, 1, 1]
            first.wait_until(lambda: first.fleet() == (2, ["m"]), 10)
            assert diagnosis(first) == [("ok", "2 nodes, 2 for engines, 4.0 GB of memory")]
            [(status, detail)] = diagnosis(first, ENGINEHOUSE_FLEET__RAY__ADDRESS=f"127.0.0.1:{free_port()}")
            assert (status, "nobody takes a connection" in detail) == ("fail", True)
            talking = [pool.submit(says, first, stream=True) for _ in range(2)]
            time.sleep(0.5)
            second.process.kill()
            assert [talk.result() for talk in talking] == [200] * 2
            first.wait_until(lambda: first.fleet() == (1, ["m"]), 20)
            assert says(first) == 200
            assert ours_on(cluster) == there
        began = time.monotonic()
        while any(ours_on(cluster).values()):
            assert time.monotonic() - began < 60, ours_on(cluster)
            time.sleep(0.5)
        print(f"nothing of ours is left {time.monotonic() - began:.1f} s after the last replica")
