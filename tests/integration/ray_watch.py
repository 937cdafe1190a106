"""When Ray says that a node is dead: a process of its own that asks Ray's table of nodes over and over.

It prints a line for each node that died while it looked on, with the moment on the monotonic clock, which is one
for all processes of a machine.
"""

import subprocess
import sys
import time
from contextlib import contextmanager

PERIOD = 0.05
"""Seconds between two looks, and so the error of what is told."""


@contextmanager
def watching(address):
    """Gives a function that waits for the next death, and says when it was reported."""
    command = [sys.executable, __file__, address]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"looking\n"
        yield lambda: float(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main(address):
    from ray._raylet import GcsClient

    table = GcsClient(address=address)
    known = _dead(table)
    print("looking", flush=True)
    while True:
        dead = _dead(table)
        for _ in dead - known:
            print(time.monotonic(), flush=True)
        known = dead
        time.sleep(PERIOD)


def _dead(table):
    return {node for node, info in table.get_all_node_info().items() if info.state == 1}


if __name__ == "__main__":
    main(sys.argv[1])
