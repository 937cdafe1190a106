"""A Ray cluster over three network namespaces of this machine, whose cables may be pulled. Wants to be root.

The head is in the namespace we are in; each of the two other nodes has one of its own, with its own address.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.integration.ray_cluster import MANNERS, NODE_BYTES
from tests.integration.service import free_port

BRIDGE = "ehbridge"
HEAD = "10.77.12.1"


def can():
    """Whether this machine lets us make namespaces."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    return not _ip("netns", "add", "ehprobe", check=False) and not _ip("netns", "del", "ehprobe", check=False)


def _ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True).returncode


class RayNamespaces:
    """Has what `RayCluster` has; `kill` pulls the cable."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._nodes: list[subprocess.Popen] = []
        self._logs = []
        self.address = f"{HEAD}:{free_port()}"
        self.raylets: list[int] = []

    def __enter__(self):
        try:
            _ip("link", "add", BRIDGE, "type", "bridge")
            _ip("addr", "add", f"{HEAD}/24", "dev", BRIDGE)
            _ip("link", "set", BRIDGE, "up")
            port = self.address.partition(":")[2]
            quickly = ["--system-config", json.dumps(MANNERS), "--include-dashboard", "false"]
            self._start([], HEAD, "--head", "--port", port, *quickly)
            for number in (1, 2):
                self._cable(number)
                inside = ["ip", "netns", "exec", f"eh{number}"]
                self._start(inside, f"10.77.12.{number + 1}", "--address", self.address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        family = [child for node in self._nodes for child in psutil.Process(node.pid).children(recursive=True)]
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for node in self._nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        for one in family:
            if one.is_running():
                one.kill()
        for log in self._logs:
            log.close()
        for number in (1, 2):
            _ip("netns", "del", f"eh{number}", check=False)
            _ip("link", "del", f"ehout{number}", check=False)
        _ip("link", "del", BRIDGE, check=False)

    def kill(self, number: int) -> None:
        """Nothing gets to the node or from it any more; what runs there runs on."""
        _ip("link", "set", f"ehout{number}", "down")

    def node_of(self, pid: int) -> int | None:
        """On which node a process runs; None when on none."""
        try:
            above = [process.pid for process in psutil.Process(pid).parents()]
        except psutil.NoSuchProcess:
            return None
        return next((number for number, raylet in enumerate(self.raylets) if raylet in above), None)

    def _cable(self, number):
        inner, outer, space = f"ehin{number}", f"ehout{number}", f"eh{number}"
        _ip("netns", "add", space)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", space)
        _ip("link", "set", outer, "master", BRIDGE)
        _ip("link", "set", outer, "up")
        for words in (
            ["addr", "add", f"10.77.12.{number + 1}/24", "dev", inner],
            ["link", "set", inner, "up"],
            ["link", "set", "lo", "up"],
        ):
            _ip("-n", space, *words)

    def _start(self, inside, address, *more):
        log = (self._folder / f"ray-{len(self._nodes)}.log").open("wb")
        self._logs.append(log)
        memory = ["--memory", str(NODE_BYTES), "--object-store-memory", "80000000", "--num-cpus", "2"]
        command = [*inside, str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address", address, *memory, *more]
        node = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._nodes.append(node)
        until = time.monotonic() + 40
        while not (raylets := self._raylets(node)):
            assert time.monotonic() < until, Path(log.name).read_text()[-2000:]
            time.sleep(0.2)
        self.raylets.append(raylets[0])

    def _raylets(self, node):
        told = b"Ray runtime started" in Path(self._logs[-1].name).read_bytes()
        family = psutil.Process(node.pid).children(recursive=True)
        return [one.pid for one in family if one.name() == "raylet"] if told else []
