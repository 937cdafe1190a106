"""A Ray cluster of a few nodes on this machine, in a process of its own that is told what to do by lines.

It prints one line of JSON when it is ready: the address, and the process of each node. `kill N` ends a node at once
with all that runs on it, as a power cut would; the end of standard input ends everything.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

NODE_BYTES = 200_000_000
MANNERS = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
    "health_check_initial_delay_ms": 0,
    "worker_niceness": 0,
}
"""So that Ray tells of a dead node within seconds, and what it starts is not put behind all else on the machine."""


class RayCluster:
    """From the outside; use as a context.

    Args:
        nodes: how many, the head among them.
        memory: bytes that each has for engines.
    """

    def __init__(self, folder: Path, nodes: int = 3, memory: int = NODE_BYTES):
        self._log = (folder / "ray.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(nodes), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"},
        )
        line = self._process.stdout.readline()
        if not line:
            raise OSError((folder / "ray.log").read_text(errors="replace")[-2000:])
        told = json.loads(line)
        self.address = told["address"]
        self.raylets = told["raylets"]
        """Process of each node, the head first."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
        for one in family:
            if one.is_running():
                one.kill()

    def kill(self, number: int) -> None:
        """Returns when it is gone."""
        self._process.stdin.write(f"kill {number}\n".encode())
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == b"done"

    def node_of(self, pid: int) -> int | None:
        """On which node a process runs; None when on none that lives."""
        try:
            above = [process.pid for process in psutil.Process(pid).parents()]
        except psutil.NoSuchProcess:
            return None
        return next((number for number, raylet in enumerate(self.raylets) if raylet in above), None)


def main(count, memory):
    from ray.cluster_utils import Cluster

    usual = {"num_cpus": 2, "object_store_memory": 80_000_000, "memory": memory}
    head = {**usual, "include_dashboard": False, "_system_config": MANNERS}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.head_node, *(cluster.add_node(**usual, wait=False) for _ in range(count - 1))]
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    try:
        for line in sys.stdin:
            cluster.remove_node(nodes[int(line.split()[1])], allow_graceful=False)
            print("done", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
